"""Any document is found by its id and by its url, however many share one, from sorted hashes alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.lookup import FOLDER, entries, merged, places
from pipeline.numbering import GROUP_PIECES, GROUP_UNITS, PIECES_PER_UNIT, group_of, part_name
from pipeline.store import Store

NAMES = st.sampled_from(["", "a", "b", "개념", "https://a.example/1", "https://a.example/2"])
LEDGER = st.lists(st.tuples(NAMES, st.one_of(st.none(), NAMES)), max_size=8)


def column(values: list[str | None]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])


@settings(max_examples=60, deadline=None)
@given(st.lists(LEDGER, min_size=1, max_size=4), st.integers(1, 5), st.integers(1, 6), NAMES)
def test_a_document_is_found_wherever_its_id_or_url_is(tmp_path_factory, parts, row_group, most, wanted):
    store = Store(str(tmp_path_factory.mktemp("run")))
    for group in range(2):  # parts of a group are merged in any order
        own = [(n, part) for n, part in enumerate(parts) if n % 2 == group]
        tables = (entries(n, column([i for i, _ in part]), column([u for _, u in part])) for n, part in reversed(own))
        store.write_table(f"{FOLDER}/part-{group:06}.parquet", merged(tables), row_group=row_group)
    expected = [(n, row) for n, part in enumerate(parts) for row, names in enumerate(part) if wanted in names]
    first, count = places(store, wanted, most)
    assert first == expected[:most]
    assert count == len(expected)


def test_groups_hold_a_bounded_number_of_pieces_and_names_keep_their_order():
    numbers = [unit * PIECES_PER_UNIT + index for unit in range(3 * GROUP_UNITS) for index in (0, 1, GROUP_PIECES)]
    members: dict[int, list[int]] = {}
    for number in numbers:
        members.setdefault(group_of(number), []).append(number)
    assert max(len(group) for group in members.values()) <= GROUP_UNITS * 2
    assert len({group_of(unit * PIECES_PER_UNIT) for unit in range(GROUP_UNITS)}) == 1
    names = [part_name("ledger", number) for number in numbers]
    assert names == sorted(names)
    assert Path(names[1]).name == "part-000000-0001.parquet"


def test_asking_why_loads_no_engine_and_no_compiled_code():
    script = (
        "import sys, pipeline.why, pipeline.cli\nprint(sorted({'numba', 'apache_beam', 'torch'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
