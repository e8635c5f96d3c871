"""Examples of dropped documents for the report: per corpus and reason those with the smallest draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

MOST = 3
CHARACTERS = 300

Examples = dict[str, dict[str, list[dict[str, Any]]]]
"""Corpus → reason → examples, smallest draw first."""


def choose(ledger: pa.Table, draws: np.ndarray, text: pa.Array, rules: Mapping[str, str]) -> Examples:
    """Return the examples of one ledger part: `draws` and `text` by row, `rules` the column each rule bounds."""
    found: Examples = {}
    reasons = np.array([reason or "" for reason in ledger.column("reason").to_pylist()], dtype=object)
    for reason in sorted(set(reasons) - {""}):
        rows = np.flatnonzero(reasons == reason)
        rows = rows[np.argsort(draws[rows], kind="stable")[:MOST]]
        for row in rows:
            entry = {
                name: ledger.column(name)[int(row)].as_py()
                for name in ("id", "url", "source", "survivor", "similarity")
            }
            value = ledger.column(rules[reason])[int(row)].as_py() if reason in rules else None
            start = _start(ledger, int(row)) if reason == "contaminated" else 0
            shown = text[int(row)].as_py()[start : start + CHARACTERS]
            entry |= {"draw": float(draws[row]), "value": value, "text": shown}
            found.setdefault(ledger.column("corpus")[int(row)].as_py(), {}).setdefault(reason, []).append(entry)
    return found


def _start(ledger: pa.Table, row: int) -> int:
    """Return where in a document the first evaluation item begins."""
    found: int = ledger.column("contamination")[row].as_py()[0]["start"]
    return found


def merge(parts: Iterable[Examples]) -> Examples:
    """Return the examples of all parts together: again those with the smallest draws."""
    merged: Examples = {}
    for part in parts:
        for corpus, by_reason in part.items():
            for reason, entries in by_reason.items():
                every = [*merged.setdefault(corpus, {}).get(reason, []), *entries]
                merged[corpus][reason] = sorted(every, key=lambda entry: (entry["draw"], entry["id"]))[:MOST]
    return merged
