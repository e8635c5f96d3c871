"""The manifest of a run: what it read, did and wrote. It is written last, after the accounting identity was checked.

    records found = read + rejected        read = kept + Σ dropped

`read` and `rejected` come from the readers, `kept` and `dropped` from the published files; so the identity fails when
anything is lost on the way. It says nothing of when or where: two runs of a recipe have the same manifest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Any

import pyarrow.parquet as pq

from pipeline import statistics
from pipeline.plan import Plan
from pipeline.shard import ShardInfo
from pipeline.statistics import Tally
from pipeline.store import Store
from pipeline.terminal import safe

NAME = "manifest.json"
OVER_BUDGET = "over-budget.json"


class RunError(RuntimeError):
    """A run cannot start, or a folder is not a finished run: says where, what was found, what would be right."""


class AccountingError(RuntimeError):
    """Documents were lost or counted twice: the run's files contradict each other."""


def counted(store: Store, names: Sequence[str]) -> dict[str, int]:
    """Return the rows of the published Parquet files, by folder, from their footers."""
    found: dict[str, int] = {"documents": 0, "ledger": 0, "rejects": 0}

    def rows(name: str) -> int:
        with store.open(name) as file:
            return int(pq.ParquetFile(file).metadata.num_rows)

    tables = [name for name in names if name.split("/")[0] in found]
    for name, count in zip(tables, store.each(rows, tables), strict=True):
        found[name.split("/")[0]] += count
    return found


def make(
    plan: Plan,
    tally: Tally,
    rejected: Mapping[str, int],
    shards: Sequence[ShardInfo],
    rows: Mapping[str, int],
    read: int,
) -> dict[str, Any]:
    """Return the manifest; raise AccountingError when the identity does not hold."""
    corpora = statistics.documents(tally, rejected)
    total: dict[str, Any] = {"read": 0, "kept": 0, "dropped": {}, "rejected": 0}
    for counts in corpora.values():
        total = statistics.add(total, counts)
    total["dropped"] = dict(sorted(total["dropped"].items()))
    dropped = sum(total["dropped"].values())
    packed = sum(shard.documents for shard in shards)
    checks = {
        "documents read = rows of the ledger": (read, rows["ledger"]),
        "read = kept + dropped": (total["read"], total["kept"] + dropped),
        "rows of the ledger = read": (rows["ledger"], total["read"]),
        "rows of documents = kept": (rows["documents"], total["kept"]),
        "rows of rejects = rejected": (rows["rejects"], total["rejected"]),
        "documents in shards = kept": (packed, total["kept"]),
    }
    wrong = [f"{claim}: {left} ≠ {right}" for claim, (left, right) in checks.items() if left != right]
    if wrong:
        raise AccountingError("the accounting identity does not hold: " + "; ".join(wrong))
    return {
        "format": 1,
        "version": metadata.version("corpusmill"),
        "run": plan.key,
        "recipe": json.loads(plan.recipe.to_json()),
        "documents": total,
        "corpora": {
            name: {
                "documents": counts,
                "characters": _characters(tally, name),
                "tokens": _by_outcome(tally, name, "tokens"),
            }
            for name, counts in corpora.items()
        },
        "alarms": statistics.alarms(tally, plan.recipe.deduplicate.alarm) if plan.recipe.deduplicate else [],
        "earlier": {run["key"]: name for name, run in plan.earlier.items()},
        "statistics": asdict(tally),
        "evaluations": [asdict(one) for one in plan.evaluations],
        "shards": [asdict(shard) for shard in shards],
        "sources": plan.sources,
    }


def _characters(tally: Tally, corpus: str) -> dict[str, int]:
    """Return characters before the edits, read (behind them), cut out of documents as repeated text, and kept."""
    counts = _by_outcome(tally, corpus, "characters")
    cut = sum(unit["characters"] for unit in tally.removed.get(corpus, {}).values())
    before = tally.characters_read.get(corpus, 0)
    return {"before_edits": before, "read": counts["read"] + cut, "cut": cut, "kept": counts["kept"]}


def _by_outcome(tally: Tally, corpus: str, what: str) -> dict[str, int]:
    outcomes = [o for by_outcome in tally.outcomes.get(corpus, {}).values() for o in by_outcome.items()]
    read = sum(counts[what] for _, counts in outcomes)
    kept = sum(counts[what] for outcome, counts in outcomes if outcome == statistics.KEPT)
    return {"read": read, "kept": kept}


def share_rejected(manifest: Mapping[str, Any]) -> float:
    """Return the share of all records found that were rejected."""
    documents = manifest["documents"]
    found = documents["read"] + documents["rejected"]
    return documents["rejected"] / found if found else 0.0


def open_manifest(root: str) -> dict[str, Any]:
    """Return the manifest of a run folder; raise RunError if there is none."""
    store = Store(root)
    for name in (NAME, OVER_BUDGET):
        if store.exists(name):
            found: dict[str, Any] = store.read_json(name)
            return found
    raise RunError(f"{root}: no {NAME}: not a finished run folder (`corpusmill run RECIPE --out {root}` makes one)")


def alarm_message(alarm: Mapping[str, Any]) -> str:
    """Return in words which source lost how much as duplicates."""
    of = f"{alarm['corpus']!r}" + (f", {safe(alarm['source'])}," if alarm["source"] else "")
    share = alarm["duplicates"] / alarm["compared"]
    return f"{of} lost {alarm['duplicates']:,} of {alarm['compared']:,} documents as duplicates ({share:.1%})"
