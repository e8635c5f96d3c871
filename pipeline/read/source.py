"""What a corpus reads, and the pieces that work is cut into."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

FORMATS = ("warc", "wet", "jsonl", "parquet", "text", "code")

COLUMNS = ("id", "text", "url", "date", "licence", "repository", "programming_language")
"""The columns of ours that a source may rename."""

RECORD_BYTES = 64 << 20
"""The longest record that is read. A longer one is a reject, streamed past and never held in memory."""

GIVE_UP_BYTES = 16 << 30
"""What one record may make us stream past. A stream that goes on for longer without an end is left: it is a bomb."""


class SourceError(ValueError):
    """A source that cannot be read at all: a pattern that matches nothing, no access, a missing column."""


@dataclass(frozen=True)
class Source:
    """What a recipe says under `read:`. Paths are patterns, files or folders, local or URLs that fsspec knows."""

    corpus: str
    format: str
    paths: tuple[str, ...]
    columns: tuple[tuple[str, str], ...] = ()  # ours, theirs

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise SourceError(f"{self.corpus}: no format {self.format!r}; formats are {', '.join(FORMATS)}")
        for ours, _ in self.columns:
            if ours not in COLUMNS:
                raise SourceError(f"{self.corpus}: no column {ours!r}; columns are {', '.join(COLUMNS)}")
        if self.columns and self.format not in ("jsonl", "parquet"):
            raise SourceError(f"{self.corpus}: the format {self.format} has no columns to rename")


@dataclass(frozen=True)
class Unit:
    """One piece of reading: the records of `path` from `start` up to `stop` (None: to the end).

    What the numbers count depends on the format: bytes of a file that is read in ranges, row groups of Parquet, places
    in a listing of small files. Every cut lies where a record starts, so units share nothing and miss nothing.
    """

    corpus: str
    format: str
    path: str
    start: int
    stop: int | None
    columns: tuple[tuple[str, str], ...]
    size: int  # bytes, for balancing
    version: str  # changes when what is read changes

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Unit:
        values = json.loads(text)
        return Unit(**{**values, "columns": tuple((ours, theirs) for ours, theirs in values["columns"])})


def columns_of(columns: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Map ours to theirs. What the recipe does not name is found under its own name, a licence under `license`."""
    return {"id": "id", "text": "text", "url": "url", "date": "date", "licence": "license"} | dict(columns)
