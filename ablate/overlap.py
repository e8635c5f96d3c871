"""Near-copies of held-out documents, found by what runs of 13 tokens they share.

Whole documents are compared, not single runs: a licence's header is shared by half a corpus of code, and says nothing of
what follows it. A document is left out if three tenths of its runs stand in held-out documents, or if it holds three
tenths of the runs of one of them, as a page does that quotes it whole.

Shapes: R runs of the held-out documents, H held-out documents, D documents of a folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numba import njit

from ablate.folder import Folder
from loader.order import mix

RUN = 13  # tokens (Brown et al. 2020, appendix C, with words)
SHARE = 0.3


@dataclass(frozen=True)
class Runs:
    """The different runs of held-out documents, sorted, each with the first document that has it."""

    run_R: np.ndarray  # uint64: a hash
    owner_R: np.ndarray  # int32
    owned_H: np.ndarray  # int64: how many runs each owns
    maybe: np.ndarray  # bool: whether any run has these last bits

    @staticmethod
    def of(documents: Iterable[np.ndarray]) -> Runs:
        """Return the runs of these documents; one shorter than a run is a run itself."""
        found = [runs(np.ascontiguousarray(document, np.int64)) for document in documents]
        owners = np.repeat(np.arange(len(found), dtype=np.int32), [len(one) for one in found])
        every = np.concatenate([np.zeros(0, np.uint64), *found])
        run_R, first_R = np.unique(every, return_index=True)
        bits = max(10, len(run_R).bit_length() + 3)
        maybe = np.zeros(1 << bits, bool)
        maybe[run_R & np.uint64(len(maybe) - 1)] = True
        return Runs(run_R, owners[first_R], np.bincount(owners[first_R], minlength=len(found)), maybe)


def near_copies(folder: Folder, among_D: np.ndarray, held: Runs) -> np.ndarray:
    """Return which documents of `among_D` share three tenths of their runs, or of a held-out document's, bool [D]."""
    found_D = np.zeros(len(folder), bool)
    before = 0
    for shard, info in enumerate(folder.shards.infos):
        part = slice(before, before + info.documents)
        offsets, tokens = folder.shards.offsets(shard), folder.shards.tokens(shard)
        found_D[part] = _near_copies(
            tokens, offsets, among_D[part], held.run_R, held.owner_R, held.owned_H, held.maybe, SHARE
        )
        before += info.documents
    return found_D


@njit(cache=True)
def runs(tokens: np.ndarray) -> np.ndarray:
    """Return a hash of every run of a document, uint64."""
    if len(tokens) == 0:
        return np.zeros(0, np.uint64)
    length = min(RUN, len(tokens))
    found = np.empty(len(tokens) - length + 1, np.uint64)
    for start in range(len(found)):
        state = mix(np.uint64(length))
        for place in range(start, start + length):
            state = mix(state ^ (np.uint64(tokens[place]) + np.uint64(1)))
        found[start] = state
    return found


@njit(cache=True)
def _near_copies(
    tokens: np.ndarray,
    offsets: np.ndarray,
    among_D: np.ndarray,
    run_R: np.ndarray,
    owner_R: np.ndarray,
    owned_H: np.ndarray,
    maybe: np.ndarray,
    share: float,
) -> np.ndarray:
    found_D = np.zeros(len(among_D), np.bool_)
    stamp_R = np.full(len(run_R), -1, np.int64)  # the last document that had this run
    has_H = np.zeros(len(owned_H), np.int64)
    last = np.uint64(len(maybe) - 1)
    for document in range(len(among_D)):
        if not among_D[document]:
            continue
        own = runs(tokens[offsets[document] : offsets[document + 1]])
        hits = 0
        has_H[:] = 0
        for run in own:
            if not maybe[run & last]:
                continue
            place = np.searchsorted(run_R, run)
            if place == len(run_R) or run_R[place] != run:
                continue
            hits += 1
            if stamp_R[place] != document:
                stamp_R[place] = document
                has_H[owner_R[place]] += 1
        if hits == 0:
            continue
        copied = hits >= share * len(own)
        for held in range(len(owned_H)):
            copied |= has_H[held] > 0 and has_H[held] >= share * owned_H[held]
        found_D[document] = copied
    return found_D
