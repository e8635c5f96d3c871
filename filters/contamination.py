"""Items of evaluation sets in texts: which item, in which characters, and how many words they have in common.

Words are those of the near-duplicate search, so case, punctuation and line ends hide nothing. A stretch of words that a
text and an item have in common, a few edited ones among them, is reported when its evidence reaches ENOUGH words' worth.
An item that is worth less must be there whole, and one below LEAST is not looked for at all. GPT-3's authors set the
length of the n-grams they looked for between 8 and 13 words (Brown et al. 2020, appendix C).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from filters.kernels.alignment import (
    BEGIN,
    END,
    EVIDENCE,
    ITEM,
    QUARTER,
    ROW,
    WHOLE,
    WORDS,
    fill_bits,
    fill_table,
    find_stretches,
    word_spans,
)
from filters.kernels.buffers import buffers
from filters.kernels.shingles import WIDTH, hash_words, hashing, roll

ENOUGH, LEAST = 12, 8
"""Words' worth of evidence that proves any item; and below which an item is too short to be looked for."""
COMMON = 64
"""Five words in a row that occur more often than this in the items are their sets' own wording ("choose the best
answer"): they lead to no item, and each of their words is worth a quarter."""

HASHING = hashing(0)
"""One key for all: who writes a text whose hashes meet those of an item gets nothing but that text dropped."""


@dataclass(frozen=True)
class Found:
    """An item found in a text: `start` and `end` are characters, `words` those that both have."""

    row: int
    item: int
    start: int
    end: int
    words: int


@dataclass(frozen=True)
class Items:
    """The words of evaluation items, hashed: item n is words[starts[n]:starts[n + 1]]; `worth` is by word."""

    starts: np.ndarray
    words: np.ndarray
    worth: np.ndarray

    @staticmethod
    def of(text: pa.Array) -> Items:
        offsets, data = buffers(text)
        hashes, worths = [], []
        for begin, end in pairwise(offsets.tolist()):
            _, _, worth = _spans(data, begin, end)
            found = np.empty((end - begin) // 2 + 1, np.uint64)
            hash_words(data, begin, end, HASHING, np.zeros(2 * (end - begin) + 8, np.uint8), found)
            hashes.append(found[: len(worth)])
            worths.append(worth)
        starts = np.concatenate([[0], np.cumsum([len(one) for one in hashes], dtype=np.int64)])
        return Items(
            starts,
            np.concatenate([*hashes, np.zeros(0, np.uint64)]),
            np.concatenate([*worths, np.zeros(0, np.uint8)]),
        )


class Index:
    """Evaluation items, ready to be found: about 70 bytes for each word of them.

    `sought` tells which items are looked for: those that are not too short and have words of their own.
    """

    def __init__(self, items: Items) -> None:
        grams, places = _grams(items)
        order = np.argsort(grams, kind="stable")
        hashes, sizes = np.unique(grams[order], return_counts=True)
        common = sizes > COMMON
        worth = items.worth.astype(np.int64)
        for place in places[order][np.repeat(common, sizes)]:
            worth[place : place + WIDTH] = QUARTER
        whole = np.add.reduceat(np.append(worth, 0), items.starts[:-1]) if len(items.starts) > 1 else np.zeros(0)
        whole = np.where(np.diff(items.starts) > 0, whole, 0).astype(np.int64)
        self.item_words = np.diff(items.starts)
        item_of = np.repeat(np.arange(len(whole)), self.item_words)
        places = places[order][np.repeat(~common, sizes)]
        leads = np.bincount(item_of[places], minlength=len(whole)) > 0
        self.sought = leads & (whole >= LEAST * WHOLE)
        needed = np.where(~self.sought, np.iinfo(np.int64).max, np.minimum(whole, ENOUGH * WHOLE))
        kept = hashes[~common]
        bits = np.zeros(_power(len(kept) // 4 + 1), np.uint64)  # sixteen bits for each hash
        table = np.full(_power(2 * len(kept) + 2), -1, np.int64)
        fill_bits(kept, bits)
        fill_table(kept, table)
        begins = np.concatenate([[0], np.cumsum(sizes[~common])])
        self._arrays = (items.words, worth, items.starts, needed, item_of, kept, begins, places, bits, table)

    def find(self, text: pa.Array) -> Iterator[Found]:
        """Yield the items that texts hold, by row and start.

        Where stretches of several items overlap, those with less evidence are left out if better ones cover more than
        half of them: items that were made from one template are all alike in part.
        """
        offsets, data = buffers(text)
        stretches = find_stretches(offsets, data, HASHING, *self._arrays)
        if not len(stretches):
            return
        rows, first = np.unique(stretches[:, ROW], return_index=True)
        for row, own in zip(rows, np.split(stretches, first[1:]), strict=True):
            begins, ends, worth = _spans(data, offsets[row], offsets[row + 1])
            for one in _best(own, len(worth)):
                start, stop = begins[one[BEGIN]], ends[one[END] - 1]
                yield Found(int(row), int(one[ITEM]), int(start), int(stop), int(one[WORDS]))


def _spans(data: np.ndarray, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where every word of a text begins and ends, in characters, and its worth."""
    room = (stop - start) // 2 + 1
    begins, ends, worth = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.uint8)
    count = word_spans(data, start, stop, begins, ends, worth)
    return begins[:count], ends[:count], worth[:count]


def _grams(items: Items) -> tuple[np.ndarray, np.ndarray]:
    """Return (hashes, places) of all five words in a row of one item."""
    hashes, places = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for begin, end in pairwise(items.starts.tolist()):
        one = items.words[begin:end].copy()
        count = roll(one, len(one), HASHING)
        hashes.append(one[:count])
        places.append(np.arange(begin, begin + count))
    return np.concatenate(hashes), np.concatenate(places)


def _best(stretches: np.ndarray, words: int) -> np.ndarray:
    """Return the stretches of one row, by where they begin, without those that better ones cover for the most part."""
    covered = np.zeros(words, bool)
    kept = []
    for index in np.lexsort((stretches[:, ITEM], stretches[:, BEGIN], -stretches[:, EVIDENCE])):
        begin, end = stretches[index, BEGIN], stretches[index, END]
        if 2 * covered[begin:end].sum() <= end - begin:
            covered[begin:end] = True
            kept.append(index)
    best = stretches[kept]
    return best[np.lexsort((best[:, ITEM], best[:, BEGIN]))]


def _power(size: int) -> int:
    """Return the least power of two that is at least `size`."""
    return 1 << (size - 1).bit_length()
