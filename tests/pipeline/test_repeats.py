"""Cutting repeated text by its laws: order is nothing, no word is lost, and a second pass finds only what it joined."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.kernels.repeats import seen_more_than
from filters.kernels.shingles import hashing
from filters.repeats import Marked, Repeat, claim, mark
from pipeline.node import nodes_of
from pipeline.repeats import Cut, claims_batch, cut, decide

KEY = hashing(3)
WORDS = st.sampled_from("tree rock 물 river 水 sand hill sky".split())
TEXTS = st.lists(st.lists(WORDS, max_size=14).map(" ".join), min_size=1, max_size=9)


def documents(texts: list[str], piece: int, priority: list[int]) -> pa.RecordBatch:
    rows = np.arange(len(texts))
    columns = {
        "node": pa.array(nodes_of(piece, rows)),
        "preference": pa.array(np.zeros(len(texts))),
        "priority": pa.array(priority, pa.int32()),
        "characters": pa.array([len(text) for text in texts], pa.int64()),
        "content": pa.array([blake2b(text.encode(), digest_size=16).digest() for text in texts], pa.binary(16)),
        "id": pa.array([f"{piece}-{row}" for row in rows]),
        "source": pa.array([f"file-{piece}"] * len(texts)),
    }
    return pa.RecordBatch.from_pydict(columns)


def cut_all(
    texts: list[str],
    repeats: list[Repeat],
    pieces: int = 2,
    buckets: int = 3,
    priority: list[int] | None = None,
) -> tuple[list[str], list[list[dict]]]:
    """Do what the stages do, in memory: mark pieces, count, claim, decide in buckets, cut. Return texts and spans."""
    priority = priority or [0] * len(texts)
    bounds = np.linspace(0, len(texts), pieces + 1).astype(int)
    columns = [pa.array(texts[a:b], pa.large_string()) for a, b in zip(bounds, bounds[1:], strict=False)]
    gone: list[list] = [[] for _ in columns]
    for repeat in repeats:
        marks = [mark(column, repeat, KEY) for column in columns]
        often = seen_more_than(np.concatenate([one.hashes for one in marks]), repeat.occurrences)
        parts: list[list[pa.RecordBatch]] = [[] for _ in range(buckets)]
        for number, (column, own) in enumerate(zip(columns, marks, strict=True)):
            mine, often = often[: len(own.hashes)], often[len(own.hashes) :]
            claims = claim(column, repeat, Marked(*(part[mine] for part in own)), KEY)
            about = documents(column.to_pylist(), number, priority[bounds[number] : bounds[number + 1]])
            for bucket in range(buckets):
                there = claims.hashes[:, 0] % np.uint64(buckets) == bucket
                if there.any():
                    parts[bucket].append(claims_batch(about, Marked(*(part[there] for part in claims))))
        for part in parts:
            for number, batch in decide(part[::-1], repeat.occurrences):
                gone[number].append((repeat.unit, batch))
    left: list[str] = []
    spans: list[list[dict]] = []
    for column, own in zip(columns, gone, strict=True):
        found = cut(column, own) if own else None
        left += (found.text if found else column).to_pylist()
        spans += [one or [] for one in found.spans.column("removed").to_pylist()] if found else [[] for _ in column]
    return left, spans


def kept(texts: list[str], repeats: list[Repeat], **how) -> Counter[str]:
    return Counter(cut_all(texts, repeats, **how)[0])


@settings(deadline=None)
@given(TEXTS, st.randoms(use_true_random=False), st.integers(1, 4), st.integers(1, 4))
def test_neither_order_nor_pieces_nor_buckets_change_what_is_left(texts, random, pieces, buckets):
    for repeats in ([Repeat("words", 3)], [Repeat("bytes", 12), Repeat("line", 4, 2)]):
        mixed = random.sample(texts, len(texts))
        assert kept(mixed, repeats, pieces=pieces, buckets=buckets) == kept(texts, repeats)


def kept_words(text: str, spans: list[dict]) -> list[tuple[int, str]]:
    """Return (which word of the text it was, the word) for those outside the spans."""
    found, at = [], 0
    for number, word in enumerate(text.split(" ") if text else []):
        if not any(span["start"] <= at < span["end"] for span in spans):
            found.append((number, word))
        at += len(word) + 1
    return found


@settings(deadline=None)
@given(TEXTS, st.integers(1, 5))
def test_every_word_that_is_cut_is_still_there_somewhere(texts, size):
    _, spans = cut_all(texts, [Repeat("words", size)])
    left = {word for text, own in zip(texts, spans, strict=True) for _, word in kept_words(text, own)}
    assert left == {word for text in texts for word in text.split()}


@settings(deadline=None)
@given(TEXTS, st.integers(2, 5))
def test_a_window_that_is_left_twice_was_joined_at_a_cut(texts, size):
    _, spans = cut_all(texts, [Repeat("words", size)])
    untouched: Counter[tuple[str, ...]] = Counter()
    for text, own in zip(texts, spans, strict=True):
        words = kept_words(text, own)
        for window in zip(*(words[first:] for first in range(size)), strict=False):
            if window[-1][0] - window[0][0] == size - 1:
                untouched[tuple(word for _, word in window)] += 1
    assert max(untouched.values(), default=1) == 1


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(["rock", " sand", "", "물"]), max_size=6).map("\n".join), max_size=6))
def test_cutting_lines_or_paragraphs_twice_is_cutting_them_once(texts):
    for repeat in (Repeat("line", 1), Repeat("paragraph", 1), Repeat("line", 1, 3)):
        once, spans = cut_all(texts, [repeat])
        alive = []
        for text, left, own in zip(texts, once, spans, strict=True):
            if not own or sum(span["end"] - span["start"] for span in own) + len(left) == len(text):
                alive.append(left)
        assert cut_all(alive, [repeat])[0] == alive


def test_priority_decides_who_keeps_before_length_does():
    texts = ["this is a long text of many words and one more", "so a long text of many words", "text of many words"]
    left, spans = cut_all(texts, [Repeat("words", 4)], priority=[2, 1, 0])
    assert left == ["this is  and one more", "so a long ", "text of many words"]
    assert [[span["survivor"] for span in own] for own in spans] == [["1-0", "1-1"], ["1-1"], []]


def test_spans_name_their_keeper_and_touching_ones_of_one_keeper_are_one():
    texts = ["0 one two three four five six", "one two three four five six", "zero one two three X"]
    column = pa.array(texts, pa.large_string())
    repeat = Repeat("words", 3)
    claims = claim(column, repeat, mark(column, repeat, KEY), KEY)
    ((piece, gone),) = decide([claims_batch(documents(texts, 5, [0, 1, 2]), claims)], 1)
    found: Cut = cut(column, [("words", gone)])
    assert piece == 5
    spans = found.spans.column("removed").to_pylist()
    assert spans[0] is None
    assert [(s["start"], s["end"], s["survivor"], s["survivor_source"]) for s in spans[1]] == [(0, 27, "5-0", "file-5")]
    assert [(s["start"], s["end"], s["survivor"]) for s in spans[2]] == [(5, 18, "5-0")]
    assert found.text.to_pylist() == [texts[0], texts[1], "zero  X"]
    assert found.nothing_left.tolist() == [1]
    assert found.spans.column("characters_removed").to_pylist() == [None, 27, 13]


def test_no_claims_no_decision():
    assert list(decide([], 1)) == []
