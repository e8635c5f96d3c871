"""How pieces of documents are numbered: by unit of work and place in it, so that order is that of the sources."""

from __future__ import annotations

PIECES_PER_UNIT = 4096
GROUP_UNITS = 64
GROUP_PIECES = 256
"""A group of pieces: those of so many units, and of each so many that follow each other. Most units have one or two."""


def group_of(number: int) -> int:
    """Return the group of a piece: what all pieces have to say is added up group by group, and then over groups."""
    unit, index = divmod(number, PIECES_PER_UNIT)
    return unit // GROUP_UNITS * (PIECES_PER_UNIT // GROUP_PIECES) + index // GROUP_PIECES


def part_name(folder: str, number: int) -> str:
    """Return the public name of a piece's part of `documents`, `ledger`, `index` or `rejects`."""
    unit, index = divmod(number, PIECES_PER_UNIT)
    return f"{folder}/part-{unit:06}-{index:04}.parquet"
