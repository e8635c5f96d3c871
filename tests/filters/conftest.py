"""The documents whose values and decisions by released peers are known, rebuilt from the data.

The vectors name each by its place; each is known by its digest.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as stream:
        yield from map(json.loads, io.BufferedReader(stream))


def members(path: Path) -> Iterator[dict[str, Any]]:
    with (
        path.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                yield {"id": member.name, "content": content}


@pytest.fixture(scope="session")
def documents(data: Path, vectors: Path) -> list[dict[str, Any]]:
    """The vectors' documents, each with its `text`."""
    found = list(lines(vectors / "heuristics.jsonl.zst"))
    wanted: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for document in found:
        key = document["key"]
        wanted.setdefault(key["file"], {}).setdefault(key["id"], []).append(document)
    for file, ids in wanted.items():
        name = "record_id" if file.startswith("web/") else "id"
        for record in lines(data / file) if file.endswith(".jsonl.zst") else members(data / file):
            for document in ids.get(record.get(name, ""), ()):
                if "content" in record:
                    record["text"] = record.pop("content").read().decode()
                start, end = document["key"]["slice"]
                document["text"] = record[document["key"]["field"] or "text"][start:end]
    for document in found:
        assert hashlib.sha256(document["text"].encode()).hexdigest() == document["sha256"]
    return found
