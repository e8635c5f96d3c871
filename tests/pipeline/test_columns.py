"""Stage files: what is read is what was written, and a flipped bit is found in whatever is read."""

from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.kernels.buffers import buffers
from pipeline.columns import DamagedError, read, write
from pipeline.document import SCHEMA
from pipeline.ledger import SPANS, STATE
from pipeline.store import Store


def written(table: pa.Table, compression: str | None = None) -> bytes:
    file = io.BytesIO()
    write(table, file, compression)
    return file.getvalue()


TABLE = pa.table(
    {
        "id": pa.array(["a", "b", None], pa.string()),
        "text": pa.array(["one", "", "zwei 개념"], pa.large_string()),
        "hash": pa.array([b"x" * 16, None, b"y" * 16], pa.binary(16)),
        "edits": pa.array([["nfc"], [], None], pa.list_(pa.string())),
        "removed": pa.array([[{"start": 1, "end": 2}], None, []], SPANS.field("removed").type),
    }
)


@pytest.mark.parametrize("compression", [None, "lz4"])
@pytest.mark.parametrize("table", [TABLE, TABLE.slice(1, 1), TABLE.slice(0, 0), pa.concat_tables([TABLE, TABLE])])
def test_what_is_read_is_what_was_written(table, compression):
    found = read(pa.py_buffer(written(table, compression)), "file")
    found.validate(full=True)
    assert found.equals(table)
    assert found.schema == table.schema


@pytest.mark.parametrize("schema", [SCHEMA, STATE])
def test_a_table_without_rows_keeps_its_schema(schema):
    assert read(pa.py_buffer(written(schema.empty_table())), "file").schema == schema


def test_columns_come_in_the_order_in_which_they_are_asked_for():
    found = read(pa.py_buffer(written(TABLE)), "file", ["text", "id"])
    assert found.equals(TABLE.select(["text", "id"]))
    with pytest.raises(KeyError):
        read(pa.py_buffer(written(TABLE)), "file", ["missing"])
    assert read(pa.py_buffer(written(TABLE)), "file", []).num_columns == 0


def test_texts_are_given_to_kernels_without_a_copy():
    data = pa.py_buffer(written(TABLE))
    text = read(data, "file", ["text"]).column("text").chunk(0)
    offsets, view = buffers(text)
    assert data.address <= view.ctypes.data < data.address + data.size
    assert offsets.tolist() == [0, 3, 3, len("one" + "zwei 개념".encode().decode("latin-1"))]


@settings(max_examples=200)
@given(st.data())
def test_a_flipped_bit_is_found_in_whatever_is_read(data):
    table = TABLE.select(["id", "text"])
    whole = bytearray(written(table))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(DamagedError):
        assert read(pa.py_buffer(bytes(whole)), "file").equals(
            table
        )  # it was between two columns, where nothing is read


@pytest.mark.parametrize("left", [0, 5, 100, -1])
def test_a_file_that_ends_too_early_is_damaged(left):
    with pytest.raises(DamagedError, match="file: damaged"):
        read(pa.py_buffer(written(TABLE)[:left]), "file")


def test_a_store_reads_what_it_wrote_and_names_a_damaged_file(tmp_path):
    store = Store(str(tmp_path))
    store.write_table("work/measured/a.columns", TABLE)
    assert store.read_table("work/measured/a.columns").equals(TABLE)
    assert store.read_table("work/measured/a.columns", ["hash"]).equals(TABLE.select(["hash"]))
    path = tmp_path / "work" / "measured" / "a.columns"
    path.write_bytes(path.read_bytes().replace(b"zwei", b"drei"))
    assert store.read_table("work/measured/a.columns", ["hash"]).equals(TABLE.select(["hash"]))
    with pytest.raises(DamagedError, match=r"work/measured/a\.columns: damaged: its column 'text'"):
        store.read_table("work/measured/a.columns", ["text"])
    path.write_bytes(b"")
    with pytest.raises(DamagedError, match="it has 0 bytes"):
        store.read_table("work/measured/a.columns")


def test_hashes_are_read_as_numbers_at_addresses_that_numbers_may_have():
    hashes = pa.table({"id": pa.array(["a"] * 5), "hash": pa.array([bytes(16)] * 5, pa.binary(16))})
    found = read(pa.py_buffer(written(hashes)), "file", ["hash"]).column("hash").chunk(0)
    assert np.frombuffer(found.buffers()[1], "<u8").ctypes.data % 8 == 0
