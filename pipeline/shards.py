"""The shard format: what the pipeline writes and `train` reads.

A shard is one Arrow IPC stream of one uncompressed record batch: a row per document, its token ids in `input_ids`.
Beside the shards lie `manifest.json`, `tokenizer.json`, and what Hugging Face's `datasets` needs to open the folder as
it is. The manifest holds the size and SHA-256 of every other file and a fingerprint of itself, so that a changed byte
is found before the first token is read. Tokens are memory-mapped, never copied. See docs/shards.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, TypedDict, cast

import numpy as np
import pyarrow as pa

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

FORMAT = 2
MANIFEST, TOKENIZER = "manifest.json", "tokenizer.json"
SUFFIX = ".arrow"

INFILLING = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
)
"""What tokenizers call the marks before the beginning, the end and the middle of a text whose middle comes last. Ours has
the first three; of a given tokenizer the first that it has are taken."""

_END_OF_STREAM = 8
_ALIGNMENT = 8
_CHUNK = 1 << 20


class ShardError(ValueError):
    """A shard or its folder is not what its manifest says, or cannot be written."""


def schema(dtype: np.dtype[Any]) -> pa.Schema:
    """Return the columns of a shard whose token ids are `dtype`: uint16 or uint32."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("corpus", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("language", pa.string()),
            pa.field("programming_language", pa.string()),
            pa.field("url", pa.string()),
            pa.field("tokens", pa.int32(), nullable=False),
            pa.field("input_ids", pa.large_list(pa.from_numpy_dtype(dtype)), nullable=False),
        ]
    )


class Count(TypedDict):
    """Documents and their tokens."""

    documents: int
    tokens: int


@dataclass(frozen=True)
class ShardInfo:
    """What the manifest says of a shard. `token_offset` is the byte of the file at which its token ids start.

    `ShardInfo(**json.loads(json.dumps(asdict(info))))` is `info` again.
    """

    file: str
    documents: int
    tokens: int
    bytes: int
    sha256: str
    token_offset: int
    dtype: str
    corpora: Mapping[str, Count]


def write_shard(stream: BinaryIO, name: str, columns: pa.Table, offsets: np.ndarray, ids: np.ndarray) -> ShardInfo:
    """Write a shard called `name` to `stream`; return what the manifest must say of it.

    `columns` has the columns of `schema` up to `url`, a row per document; document i is ids[offsets[i]:offsets[i + 1]].
    The same documents give the same bytes.
    """
    _check_tokens(name, columns, offsets, ids)
    if Path(name).name != name or not name.endswith(SUFFIX):
        raise ShardError(f"{name!r} is no name for a shard; it is a plain file name that ends with {SUFFIX}")
    lengths = np.diff(offsets)
    written = schema(ids.dtype)
    given = [field.name for field in written][:-2]
    if columns.column_names != given:
        raise ShardError(f"{name}: the columns are {', '.join(columns.column_names)}; they must be {', '.join(given)}")
    tokens = pa.array(lengths.astype(np.int32))
    values = pa.array(ids[offsets[0] : offsets[-1]])
    lists = pa.LargeListArray.from_arrays(pa.array(offsets - offsets[0]), values, type=written.field("input_ids").type)
    batch = pa.RecordBatch.from_arrays(
        [*(_whole(columns.column(field.name), field) for field in written if field.name in given), tokens, lists],
        schema=written,
    )
    sink = _Sink(stream)
    with pa.PythonFile(sink, mode="w") as file, pa.ipc.new_stream(file, written) as writer:
        writer.write_batch(batch)
    padded = -(-values.nbytes // _ALIGNMENT) * _ALIGNMENT
    token_offset = sink.bytes - _END_OF_STREAM - padded
    if values.nbytes and (token_offset, values.nbytes) not in sink.writes:
        raise ShardError(f"{name}: this Arrow did not write the token ids last, at byte {token_offset}")
    return ShardInfo(
        file=name,
        documents=len(lengths),
        tokens=len(values),
        bytes=sink.bytes,
        sha256=sink.digest.hexdigest(),
        token_offset=token_offset,
        dtype=str(ids.dtype),
        corpora=_corpora(batch),
    )


def index_files(
    shards: Sequence[ShardInfo], tokenizer_json: bytes, end_of_text: int, about: Mapping[str, JSON]
) -> dict[str, bytes]:
    """Return the files (name → content) that make a folder of shards whole; the manifest, last, must be written last.

    `about` goes into the manifest as it is: digests of the recipe, the funnel of each corpus.
    """
    if not shards:
        raise ShardError("a folder of shards needs at least one; where nothing was kept, write one without documents")
    dtypes = sorted({shard.dtype for shard in shards})
    names = [shard.file for shard in shards]
    if len(dtypes) > 1 or len(set(names)) < len(names):
        raise ShardError(f"shards of one folder have one dtype and different names, not {dtypes} and {names}")
    files = {
        "state.json": _canonical(_state(shards)),
        "dataset_info.json": _canonical(_dataset_info(np.dtype(dtypes[0]))),
        TOKENIZER: tokenizer_json,
    }
    corpora = {name for shard in shards for name in shard.corpora}
    manifest: dict[str, JSON] = {
        "format": FORMAT,
        "documents": sum(shard.documents for shard in shards),
        "tokens": sum(shard.tokens for shard in shards),
        "dtype": dtypes[0],
        "end_of_text": end_of_text,
        "vocabulary_size": _vocabulary_size(tokenizer_json),
        "corpora": {name: cast(JSON, _total(shards, name)) for name in corpora},
        "shards": [asdict(shard) for shard in shards],
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        },
        "about": about,
    }
    manifest["fingerprint"] = _fingerprint(manifest)
    return {**files, MANIFEST: _canonical(manifest)}


class Shards:
    """A folder of shards, memory-mapped. `fingerprint` names its content: another content has another fingerprint."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], verify: bool) -> None:
        self.infos: tuple[ShardInfo, ...] = tuple(ShardInfo(**shard) for shard in manifest["shards"])
        self.fingerprint: str = manifest["fingerprint"]
        self.dtype: np.dtype[Any] = np.dtype(manifest["dtype"])
        self.end_of_text: int = manifest["end_of_text"]
        self.vocabulary_size: int = manifest["vocabulary_size"]
        self.total_tokens: int = manifest["tokens"]
        self.about: Mapping[str, JSON] = manifest["about"]
        _check_folder(folder, self.infos)
        for name, file in manifest["files"].items():
            _check_file(folder / name, file["bytes"], file["sha256"] if verify else None)
        for info in self.infos:
            _check_file(folder / info.file, info.bytes, info.sha256 if verify else None)
        self.tokenizer_json: bytes = (folder / TOKENIZER).read_bytes()
        self.infilling: tuple[int, ...] | None = _infilling(self.tokenizer_json)
        self._batches = [_map(folder / info.file, info) for info in self.infos]
        for shard, info in enumerate(self.infos if verify else ()):
            largest = int(self.tokens(shard).max(initial=0))
            if largest >= self.vocabulary_size:
                raise ShardError(f"{folder / info.file}: id {largest}, but ids end at {self.vocabulary_size - 1}")

    @classmethod
    def open(cls, folder: str | Path, verify: bool = True) -> Shards:
        """Open a folder of shards. Raises ShardError, which names the file, if one is not as it was written.

        Every byte is read and hashed, unless `verify` is False: then only the manifest, and the sizes of the files.
        """
        manifest = _read_manifest(Path(folder) / MANIFEST)
        return cls(Path(folder), manifest, verify)

    def tokens(self, shard: int) -> np.ndarray:
        """Return the token ids [tokens] of a shard: a read-only view of the mapped file."""
        return cast(np.ndarray, self._lists(shard).values.to_numpy())

    def offsets(self, shard: int) -> np.ndarray:
        """Return where documents start: document i of the shard is tokens(shard)[o[i]:o[i + 1]]. int64, a view."""
        return cast(np.ndarray, self._lists(shard).offsets.to_numpy())

    def documents(self, shard: int) -> pa.RecordBatch:
        """Return the other columns of a shard, a row per document."""
        batch = self._batches[shard]
        return batch.select([name for name in batch.schema.names if name != "input_ids"])

    def _lists(self, shard: int) -> pa.LargeListArray:
        return self._batches[shard].column("input_ids")


class _Sink:
    """Pass bytes on to a stream while hashing them and noting where each write starts."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.digest = hashlib.sha256()
        self.bytes = 0
        self.writes: set[tuple[int, int]] = set()
        self.closed = False

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.stream.write(data)
        self.digest.update(data)
        self.writes.add((self.bytes, size))
        self.bytes += size
        return size

    def flush(self) -> None:
        self.stream.flush()

    def close(self) -> None:
        """Leave the stream open: it is its owner's to sync and close."""
        self.closed = True


def _check_tokens(name: str, columns: pa.Table, offsets: np.ndarray, ids: np.ndarray) -> None:
    if ids.dtype not in (np.uint16, np.uint32):
        raise ShardError(f"{name}: token ids are {ids.dtype}; they must be uint16 or uint32")
    if offsets.dtype != np.int64 or len(offsets) != columns.num_rows + 1:
        raise ShardError(
            f"{name}: {len(offsets)} offsets of type {offsets.dtype} for {columns.num_rows} documents; "
            f"{columns.num_rows + 1} of type int64 are needed"
        )
    lengths = np.diff(offsets)
    if offsets[0] < 0 or offsets[-1] > len(ids) or (lengths < 0).any():
        raise ShardError(f"{name}: the offsets do not rise from 0 to at most {len(ids)}, the number of token ids")
    if lengths.max(initial=0) > np.iinfo(np.int32).max:
        raise ShardError(f"{name}: a document of {lengths.max()} tokens; a document holds at most 2³¹ - 1")


def _whole(column: pa.ChunkedArray, field: pa.Field) -> pa.Array:
    """Return a column as one array of the field's type."""
    if column.null_count and not field.nullable:
        raise ShardError(f"{column.null_count} of {len(column)} values of {field.name} are null; none may be")
    array = column.cast(field.type).combine_chunks()
    return array.chunk(0) if isinstance(array, pa.ChunkedArray) else array


def _corpora(batch: pa.RecordBatch) -> dict[str, Count]:
    table = pa.Table.from_batches([batch.select(["corpus", "tokens"])])
    grouped = table.group_by("corpus").aggregate([([], "count_all"), ("tokens", "sum")]).sort_by("corpus").to_pylist()
    return {row["corpus"]: Count(documents=row["count_all"], tokens=row["tokens_sum"]) for row in grouped}


def _total(shards: Sequence[ShardInfo], corpus: str) -> Count:
    counts = [shard.corpora[corpus] for shard in shards if corpus in shard.corpora]
    return Count(documents=sum(one["documents"] for one in counts), tokens=sum(one["tokens"] for one in counts))


def _canonical(value: JSON) -> bytes:
    """Return the one way to write a value as JSON: a file of any other bytes was not written by us."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _fingerprint(manifest: Mapping[str, JSON]) -> str:
    return hashlib.sha256(_canonical({key: manifest[key] for key in manifest if key != "fingerprint"})).hexdigest()


def _state(shards: Sequence[ShardInfo]) -> JSON:
    """Return what `datasets` writes beside its files, for files that it did not write."""
    digests = "".join(shard.sha256 for shard in shards)
    return {
        "_data_files": [{"filename": shard.file} for shard in shards],
        "_fingerprint": hashlib.sha256(digests.encode()).hexdigest()[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": "train",
    }


def _dataset_info(dtype: np.dtype[Any]) -> JSON:
    features: dict[str, JSON] = {
        field.name: {"_type": "Value", "dtype": str(field.type)} for field in schema(dtype) if field.name != "input_ids"
    }
    features["input_ids"] = {"_type": "LargeList", "feature": {"_type": "Value", "dtype": str(dtype)}}
    return {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}


def _vocabulary_size(tokenizer_json: bytes) -> int:
    """Return one more than the largest id of a tokenizer.json."""
    try:
        document = json.loads(tokenizer_json)
        ids = [*document["model"]["vocab"].values(), *(token["id"] for token in document.get("added_tokens", []))]
        return int(max(ids)) + 1
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardError(f"{TOKENIZER}: its vocabulary cannot be read: {error!r}") from None


def _infilling(tokenizer_json: bytes) -> tuple[int, ...] | None:
    """Return the ids of a tokenizer's INFILLING marks, None if it has none."""
    added = {token.get("content"): int(token["id"]) for token in json.loads(tokenizer_json).get("added_tokens") or []}
    return next((tuple(added[name] for name in names) for names in INFILLING if added.keys() >= {*names}), None)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ShardError(f"{path}: {error.strerror or error}; a folder of shards has one") from None
    try:
        manifest = json.loads(data)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise ShardError(f"{path}: not a manifest of format {FORMAT}, which this version reads")
        untouched = manifest.get("fingerprint") == _fingerprint(manifest) and data == _canonical(manifest)
    except ShardError:
        raise
    except (ValueError, RecursionError) as error:
        raise ShardError(f"{path}: not JSON as it was written: {error}") from None
    if not untouched:
        raise ShardError(f"{path}: its fingerprint does not match its content: it was changed after it was written")
    return manifest


def _check_folder(folder: Path, infos: Sequence[ShardInfo]) -> None:
    listed = {info.file for info in infos}
    extra = sorted({path.name for path in folder.glob(f"*{SUFFIX}")} - listed)
    if extra:
        raise ShardError(f"{folder / extra[0]}: the manifest does not list this shard; a folder holds those of one run")


def _check_file(path: Path, size: int, sha256: str | None) -> None:
    try:
        found = path.stat().st_size
        if found != size:
            raise ShardError(f"{path}: {found} bytes; the manifest says {size}")
        if sha256 is None:
            return
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ShardError(f"{path}: {error.strerror or error}; the manifest lists this file") from None
    if digest != sha256:
        raise ShardError(f"{path}: its bytes changed: SHA-256 {digest}; the manifest says {sha256}")


def _map(path: Path, info: ShardInfo) -> pa.RecordBatch:
    """Return the batch of a shard, mapped; ShardError if it is not of the manifest's shape."""
    try:
        with pa.memory_map(str(path)) as file:
            mapped = file.read_buffer()
        batch = pa.ipc.open_stream(mapped).read_next_batch()
        batch.validate()
    except (pa.ArrowInvalid, OSError, StopIteration) as error:
        raise ShardError(f"{path}: not a shard: {error}") from None
    expected = schema(np.dtype(info.dtype))
    if batch.schema != expected or batch.num_rows != info.documents:
        raise ShardError(
            f"{path}: {batch.num_rows} documents of {batch.schema}; {info.documents} of {expected} are right"
        )
    values = batch.column("input_ids").values
    if len(values) != info.tokens or (
        info.tokens and values.buffers()[1].address - mapped.address != info.token_offset
    ):
        raise ShardError(f"{path}: its token ids are not the {info.tokens} at byte {info.token_offset} of the manifest")
    return batch
