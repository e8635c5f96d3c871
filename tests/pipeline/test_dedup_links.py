"""How documents meet: every hash in its bucket once, a bucket's links a forest, and components as a naive merge finds them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.components import Components
from pipeline.dedup import LINK, hash_rows, links
from tests.pipeline.sketched import (
    components,
)


def test_every_row_is_in_the_bucket_of_its_hash_once():
    random = np.random.default_rng(3)
    numbers = random.integers(0, 1 << 63, (20_000, 14), dtype=np.uint64)
    column = pa.array([row.tobytes() for row in numbers], pa.binary(112), mask=np.arange(20_000) % 10 == 0)
    content = pa.array([random.bytes(16) for _ in range(20_000)], pa.binary(16))
    bounds, rows = hash_rows(np.arange(20_000), content, column, 3)
    with_bands = np.arange(20_000) % 10 != 0
    expected = [(int(h), n) for n in np.flatnonzero(with_bands).tolist() for h in numbers[n]]
    expected += [(int.from_bytes(content[i].as_py()[:8], "little"), int(i)) for i in np.flatnonzero(~with_bands)]
    assert sorted(rows.tolist()) == sorted(expected)
    for bucket, (start, stop) in enumerate(pairwise(bounds)):
        assert (rows["hash"][start:stop] % 3 == bucket).all()
        assert stop > start


def test_hashes_of_another_type_are_refused():
    with pytest.raises(TypeError, match="fixed-size binary column of whole 64-bit numbers, not binary"):
        hash_rows(np.zeros(1, np.int64), pa.array([b"x" * 16], pa.binary()), None, 4)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 30)), max_size=60), st.integers(0, 31))
@settings(max_examples=200, deadline=None)
def test_links_of_a_bucket_are_a_forest_that_joins_equal_hashes_of_new_documents(rows, fresh):
    by_hash: dict[int, list[int]] = {}
    for hash_, node in rows:
        by_hash.setdefault(hash_, []).append(node)
    naive = [(run[0], node) for run in by_hash.values() if max(run) >= fresh for node in run if node != run[0]]
    found = links(np.array([h for h, _ in rows], np.uint64), np.array([n for _, n in rows], np.int64), fresh)
    nodes, roots = components([np.array(naive, LINK).reshape(-1, 2)], 31)
    expected = [[int(nodes[root]), node] for node, root in zip(nodes.tolist(), roots.tolist(), strict=True)]
    assert found.tolist() == [pair for pair in expected if pair[0] != pair[1]]


@given(st.lists(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=30), max_size=6))
@settings(max_examples=200, deadline=None)
def test_components_are_those_of_a_naive_merge(values):
    groups: list[set[int]] = []
    for one, other in [link for value in values for link in value]:
        touched = [group for group in groups if one in group or other in group]
        groups = [group for group in groups if group not in touched] + [{one, other}.union(*touched)]
    packed = [np.array(value, LINK).reshape(-1, 2) for value in values]
    nodes, roots = components(packed, 41)
    assert nodes.tolist() == sorted(node for group in groups for node in group)
    by_root: dict[int, set[int]] = {}
    for node, root in zip(nodes.tolist(), roots.tolist(), strict=True):
        by_root.setdefault(root, set()).add(node)
    assert sorted(by_root.values(), key=min) == sorted(groups, key=min)
    assert all(nodes[root] == min(group) for root, group in by_root.items())  # whatever came first
    merged = Components(41)
    for step in (merged.mark, merged.join):
        for one in packed:
            step(one)
    cuts = [0, 7, 7, 30, 41]
    parts = [merged.within(start, stop) for start, stop in pairwise(cuts)]
    assert [
        start + row for (rows, _), start in zip(parts, cuts, strict=False) for row in rows.tolist()
    ] == nodes.tolist()
    assert [root for _, part in parts for root in part.tolist()] == roots.tolist()
