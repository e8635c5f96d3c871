"""The store: files appear whole or not at all."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.store import TEMPORARY, Store, digest


def test_a_file_is_published_when_it_is_whole(tmp_path):
    store = Store(str(tmp_path))
    with store.create("a/b.bin") as file:
        file.write(b"half")
        assert not store.exists("a/b.bin")
        file.write(b" and half")
    assert store.read("a/b.bin") == b"half and half"
    assert store.names("a") == ["a/b.bin"]
    assert store.names(TEMPORARY) == []


def test_a_broken_write_leaves_the_old_file_and_no_other(tmp_path):
    store = Store(str(tmp_path))
    store.write("x", b"old")
    with pytest.raises(RuntimeError), store.create("x") as file:
        file.write(b"new")
        raise RuntimeError
    assert store.read("x") == b"old"
    assert store.names(TEMPORARY) == []


def test_clears_what_a_killed_run_left(tmp_path):
    store = Store(str(tmp_path))
    (tmp_path / TEMPORARY).mkdir(parents=True)
    (tmp_path / TEMPORARY / "orphan").write_bytes(b"?")
    store.clear_temporary()
    assert store.names(TEMPORARY) == []


def test_a_linked_file_replaces_what_was_there_and_can_be_linked_again(tmp_path):
    store = Store(str(tmp_path))
    store.write("public/a", b"old")
    store.write("work/a", b"new")
    for _ in range(2):
        store.link("work/a", "public/a")
        assert store.read("public/a") == b"new"
    assert store.names(TEMPORARY) == []


def test_a_flipped_bit_in_a_table_is_seen(tmp_path):
    store = Store(str(tmp_path))
    table = pa.table({"text": [f"document {number} {number * number}" for number in range(2000)]})
    store.write_table("t.parquet", table)
    assert store.read_table("t.parquet") == table
    data = bytearray(store.read("t.parquet"))
    data[len(data) // 3] ^= 1
    store.write("t.parquet", bytes(data))
    with pytest.raises((OSError, pa.ArrowInvalid)):
        store.read_table("t.parquet")


@given(st.lists(st.one_of(st.binary(), st.text(), st.integers(), st.lists(st.text()))))
def test_digests_differ_when_parts_are_cut_elsewhere(parts):
    assert digest(*parts) == digest(*parts)
    assert digest(*parts, "") != digest(*parts)
    assert digest("ab", "c") != digest("a", "bc")
