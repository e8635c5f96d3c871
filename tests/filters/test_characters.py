"""The kernel counts what Python counts, wherever a text lies in its buffer."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.kernels import characters as kernel
from filters.kernels.characters import characters


@given(st.lists(st.text() | st.text("aé한😀", min_size=60, max_size=200)), st.integers(0, 3))
def test_characters_are_those_of_python(texts, start):
    for kind in (pa.large_string(), pa.string()):
        given = pa.array([text.encode("utf-8", "replace").decode() for text in texts], kind)[start:]
        assert characters(given).tolist() == [len(text) for text in given.to_pylist()]
        assert characters(given).tolist() == pc.utf8_length(given).to_pylist()


def test_other_arrays_are_refused():
    with pytest.raises(TypeError, match="not int64"):
        characters(pa.array([1]))


def test_the_kernel_is_compiled_once_for_memory_that_may_be_written_and_that_may_not():
    built = pa.array(["a", "é"], pa.large_string())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema({"text": built.type})) as stream:
        stream.write_batch(pa.record_batch({"text": built}))
    read = pa.ipc.open_stream(sink.getvalue().to_pybytes()).read_next_batch().column("text")
    assert built.buffers()[2].is_mutable != read.buffers()[2].is_mutable
    for text in (built, read):
        assert characters(text).tolist() == [1, 1]
    assert len(kernel._characters.signatures) == 1
