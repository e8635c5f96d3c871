"""Edits by name, applied to batches: text → text, never dropping a document.

`edit(batch, ["main_text", "repair_text"])` gives the same rows in the same order, and beside them notes: which edits
changed the text, and what could not be done. What becomes of a row depends on that row alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Changed = tuple[pa.LargeStringArray, Sequence[str | None]]


class EditError(ValueError):
    """An edit was asked for by a name that no edit has."""


@dataclass(frozen=True)
class Edit:
    """A named function: texts → as many texts, and for each a reason if it could not do its work on it."""

    name: str
    change: Callable[[pa.LargeStringArray], Changed]
    pages_only: bool = False
    """Whether it reads HTML: then only rows of media type text/html are given to it, and become text/plain."""


# Edits are imported when they are used: what extracts and repairs text takes long to import.


def _each(module: str, name: str, texts: pa.LargeStringArray) -> Changed:
    change: Callable[[str], str] = getattr(import_module(f"pipeline.edits.{module}"), name)
    return pa.array(map(change, texts.to_pylist()), pa.large_string()), [None] * len(texts)


def _pages(extractor: str, texts: pa.LargeStringArray) -> Changed:
    from pipeline.edits.pages import extract_pages

    return extract_pages(extractor, texts)


def _c4_lines(texts: pa.LargeStringArray) -> Changed:
    from filters.c4 import keep_lines

    return keep_lines(texts), [None] * len(texts)


EDITS: Mapping[str, Edit] = {
    one.name: one
    for one in (
        Edit("main_text", partial(_pages, "main_text"), pages_only=True),
        Edit("main_text_precise", partial(_pages, "main_text_precise"), pages_only=True),
        Edit("repair_text", partial(_each, "repair", "repair_text")),
        Edit("nfc", partial(_each, "repair", "nfc")),
        Edit("gutenberg", partial(_each, "gutenberg", "gutenberg")),
        Edit("c4_lines", _c4_lines),
    )
}


def find(name: str) -> Edit:
    """Return the edit of that name; raise EditError, with the nearest one, if there is none."""
    if name in EDITS:
        return EDITS[name]
    near = difflib.get_close_matches(name, EDITS, 1)
    meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(EDITS)}"
    raise EditError(f"no edit is called {name!r}; {meant}")


def edit(batch: pa.RecordBatch, names: Sequence[str]) -> tuple[pa.RecordBatch, pa.Array]:
    """Return the batch after the edits, in that order, and per row a list of notes.

    A note is the name of an edit that changed the text, or "<name>: <reason>": too deep, too large, deadline, crash,
    memory, unparsable. A page with such a reason has its plain text, unchosen. Raises EditError for an unknown name
    before any work, and ExtractionError where an extractor does not work at all.
    """
    edits = [find(name) for name in names]
    texts, media_types = batch.column("text"), batch.column("media_type")
    notes: list[list[str]] = [[] for _ in range(batch.num_rows)]
    for one in edits:
        mine = pc.equal(media_types, "text/html") if one.pages_only else pa.array([True] * batch.num_rows, pa.bool_())
        rows = np.flatnonzero(mine.to_numpy(zero_copy_only=False))
        if len(rows) == 0:
            continue
        before = texts.filter(mine) if one.pages_only else texts
        after, reasons = one.change(before)
        changed = pc.not_equal(before, after).to_numpy(zero_copy_only=False)
        for row, has_changed, reason in zip(rows.tolist(), changed.tolist(), reasons, strict=True):
            if has_changed:
                notes[row].append(one.name)
            if reason is not None:
                notes[row].append(f"{one.name}: {reason}")
        if one.pages_only:
            texts = pc.replace_with_mask(texts, mine, after)
            media_types = pc.if_else(mine, "text/plain", media_types)
        elif changed.any():
            texts = after
    edited = {"text": texts, "media_type": media_types}
    columns = [edited.get(name, batch.column(name)) for name in batch.schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema), pa.array(notes, pa.list_(pa.string()))
