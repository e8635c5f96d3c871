"""Why records could not be read, counted: reasons that differ in a number or a byte alone are one kind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pipeline.store import Store

KINDS = 12
"""Kinds shown of one corpus; the rest are one."""
OTHERS = "other reasons"

_NUMBER = re.compile(r"(?<![\w-])(0x[0-9a-f]+|\d[\d,.]*)\b")


@dataclass(frozen=True)
class Kind:
    """A kind of reason: how many records it cost, and the first of them."""

    reason: str
    records: int
    source: str
    offset: int
    sample: str | None


def kinds(store: Store) -> dict[str, list[Kind]]:
    """Return for each corpus with rejects their kinds, the most frequent first. Reads one part at a time."""
    found: dict[str, dict[str, list[Any]]] = {}
    for name in store.names("rejects"):
        for row in store.read_table(name).to_pylist():
            reason = _NUMBER.sub("…", row["reason"])
            first = found.setdefault(row["corpus"], {}).setdefault(reason, [0, row])
            first[0] += 1
    return {corpus: _shown(reasons) for corpus, reasons in sorted(found.items())}


def _shown(reasons: dict[str, list[Any]]) -> list[Kind]:
    ordered = sorted(reasons.items(), key=lambda item: (-item[1][0], item[0]))
    rest = ordered[KINDS:]
    if rest:
        ordered = [*ordered[:KINDS], (OTHERS, [sum(count for _, (count, _) in rest), rest[0][1][1]])]
    return [
        Kind(reason, count, first["source"], first["offset"], first["sample"]) for reason, (count, first) in ordered
    ]
