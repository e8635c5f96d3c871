"""Statistics of a run: computed from the ledger as written, one tally per part, and they add up.

A tally holds, per corpus: documents, characters and tokens by language and outcome; for every rule how many documents
failed it, and how many failed it alone; a histogram of every numeric column; how often each edit changed a text; what
was cut out of documents as repeated text; how many documents hold an item of each evaluation set.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation import sets_of
from pipeline.ledger import DUPLICATES, LATER, REPEATED_TEXT

KEPT = "kept"
STEPS = ("contaminated", *DUPLICATES, *LATER)
"""Reasons that are no rules, in the order of the stages that give them."""
COUNTS = ("documents", "characters", "tokens")
LINEAR_BINS = 50
BINS_PER_DECADE = 16
FEW = 20
"""Documents below which the loss of all is no alarm."""

Nested = dict[str, Any]
"""Names leading to numbers, through any depth of names."""


def add(left: Nested, right: Nested) -> Nested:
    """Return the sum of two nested counts, name by name."""
    result = dict(left)
    for name, value in right.items():
        if name not in result:
            result[name] = value
        elif isinstance(value, dict):
            result[name] = add(result[name], value)
        else:
            result[name] = result[name] + value
    return result


@dataclass(frozen=True)
class Tally:
    """Counts that add up: `(a + b) + c == a + (b + c)`, and the whole tallies to the sum of its parts."""

    outcomes: Nested = field(
        default_factory=dict
    )  # corpus → language → reason or "kept" → documents, characters, tokens
    rules: Nested = field(default_factory=dict)  # corpus → rule → failed, failed_alone
    histograms: Nested = field(default_factory=dict)  # corpus → column → kept, dropped → bin → documents
    edits: Nested = field(default_factory=dict)  # corpus → note → documents
    characters_read: Nested = field(default_factory=dict)  # corpus → characters before the edits
    sources: Nested = field(default_factory=dict)  # corpus → source → compared, duplicates
    removed: Nested = field(default_factory=dict)  # corpus → unit → spans, characters cut out of documents
    contamination: Nested = field(default_factory=dict)  # corpus → evaluation set → documents that hold an item of it

    def __add__(self, other: Tally) -> Tally:
        return Tally(**{name: add(value, vars(other)[name]) for name, value in vars(self).items()})

    @staticmethod
    def total(tallies: Iterable[Mapping[str, Nested]]) -> Tally:
        result = Tally()
        for tally in tallies:
            result = result + Tally(**tally)
        return result


def tally(
    ledger: pa.Table, rules: Mapping[str, Sequence[str]], columns: Sequence[str], by_source: Sequence[str] = ()
) -> Tally:
    """Count a ledger part: `rules` are the rule columns of each corpus, `columns` the numeric ones to histogram.

    `by_source` names the corpora whose files hold many documents: there duplicates are counted by file too.
    """
    result = Tally()
    for corpus in sorted(set(ledger.column("corpus").to_pylist())):
        part = ledger.filter(pc.equal(ledger.column("corpus"), corpus))
        kept = np.asarray(pc.equal(part.column("decision"), KEPT))
        own = [name for name in rules.get(corpus, ()) if name in part.column_names]
        notes = pc.value_counts(pc.list_flatten(part.column("edits"))).to_pylist()
        result = result + Tally(
            outcomes={corpus: _outcomes(part)},
            rules={corpus: _rules(part, own)},
            histograms={corpus: {name: _histogram(part.column(name), kept) for name in columns}},
            edits={corpus: {note["values"]: note["counts"] for note in notes}},
            contamination={corpus: sets_of(part.column("contamination"))}
            if "contamination" in part.schema.names
            else {},
            characters_read={corpus: int(pc.sum(part.column("characters_read")).as_py() or 0)},
            sources={corpus: _sources(part, corpus in by_source)},
            removed={corpus: _removed(part)},
        )
    return result


def _outcomes(part: pa.Table) -> Nested:
    """Count documents, the characters that were left of them (a document that was emptied counts whole), and tokens."""
    result: Nested = {}
    emptied = pc.equal(pc.fill_null(part.column("reason"), KEPT), REPEATED_TEXT)
    cut = pc.if_else(emptied, 0, pc.fill_null(part.column("characters_removed"), 0))
    outcome = pc.fill_null(part.column("reason"), KEPT)
    language = pc.fill_null(part.column("language"), "und")
    table = pa.table(
        {"l": language, "o": outcome, "c": pc.subtract(part.column("characters"), cut), "t": part.column("tokens")}
    )
    grouped = table.group_by(["l", "o"]).aggregate([("c", "count"), ("c", "sum"), ("t", "sum")])
    for row in grouped.to_pylist():
        counts = (row["c_count"], row["c_sum"] or 0, row["t_sum"] or 0)
        result.setdefault(row["l"], {})[row["o"]] = dict(zip(COUNTS, map(int, counts), strict=True))
    return result


def _removed(part: pa.Table) -> Nested:
    """Count what was cut, by unit. A document of which nothing was left is dropped, not cut."""
    part = part.filter(pc.not_equal(pc.fill_null(part.column("reason"), KEPT), REPEATED_TEXT))
    spans = pc.list_flatten(part.column("removed")).combine_chunks()
    size = pc.subtract(pc.struct_field(spans, "end"), pc.struct_field(spans, "start"))
    table = pa.table({"unit": pc.struct_field(spans, "unit"), "size": size})
    grouped = table.group_by("unit").aggregate([("size", "count"), ("size", "sum")])
    return {
        row["unit"]: {"spans": int(row["size_count"]), "characters": int(row["size_sum"])}
        for row in grouped.sort_by("unit").to_pylist()
    }


def _rules(part: pa.Table, names: Sequence[str]) -> Nested:
    if not names:
        return {}
    failed = np.stack([~np.asarray(part.column(name).combine_chunks().fill_null(True)) for name in names])
    alone = failed & (failed.sum(axis=0) == 1)
    return {
        n: {"failed": int(f.sum()), "failed_alone": int(a.sum())} for n, f, a in zip(names, failed, alone, strict=True)
    }


def _sources(part: pa.Table, by_source: bool) -> Nested:
    """Return of each source, or of all as one, how many documents were compared with others, and how many went."""
    reason = part.column("reason")
    duplicate = pc.is_in(reason, pa.array(DUPLICATES))
    compared = pc.or_(pc.or_(reason.is_null(), duplicate), pc.is_in(reason, pa.array(LATER)))
    source = part.column("source") if by_source else pa.repeat(pa.scalar(""), part.num_rows)
    table = pa.table({"source": source, "compared": compared, "duplicates": duplicate})
    rows = table.group_by("source").aggregate([("compared", "sum"), ("duplicates", "sum")]).to_pylist()
    return {row["source"]: {"compared": row["compared_sum"], "duplicates": row["duplicates_sum"]} for row in rows}


def alarms(tally: Tally, share: float) -> list[Nested]:
    """Return the corpora and sources that lost more than `share` of their documents as duplicates, the largest first."""
    counted: list[tuple[str, str | None, Nested]] = []
    for corpus, sources in tally.sources.items():
        whole: Nested = {}
        for counts in sources.values():
            whole = add(whole, counts)
        counted += [(corpus, None, whole), *((corpus, source, counts) for source, counts in sources.items() if source)]
    found = [
        {"corpus": corpus, "source": source, **counts}
        for corpus, source, counts in counted
        if counts and counts["compared"] >= FEW and counts["duplicates"] > share * counts["compared"]
    ]
    return sorted(found, key=lambda one: (-one["compared"], one["corpus"], one["source"] or ""))


def _histogram(column: pa.ChunkedArray, kept: np.ndarray) -> Nested:
    values = np.asarray(column.cast(pa.float64()).fill_null(float("nan")), dtype=np.float64)
    result: Nested = {}
    for outcome, rows in ((KEPT, kept), ("dropped", ~kept)):
        known = values[rows & ~np.isnan(values)]
        bins, counts = np.unique(bins_of(known), return_counts=True)
        result[outcome] = {str(int(b)): int(c) for b, c in zip(bins, counts, strict=True)}
        nulls = int((rows & np.isnan(values)).sum())
        if nulls:
            result[outcome]["null"] = nulls
    return result


def bins_of(values: np.ndarray) -> np.ndarray:
    """Return the bin of each value: 50 equal bins up to 1, sixteen to the decade beyond, mirrored below zero."""
    size = np.abs(values)
    linear = np.floor(size * LINEAR_BINS)
    beyond = LINEAR_BINS + np.floor(np.log10(np.maximum(size, 1.0)) * BINS_PER_DECADE)
    bins = np.where(size < 1.0, linear, beyond).astype(np.int64)
    return np.where(values < 0, -1 - bins, bins)


def bin_edges(number: int) -> tuple[float, float]:
    """Return the values between which a bin lies."""
    if number < 0:
        low, high = bin_edges(-1 - number)
        return -high, -low
    if number < LINEAR_BINS:
        return number / LINEAR_BINS, (number + 1) / LINEAR_BINS
    step = number - LINEAR_BINS
    return math.pow(10, step / BINS_PER_DECADE), math.pow(10, (step + 1) / BINS_PER_DECADE)


def documents(tally: Tally, rejected: Mapping[str, int]) -> dict[str, Nested]:
    """Return per corpus {read, kept, dropped: {reason: n}, rejected}."""
    result = {}
    for corpus in sorted({*tally.outcomes, *rejected}):
        outcomes: dict[str, int] = {}
        for by_outcome in tally.outcomes.get(corpus, {}).values():
            for outcome, counts in by_outcome.items():
                outcomes[outcome] = outcomes.get(outcome, 0) + counts["documents"]
        result[corpus] = {
            "read": sum(outcomes.values()),
            "kept": outcomes.pop(KEPT, 0),
            "dropped": dict(sorted(outcomes.items())),
            "rejected": rejected.get(corpus, 0),
        }
    return result
