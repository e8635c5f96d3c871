"""Parquet: rows are documents; what cannot be read is a reject for each row that is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.document import SCHEMA
from pipeline.read import Source, SourceError, parquet, units
from tests.pipeline.read_sources import read_all


def write(path: Path, columns: dict[str, Any], rows: int = 1000, **options: Any) -> None:
    """Write a table with page checksums, `rows` rows to a group."""
    pq.write_table(pa.table(columns), path, row_group_size=rows, write_page_checksum=True, **options)


def texts(count: int) -> list[str]:
    return [f"text {number} 본문 " * 9 for number in range(count)]


@given(
    st.lists(st.tuples(st.none() | st.text(), st.none() | st.text(), st.none() | st.integers(-9, 9)), max_size=40),
    st.integers(1, 10),
    st.integers(1, 3000),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_units_of_a_file_give_its_rows(
    tmp_path: Path, rows: list[tuple[Any, ...]], group: int, target: int
) -> None:
    path = tmp_path / "a.parquet"
    columns = {
        "text": pa.array([row[0] for row in rows], pa.string()),
        "id": pa.array([row[1] for row in rows], pa.string()),
        "n": pa.array([row[2] for row in rows], pa.int64()),
    }
    write(path, columns, group)
    found, rejects = read_all("parquet", path)
    assert read_all("parquet", path, target_bytes=target) == (found, rejects)
    good = [(number, row) for number, row in enumerate(rows) if row[0] is not None]
    assert [row["offset"] for row in found] == [number for number, _ in good]
    assert [row["text"] for row in found] == [row[0] for _, row in good]
    assert [row["id"] for row in found] == [row[1] or f"a.parquet#{number}" for number, row in good]
    assert [row["metadata"] and json.loads(row["metadata"]) for row in found] == [
        None if row[2] is None else {"n": row[2]} for _, row in good
    ]
    assert [(one.offset, one.reason) for one in rejects] == [
        (number, "the text is null") for number, row in enumerate(rows) if row[0] is None
    ]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int32(), pa.string())]
)
def test_texts_are_read_from_every_kind_of_string(tmp_path: Path, kind: pa.DataType) -> None:
    write(tmp_path / "a.parquet", {"text": pa.array(texts(5)).cast(kind)})
    assert [row["text"] for row in read_all("parquet", tmp_path)[0]] == texts(5)


def test_a_row_that_is_not_utf_8_is_a_reject(tmp_path: Path) -> None:
    values = [text.encode() for text in texts(10)]
    values[4] = b"a\xffb"
    raw = pa.array(values, pa.binary())
    string = pa.Array.from_buffers(pa.string(), 10, raw.buffers())  # as a writer that does not look would leave it
    for name, column in (("a", raw), ("b", string)):
        write(tmp_path / f"{name}.parquet", {"text": column, "id": [f"{name}{n}" for n in range(10)]})
    rows, rejects = read_all("parquet", tmp_path)
    assert len(rows) == 18
    assert [(one.offset, one.reason) for one in rejects] == [(4, "not UTF-8: byte 0xff")] * 2


def test_a_damaged_row_group_is_as_many_rejects_as_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write(path, {"text": texts(400), "id": [f"d{n}" for n in range(400)]}, rows=100, compression="zstd")
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    at = (chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size - 40
    data[at] ^= 1
    path.write_bytes(data)
    rows, rejects = read_all("parquet", path)
    assert [row["offset"] for row in rows] == [*range(100), *range(200, 400)]
    assert [one.offset for one in rejects] == list(range(100, 200))
    assert all("row group 1 cannot be read" in one.reason for one in rejects)


def test_a_file_without_its_end_is_one_reject(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"text": texts(100)})
    write(tmp_path / "b.parquet", {"text": texts(100)})
    whole = (tmp_path / "a.parquet").read_bytes()
    for bad in (whole[: len(whole) // 2], b"", b"PAR1", b"text named .parquet", whole[:-8] + b"\xff\xff\xff\x7fPAR1"):
        (tmp_path / "a.parquet").write_bytes(bad)
        rows, (reject,) = read_all("parquet", tmp_path)
        assert len(rows) == 100
        assert (reject.offset, reject.reason.split(":")[0]) == (0, "not a whole Parquet file")


def test_scalars_that_are_left_are_the_metadata(tmp_path: Path) -> None:
    import datetime

    write(
        tmp_path / "a.parquet",
        {
            "body": ["t"], "text": ["not this"], "license": ["MIT"], "score": [0.5], "nan": [float("nan")], "none": [None],
            "day": [datetime.date(2024, 5, 18)], "list": [[1]], "struct": [{"a": 1}], "raw": [b"x"], "repo": ["a/b"],
        },
    )  # fmt: skip
    columns = (("text", "body"), ("repository", "repo"))
    ((row,), _) = read_all("parquet", tmp_path, columns=columns)
    assert json.loads(row["metadata"]) == {"text": "not this", "score": 0.5, "day": "2024-05-18"}
    assert (row["licence"], row["repository"], row["id"]) == ("MIT", "a/b", "a.parquet#0")


def test_ids_of_another_type_become_text(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": [7, None, 9], "text": ["a", "b", "c"]})
    assert [row["id"] for row in read_all("parquet", tmp_path)[0]] == ["7", "a.parquet#1", "9"]


def test_a_column_that_is_missing_is_said_before_work_starts(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"content": ["a"], "n": [1]})
    source = ("web", "parquet", (str(tmp_path),))
    with pytest.raises(SourceError, match="no column 'text'; columns are content, n"):
        units(Source(*source))
    with pytest.raises(SourceError, match="no column 'licences'"):
        units(Source(*source, (("text", "content"), ("licence", "licences"))))
    with pytest.raises(SourceError, match="the column 'n' is int64, not a string"):
        units(Source(*source, (("text", "n"),)))


class Hostile(pa.ExtensionType):
    """An extension type that must not be made by reading a file, as long as nobody registers it."""

    made: list[bytes] = []  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(pa.string(), "hostile.type")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"payload"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> Hostile:
        cls.made.append(serialized)
        return cls()


def test_extension_types_of_a_file_are_not_made(tmp_path: Path) -> None:
    column = pa.ExtensionArray.from_storage(Hostile(), pa.array(["a text", "another"]))
    write(tmp_path / "a.parquet", {"text": column, "more": column})
    fields = [
        pa.field(name, pa.string(), metadata={"ARROW:extension:name": "ray.data.arrow_tensor"})
        for name in ("text", "id")
    ]
    pq.write_table(pa.table([["t"], ["i"]], schema=pa.schema(fields)), tmp_path / "b.parquet")
    Hostile.made.clear()
    rows, rejects = read_all("parquet", tmp_path)
    assert ([row["text"] for row in rows], rejects) == (["a text", "another", "t"], [])
    assert Hostile.made == []
    pa.register_extension_type(Hostile())  # as a library of the user's might
    try:
        assert read_all("parquet", tmp_path)[0] == rows
    finally:
        pa.unregister_extension_type("hostile.type")


def test_a_row_that_is_too_long_is_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "RECORD_BYTES", 1000)
    write(tmp_path / "a.parquet", {"text": ["short", "x" * 2000, "short"]})
    rows, (reject,) = read_all("parquet", tmp_path)
    assert [row["offset"] for row in rows] == [0, 2]
    assert reject.offset == 1


def test_batches_are_small_where_rows_are_long(tmp_path: Path) -> None:
    long = ["x" * (1 << 20) + str(number) for number in range(40)]
    write(tmp_path / "a.parquet", {"text": long}, compression="none", use_dictionary=False)
    (unit,) = units(Source("web", "parquet", (str(tmp_path),)), 1 << 30)
    sizes = [item.num_rows for item in parquet.read(unit) if isinstance(item, pa.RecordBatch) and item.schema == SCHEMA]
    assert sum(sizes) == 40
    assert max(sizes) <= 16
