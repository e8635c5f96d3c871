"""A rule decides: one column, one bound. Every rule is evaluated on every document.

A null fails. Zero is a number, not "off". Which rule failed first is a matter of order; which rules failed is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Rule:
    """A bound on one column: `minimum ≤ value ≤ maximum` (either may be None: unbounded), or `value in among`."""

    name: str
    column: str
    minimum: float | None = None
    maximum: float | None = None
    among: frozenset[str] | None = None

    def __post_init__(self) -> None:
        bounds = (self.minimum, self.maximum, self.among)
        if all(bound is None for bound in bounds):
            raise ValueError(f"rule {self.name!r} has no bound; give min, max or in")
        if self.among is not None and (self.minimum is not None or self.maximum is not None):
            raise ValueError(f"rule {self.name!r} has both a set and a range; give one of them")

    def passes(self, column: pa.Array) -> np.ndarray:
        """Return one bool per row; a null, and a NaN, fails."""
        if self.among is not None:
            allowed = pc.is_in(column, value_set=pa.array(sorted(self.among), type=column.type))
            return np.asarray(pc.and_(allowed, pc.is_valid(column)))
        # float32 columns are compared as such: the quotient 3/10 is not above a bound of 0.3 for having been rounded up.
        kind = pa.float32() if column.type == pa.float32() else pa.float64()
        values = np.asarray(column.cast(kind).fill_null(float("nan")))
        passed = ~np.isnan(values)
        if self.minimum is not None:
            passed &= values >= values.dtype.type(self.minimum)
        if self.maximum is not None:
            passed &= values <= values.dtype.type(self.maximum)
        return passed

    def key(self) -> list[object]:
        """Return what tells this rule from any other, as JSON values: `str` rounds."""
        among = None if self.among is None else sorted(self.among)
        return [self.name, self.column, self.minimum, self.maximum, among]

    def __str__(self) -> str:
        if self.among is not None:
            return f"{self.column} in {{{', '.join(sorted(self.among))}}}"
        if self.minimum is None:
            return f"{self.column} ≤ {self.maximum:g}"
        if self.maximum is None:
            return f"{self.column} ≥ {self.minimum:g}"
        return f"{self.minimum:g} ≤ {self.column} ≤ {self.maximum:g}"


def decide(columns: pa.RecordBatch, rules: Sequence[Rule]) -> tuple[pa.RecordBatch, pa.Array]:
    """Return (one bool column per rule, named after it; the name of each row's first failing rule, else null)."""
    rows = columns.num_rows
    passed = [rule.passes(columns.column(rule.column)) for rule in rules]
    first = np.full(rows, -1, np.int32)
    for index in range(len(rules) - 1, -1, -1):
        first[~passed[index]] = index
    names = pa.array([rule.name for rule in rules], pa.string())
    reason = names.take(pa.array(first, mask=first < 0)) if rules else pa.nulls(rows, pa.string())
    batch = pa.RecordBatch.from_arrays([pa.array(one) for one in passed], names=[rule.name for rule in rules])
    return batch, reason
