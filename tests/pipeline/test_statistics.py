"""Statistics add up: the whole tallies to the sum of its parts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ledger import SPANS
from pipeline.statistics import Tally, alarms, bin_edges, bins_of, documents, tally

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["web", "books"]),
        st.sampled_from([None, "gopher.words", "exact_duplicate", "repeated_text"]),
        st.sampled_from(["en", "ko", None]),
        st.integers(0, 1000),
        st.one_of(st.none(), st.floats(0, 10)),
        st.one_of(st.none(), st.booleans()),
    ),
    max_size=40,
)


def ledger(rows):
    columns = list(zip(*rows, strict=True)) if rows else [[]] * 6
    corpus, reason, language, characters, value, passed = columns
    return pa.table(
        {
            "corpus": pa.array(corpus, pa.string()),
            "source": pa.array([f"{c % 3}.jsonl" for c in characters], pa.string()),
            "reason": pa.array(reason, pa.string()),
            "decision": pa.array(["kept" if r is None else "dropped" for r in reason], pa.string()),
            "language": pa.array(language, pa.string()),
            "characters": pa.array(characters, pa.int32()),
            "tokens": pa.array(characters, pa.int32()),
            "value": pa.array(value, pa.float32()),
            "rule": pa.array(passed, pa.bool_()),
            "edits": pa.array([["nfc"] if c % 2 else [] for c in characters], pa.list_(pa.string())),
            "characters_read": pa.array(characters, pa.int32()),
            **dict(zip(SPANS.names, removed(characters), strict=True)),
        }
    )


def removed(characters):
    """Return spans and their sum for documents of more than 500 characters, nulls for the others."""
    spans = [[{"start": 0, "end": c // 2, "unit": "line"}] if c > 500 else None for c in characters]
    return pa.array(spans, SPANS.types[0]), pa.array([s and s[0]["end"] for s in spans], SPANS.types[1])


def tallied(rows):
    return tally(ledger(rows), {"web": ["rule"]}, ["value"], ["web"])


@given(ROWS, st.integers(0, 40))
def test_the_whole_tallies_to_the_sum_of_its_parts(rows, at):
    assert tallied(rows) == tallied(rows[:at]) + tallied(rows[at:])


def test_a_corpus_or_a_file_that_deduplication_wipes_out_is_told():
    lost, kept = ("web", "exact_duplicate", "en", 0, None, None), ("web", None, "en", 1, None, None)
    books = ("books", "exact_duplicate", "en", 0, None, None)
    counted = tallied([lost] * 30 + [kept] * 60 + [books] * 19 + [("web", "gopher.words", "en", 0, None, None)] * 9)
    assert alarms(counted, 0.9) == [{"corpus": "web", "source": "0.jsonl", "compared": 30, "duplicates": 30}]
    assert [one["source"] for one in alarms(counted, 0.3)] == [None, "0.jsonl"]
    assert alarms(counted + tallied([books]), 0.9)[1] == {
        "corpus": "books", "source": None, "compared": 20, "duplicates": 20,
    }  # fmt: skip


@given(ROWS)
def test_order_does_not_matter_and_every_document_is_counted_once(rows):
    whole = tallied(rows)
    assert whole == tallied(rows[::-1])
    counts = documents(whole, {"web": 3})
    assert sum(c["read"] for c in counts.values()) == len(rows)
    assert all(c["read"] == c["kept"] + sum(c["dropped"].values()) for c in counts.values())
    assert counts["web"]["rejected"] == 3
    for corpus, columns in whole.histograms.items():
        assert sum(sum(bins.values()) for bins in columns["value"].values()) == counts[corpus]["read"]


def test_a_rule_that_fails_alone_is_told_from_one_that_fails_with_others():
    table = pa.table({"a": [True, False, False, None], "b": [True, True, False, False]})
    table = table.append_column("corpus", pa.array(["web"] * 4)).append_column(
        "reason", pa.array([None, "a", "a", "b"])
    )
    for name in ("decision", "language"):
        table = table.append_column(name, pa.array(["x"] * 4))
    for name in ("characters", "tokens", "characters_read"):
        table = table.append_column(name, pa.array([1] * 4, pa.int32()))
    table = table.append_column("edits", pa.array([[]] * 4, pa.list_(pa.string())))
    for field in SPANS:
        table = table.append_column(field, pa.nulls(4, field.type))
    rules = tally(table, {"web": ["a", "b"]}, []).rules["web"]
    assert rules == {"a": {"failed": 2, "failed_alone": 1}, "b": {"failed": 2, "failed_alone": 1}}


@given(st.floats(-1e9, 1e9))
def test_a_value_lies_in_its_bin(value):
    number = int(bins_of(np.array([value]))[0])
    low, high = bin_edges(number)
    assert low - 1e-9 * abs(low) <= value <= high + 1e-9 * abs(high)


def test_an_empty_total_is_nothing():
    assert Tally.total([]) == Tally()
    with pytest.raises(TypeError):
        Tally.total([{"unknown": {}}])
