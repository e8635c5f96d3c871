"""Near-copies of held-out documents are found, others are kept; the kernel agrees with its naive twin."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.folder import Folder
from ablate.overlap import RUN, SHARE, Runs, _near_copies, near_copies
from tests.ablate.conftest import corpora

documents = st.lists(st.lists(st.integers(0, 2), max_size=40), max_size=8)


def naive(texts: list[list[int]], held: list[list[int]]) -> list[bool]:
    def cut(text: list[int]) -> list[tuple[int, ...]]:
        length = min(RUN, len(text))
        return [tuple(text[at : at + length]) for at in range(len(text) - length + 1)] if text else []

    owner: dict[tuple[int, ...], int] = {}
    for number, text in enumerate(held):
        for one in cut(text):
            owner.setdefault(one, number)
    owned = [sum(of == number for of in owner.values()) for number in range(len(held))]
    found = []
    for text in texts:
        runs = cut(text)
        shared = {one for one in runs if one in owner}
        has = [sum(owner[one] == number for one in shared) for number in range(len(held))]
        inside = bool(shared) and sum(one in owner for one in runs) >= SHARE * len(runs)
        holds = any(many and many >= SHARE * of for many, of in zip(has, owned, strict=True))
        found.append(inside or holds)
    return found


@settings(max_examples=150)
@given(documents, documents)
def test_the_kernel_is_its_naive_twin(texts: list[list[int]], held: list[list[int]]):
    runs = Runs.of(np.array(one, np.int64) for one in held)
    offsets = np.cumsum([0, *(len(one) for one in texts)])
    tokens = np.array([token for one in texts for token in one], np.uint16)
    among = np.ones(len(texts), bool)
    found = _near_copies(tokens, offsets, among, runs.run_R, runs.owner_R, runs.owned_H, runs.maybe, SHARE)
    assert found.tolist() == naive(texts, held)


def test_planted_copies_go_and_all_else_stays(folder: Callable[..., Folder]):
    source = random.Random(5)
    held, rest = corpora()["reference"][:4], corpora()["code"]
    longest = max(held, key=len)
    edited = " ".join("edited" if source.random() < 0.02 else word for word in longest.split(" "))
    planted = [longest, edited, longest[: len(longest) // 2], f"{rest[0]}\n{rest[1]}\n{longest}"]
    train = folder("train", {"text": [*rest, *planted]}, shards=1)
    measured = folder("measured", {"text": held})
    runs = Runs.of(measured.tokens(document) for document in range(len(measured)))
    found_D = near_copies(train, np.ones(len(train), bool), runs)
    assert found_D.tolist() == [False] * len(rest) + [True] * len(planted)
    assert not near_copies(train, np.zeros(len(train), bool), runs).any()
