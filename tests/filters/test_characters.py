"""The kernel counts what Python counts, wherever a text lies in its buffer."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
