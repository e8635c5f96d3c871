"""Answers of a bucket: one file with a section for each piece that it has something to say to; messages name ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pipeline.stages.work import Message, Work, pack


def send_sections(
    work: Work, name: str, make: Callable[[], Iterable[tuple[int, bytes]]], **more: object
) -> Iterator[Message]:
    """Yield to each receiver where its section of the file `name` is, after writing (receiver, section) if it is new."""
    index = f"{name}.json"
    if not work.store.exists(index):
        sections, at = [], 0
        with work.store.create(name) as file:
            for receiver, data in make():
                file.write(data)
                sections.append((receiver, at, at + len(data)))
                at += len(data)
        work.store.write_json(index, sections)
    for receiver, start, stop in work.store.read_json(index):
        yield receiver, pack({"file": name, "start": start, "stop": stop, **more})


def read_section(work: Work, value: dict[str, Any]) -> bytes:
    """Return the section that a message names."""
    return work.store.read_range(value["file"], value["start"], value["stop"])
