"""A signal computes columns: a pure function over one Arrow batch.

Its positional parameters are the columns it reads, the decorator's keywords the columns it writes. A row's value
depends on that row alone, never on its batch. A value that is not defined is null; zero is a number.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pyarrow as pa


class SignalError(ValueError):
    """A signal is declared wrongly, clashes with another, or returned something it did not declare."""


@dataclass(frozen=True)
class Signal:
    """A named function from columns to columns. Calling it calls the function."""

    name: str
    function: Callable[..., Any]
    reads: tuple[str, ...]
    writes: Mapping[str, pa.DataType]

    def __call__(self, *columns: pa.Array) -> Any:
        return self.function(*columns)


def signal(**writes: pa.DataType) -> Callable[[Callable[..., Any]], Signal]:
    """Declare a function as the signal that writes the columns `writes` (name → Arrow type)."""

    def declare(function: Callable[..., Any]) -> Signal:
        reads = tuple(inspect.signature(function).parameters)
        if not writes or not reads:
            raise SignalError(f"{function.__qualname__}: a signal reads at least one column and writes at least one")
        return Signal(function.__name__, function, reads, dict(writes))

    return declare


def collect(modules: Iterable[ModuleType]) -> dict[str, Signal]:
    """Map every column to the signal that writes it, over all signals defined in `modules`."""
    writers: dict[str, Signal] = {}
    for module in modules:
        for value in vars(module).values():
            if not isinstance(value, Signal):
                continue
            for column in value.writes:
                if writers.setdefault(column, value) is not value:
                    raise SignalError(
                        f"{module.__name__}: signal {value.name!r} writes the column {column!r}, "
                        f"which signal {writers[column].name!r} writes already"
                    )
    return writers


def needed(columns: Iterable[str], writers: Mapping[str, Signal], given: Iterable[str]) -> tuple[Signal, ...]:
    """Return the signals that compute `columns` from the `given` ones, each once, every one after those it reads.

    Raises SignalError for a column that nobody writes and for signals that read each other in a circle.
    """
    known = set(given)
    order: list[Signal] = []
    path: list[str] = []

    def visit(column: str) -> None:
        if column in known:
            return
        writer = writers.get(column)
        if writer is None:
            raise SignalError(f"no signal writes the column {column!r}")
        if writer in order:
            return
        if writer.name in path:
            raise SignalError(f"signals read each other in a circle: {' → '.join([*path, writer.name])}")
        path.append(writer.name)
        for read in writer.reads:
            visit(read)
        path.pop()
        order.append(writer)

    for column in columns:
        visit(column)
    return tuple(order)


def measure(batch: pa.RecordBatch, signals: Iterable[Signal]) -> pa.RecordBatch:
    """Return the columns the signals write for the rows of `batch`, in the signals' order."""
    columns: dict[str, pa.Array] = {name: batch.column(name) for name in batch.schema.names}
    written: dict[str, pa.Array] = {}
    for one in signals:
        try:
            result = one(*(columns[read] for read in one.reads))
        except Exception as error:  # a user's function may fail in any way; a runner would tell the bare message only
            raise SignalError(
                f"signal {one.name!r}: {type(error).__name__}: {error}{_place(error, one.function)}"
            ) from error
        results = result if isinstance(result, tuple) else (result,)
        if len(results) != len(one.writes):
            raise SignalError(f"signal {one.name!r} declares {len(one.writes)} columns and returned {len(results)}")
        for (column, kind), values in zip(one.writes.items(), results, strict=True):
            try:
                array = values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, type=kind)
            except (pa.ArrowException, TypeError, ValueError) as error:
                raise SignalError(f"signal {one.name!r}: {column!r} is declared as {kind}: {error}") from error
            if len(array) != batch.num_rows:
                raise SignalError(f"signal {one.name!r}: {column!r} has {len(array)} rows, not {batch.num_rows}")
            columns[column] = written[column] = array
    schema = pa.schema([(column, array.type) for column, array in written.items()])
    return pa.RecordBatch.from_arrays(list(written.values()), schema=schema)


def _place(error: Exception, function: Callable[..., Any]) -> str:
    """Return the line of a function's own file at which an exception arose, as a reader would look it up."""
    own = inspect.unwrap(function).__code__.co_filename
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    return f" ({own}:{lines[-1]})" if lines else ""
