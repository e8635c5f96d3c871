"""The evaluation sets of a recipe: found before a run starts, stored once for all its workers, looked for by each."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.read import SourceError
from pipeline.read.evaluation import UnknownField, read_items
from pipeline.read.files import find_all, shown
from pipeline.recipe import Recipe
from pipeline.recipe_check import nearest
from pipeline.store import Store, digest

if TYPE_CHECKING:
    from filters.contamination import Index

CONTAMINATION = pa.list_(
    pa.struct(
        [
            pa.field("set", pa.string()),
            pa.field("item", pa.string()),  # <file>#<number of the record, from 0>
            pa.field("start", pa.int32()),  # characters of the text
            pa.field("end", pa.int32()),
            pa.field("words", pa.int32()),  # that the text and the item have in common there
            pa.field("item_words", pa.int32()),
        ]
    )
)
"""The evaluation items that a document holds: the ledger's column of that name."""


@dataclass(frozen=True)
class EvaluationSet:
    """A set as it was found. `unsought` are those of its items that cannot be told from chance: not looked for."""

    name: str
    files: int
    items: int
    unsought: int
    version: str  # changes when an item does


def find_sets(recipe: Recipe) -> tuple[EvaluationSet, ...]:
    """Return the sets of a recipe; raise SourceError with every fault: no file, no such field, nothing long enough."""
    if not recipe.decontaminate:
        return ()
    from filters.contamination import LEAST, Index, Items  # compiles kernels: only where a recipe asks for it

    table = items_of(recipe)
    sought = Index(Items.of(table.column("text").combine_chunks())).sought
    found, faults = [], []
    for name in recipe.decontaminate:
        mine = pc.equal(table.column("set"), name)
        own = table.filter(mine)
        files = {item.rsplit("#", 1)[0] for item in own.column("item").to_pylist()}
        unsought = int((~sought[np.asarray(mine)]).sum())
        found.append(EvaluationSet(name, len(files), own.num_rows, unsought, _version(own)))
        if unsought == own.num_rows:
            what = f"none of its {unsought:,} items has {LEAST} words of its own" if unsought else "it holds no item"
            faults.append(f"decontaminate.{name}: {what}: nothing of it could be found in a text")
    if faults:
        raise SourceError("\n".join(faults))
    return tuple(found)


def _version(items: pa.Table) -> str:
    return digest(items.column("item").to_pylist(), items.column("text").to_pylist())


def items_of(recipe: Recipe) -> pa.Table:
    """Return (set, item, text) of every item, set by set and file by file."""
    sets: list[str] = []
    items: list[str] = []
    texts: list[str] = []
    faults = []
    for name, wanted in recipe.decontaminate.items():
        try:
            files = find_all([recipe.located(path) for path in wanted.paths], "text")
        except SourceError as error:
            faults.append(f"decontaminate.{name}: {error}")
            continue
        for file in files:
            label = recipe.name_of(shown(file.path))
            try:
                for number, text in enumerate(read_items(file.path, wanted.fields, wanted.records)):
                    sets.append(name)
                    items.append(f"{label}#{number}")
                    texts.append(text)
            except UnknownField as error:
                faults.append(f"decontaminate.{name}: {label}: {error}{nearest(error.field, error.known)}")
            except SourceError as error:
                faults.append(f"decontaminate.{name}: {label}: {error}")
    if faults:
        raise SourceError("\n".join(faults))
    return pa.table({"set": sets, "item": items, "text": pa.array(texts, pa.large_string())})


def write_items(recipe: Recipe, sets: Sequence[EvaluationSet], store: Store, name: str) -> None:
    """Write the hashed words of all items to the store, if they are not there."""
    if store.exists(name):
        return
    from filters.contamination import Items

    table = items_of(recipe)
    for one in sets:
        if _version(table.filter(pc.equal(table.column("set"), one.name))) != one.version:
            raise SourceError(f"decontaminate.{one.name}: a file has changed since the run was planned; run again")
    items = Items.of(table.column("text").combine_chunks())
    columns = {
        "set": table.column("set"),
        "item": table.column("item"),
        "words": pa.LargeListArray.from_arrays(items.starts, items.words),
        "worth": pa.LargeListArray.from_arrays(items.starts, items.worth),
    }
    store.write_table(name, pa.table(columns))


class Known:
    """The items of all sets, by number, and the index that finds them in texts."""

    def __init__(self, table: pa.Table, index: Index) -> None:
        self._sets, self._items, self._index = table.column("set"), table.column("item"), index

    def find(self, text: pa.Array) -> pa.Array:
        """Return the contamination of each text; null where there is none."""
        rows: list[list[dict[str, object]] | None] = [None] * len(text)
        for found in self._index.find(text):
            entry = {
                "set": self._sets[found.item].as_py(),
                "item": self._items[found.item].as_py(),
                "start": found.start,
                "end": found.end,
                "words": found.words,
                "item_words": int(self._index.item_words[found.item]),
            }
            rows[found.row] = [*(rows[found.row] or []), entry]
        return pa.array(rows, CONTAMINATION)


@functools.lru_cache(maxsize=2)
def known_items(root: str, name: str) -> Known:
    """Return the items that `write_items` wrote, indexed: once in a process."""
    from filters.contamination import Index, Items

    table = Store(root).read_table(name).combine_chunks()
    words, worth = (table.column(name).combine_chunks() for name in ("words", "worth"))
    starts = words.offsets.to_numpy()
    items = Items(starts, words.values.to_numpy(), worth.values.to_numpy())
    return Known(table, Index(items))


def sets_of(column: pa.ChunkedArray) -> dict[str, int]:
    """Return in how many documents each set was found, of a ledger's column of contamination."""
    counts: dict[str, int] = {}
    for row in column.filter(pc.is_valid(column)).to_pylist():
        for name in {entry["set"] for entry in row}:
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))
