"""Code read with its middle last, so that a model learns to write what stands between (Bavarian et al. 2022).

Each stretch of such a document that fits in a row stands there as mark, beginning, mark, end, mark, middle. Which
documents are read so is chosen by seed and document; where they are cut is drawn anew in each epoch.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from loader.order import mix

MARKS = 3


@njit(cache=True)
def infill(
    whole: np.ndarray, seed: int, epoch: int, start: int, end_of_text: int, marks: np.ndarray, into: np.ndarray
) -> None:
    """Write a stretch as mark, beginning, mark, end, mark, middle; an END_OF_TEXT stays last. Cuts are drawn evenly."""
    core = len(whole) - (len(whole) > 0 and whole[-1] == end_of_text)
    first = mix(np.uint64(seed) + mix(np.uint64(start)) + np.uint64(epoch))
    one, other = first % np.uint64(core + 1), mix(first) % np.uint64(core + 1)
    cut, end = np.int64(min(one, other)), np.int64(max(one, other))
    place = np.int64(0)
    for mark, low, high in ((0, 0, cut), (1, end, core), (2, cut, end)):
        into[place] = marks[mark]
        for number in range(low, high):
            into[place + 1 + number - low] = whole[number]
        place += np.int64(1) + high - low
    if core < len(whole):
        into[place] = end_of_text
