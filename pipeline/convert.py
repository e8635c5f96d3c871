"""The shards in other trainers' formats: their bytes copied in their order, nothing tokenised again.

Each function writes one format and names its files; all read mapped shards in pieces of bounded size. Token ids keep their
type, two or four bytes; documents keep their END_OF_TEXT and are not joined or cut. See docs/shards.md.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipeline.shards import TOKENIZER, ShardError, Shards

AT_ONCE = 1 << 22
"""Values copied at a time."""

MDS_BYTES = 1 << 26
"""Bytes of samples after which a MosaicML shard is full, as its own writer would have it."""

_MEGATRON_KIND = {2: 8, 4: 4}
"""Megatron's codes of uint16 and int32 by width; it has no uint32, and ids below 2³¹ are the same bytes."""


def to_datatrove(shards: Shards, out: Path) -> None:
    """Write datatrove's and nanotron's `.ds` (ids) and `.ds.index` (where documents end, uint64), a pair per shard."""
    for shard in range(len(shards.infos)):
        name = f"{shard:05}_tokens.ds"
        _write(out / name, _pieces(shards.tokens(shard)))
        _write(out / f"{name}.index", (part.astype("<u8") for part in _pieces(shards.offsets(shard)[1:])))


def to_megatron(shards: Shards, out: Path) -> None:
    """Write Megatron's `tokens.bin` and `tokens.idx`: every document is a sequence of its own."""
    numbers = range(len(shards.infos))
    documents = sum(info.documents for info in shards.infos)
    before = np.cumsum([0, *(info.tokens for info in shards.infos)]) * shards.dtype.itemsize
    _write(out / "tokens.bin", (part for shard in numbers for part in _pieces(shards.tokens(shard))))

    def index() -> Iterator[Any]:
        yield b"MMIDIDX\x00\x00"
        yield struct.pack("<QBQQ", 1, _MEGATRON_KIND[shards.dtype.itemsize], documents, documents + 1)
        for shard in numbers:
            yield np.diff(shards.offsets(shard)).astype("<i4")
        for shard in numbers:
            yield (before[shard] + shards.offsets(shard)[:-1] * shards.dtype.itemsize).astype("<i8")
        for start in range(0, documents + 1, AT_ONCE):
            yield np.arange(start, min(start + AT_ONCE, documents + 1), dtype="<i8")

    _write(out / "tokens.idx", index())


def to_npy(shards: Shards, out: Path) -> None:
    """Write an array of ids per shard that `numpy.load(…, mmap_mode="r")` opens, and one of where documents start."""
    for shard in range(len(shards.infos)):
        for name, values in (("tokens", shards.tokens(shard)), ("offsets", shards.offsets(shard))):
            with (out / f"{shard:05}-{name}.npy").open("wb") as file:
                header = {"descr": values.dtype.str, "fortran_order": False, "shape": values.shape}
                np.lib.format.write_array_header_1_0(file, header)
                _copy(file, _pieces(values))


def to_olmo(shards: Shards, out: Path) -> None:
    """Write what OLMo-core reads: the bare ids of a shard, without a header, in a file called `.npy` all the same."""
    for shard in range(len(shards.infos)):
        _write(out / f"{shard:05}.npy", _pieces(shards.tokens(shard)))


def to_mds(shards: Shards, out: Path) -> None:
    """Write MosaicML's streaming shards: a sample per document, of its ids and where it came from.

    A sample that is empty cannot be said there, and is left out.
    """
    encodings = dict.fromkeys(("corpus", "id", "source", "url"), "str") | {"tokens": f"ndarray:{shards.dtype}"}
    names = sorted(encodings)
    config: dict[str, Any] = {
        "column_encodings": [encodings[name] for name in names],
        "column_names": names,
        "column_sizes": [None] * len(names),
        "compression": None,
        "format": "mds",
        "hashes": [],
        "size_limit": MDS_BYTES,
        "version": 2,
    }
    text = json.dumps(config, sort_keys=True).encode()
    written: list[dict[str, Any]] = []
    for samples in _groups(_samples(shards, names)):
        name = f"shard.{len(written):05}.mds"
        ends = np.cumsum([0, *map(len, samples)]) + 4 + 4 * (len(samples) + 1) + len(text)
        _write(out / name, [struct.pack("<I", len(samples)), ends.astype("<u4"), text, *samples])
        file = {"basename": name, "bytes": int(ends[-1]), "hashes": {}}
        written.append({**config, "raw_data": file, "samples": len(samples), "zip_data": None})
    _write(out / "index.json", [json.dumps({"shards": written, "version": 2}, sort_keys=True).encode()])


def _samples(shards: Shards, names: list[str]) -> Iterator[bytes]:
    """Yield each document as MosaicML's bytes: the sizes of its columns, then their values."""
    for shard in range(len(shards.infos)):
        tokens, offsets, about = shards.tokens(shard), shards.offsets(shard), shards.documents(shard)
        for row in range(about.num_rows):
            ids = tokens[offsets[row] : offsets[row + 1]]
            if len(ids):
                values = {name: (about.column(name)[row].as_py() or "").encode() for name in names if name != "tokens"}
                width = 0 if len(ids) < 1 << 8 else 1 if len(ids) < 1 << 16 else 2  # of its length, as a power of two
                shape = bytes([1 << 2 | width]) + len(ids).to_bytes(1 << width, "little")
                values["tokens"] = shape + ids.tobytes()
                yield b"".join(
                    [struct.pack(f"<{len(names)}I", *(len(values[n]) for n in names)), *(values[n] for n in names)]
                )


def _groups(samples: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield samples in groups of at most MDS_BYTES, or of one that alone is larger."""
    group: list[bytes] = []
    size = 0
    for sample in samples:
        if group and size + len(sample) > MDS_BYTES:
            yield group
            group, size = [], 0
        group.append(sample)
        size += len(sample)
    if group:
        yield group


FORMATS: Mapping[str, Callable[[Shards, Path], None]] = {
    "ds": to_datatrove,
    "megatron": to_megatron,
    "npy": to_npy,
    "olmo": to_olmo,
    "mds": to_mds,
}


def convert(shards: Shards, kind: str, out: Path) -> int:
    """Write shards in another format to the folder `out`, whole or not at all, with their tokenizer; return its bytes."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ShardError(f"{out}: is there already; name a folder that is empty or not there")
    building = out.with_name(f".{out.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    FORMATS[kind](shards, building)
    _write(building / TOKENIZER, [shards.tokenizer_json])
    os.replace(building, out)
    return sum(path.stat().st_size for path in out.iterdir())


def _pieces(values: np.ndarray) -> Iterator[np.ndarray]:
    """Yield an array in views of at most AT_ONCE values, so that no more of a mapped file is needed at a time."""
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]


def _write(path: Path, parts: Iterable[Any]) -> None:
    with path.open("wb") as file:
        _copy(file, parts)
        file.flush()
        os.fsync(file.fileno())


def _copy(file: BinaryIO, parts: Iterable[Any]) -> None:
    for part in parts:
        file.write(np.ascontiguousarray(part).data if isinstance(part, np.ndarray) else part)
