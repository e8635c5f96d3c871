"""The mixture: how far to lower each corpus so that the kept tokens come in the shares that were asked for.

A corpus is lowered by a bound on its documents' draws, which any worker applies to any batch: kept if draw < cut. To find
the cut nobody needs all documents. Batches are weighed: tokens by bins of the draw, which add up (`weigh`). The sums say
how many tokens each corpus keeps (`targets`) and in which bin its cut must lie (`open_bin`); the documents in that bin say
where (`cut`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

BINS = 512
"""Bins of the draw; the documents of one are looked at in one place."""


class MixtureError(ValueError):
    """The shares cannot be reached with the documents there are."""


@dataclass(frozen=True)
class OpenBin:
    """Where the cut of a corpus lies: in `bin`, when the bins before it hold `before` tokens and `target` are wanted.

    Bin -1 keeps nothing, bin BINS everything.
    """

    bin: int
    before: int
    target: float


def weigh(tokens: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the tokens of a batch by the bin of the draw, int64 [BINS]; batches add up."""
    weights = np.zeros(BINS, np.int64)
    np.add.at(weights, bins_of(draws), tokens.astype(np.int64))
    return weights


def bins_of(draws: np.ndarray) -> np.ndarray:
    """Return the bin of each draw."""
    return (draws * BINS).astype(np.int64)


def targets(held: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, float]:
    """Return for each corpus the tokens to keep, where corpora hold so many and the shares are these.

    `shares` names every corpus and is taken in proportion to its sum. The scarcest corpus keeps all it has, so no
    mixture with these shares has more tokens. Raises MixtureError where a corpus has no share, or a share and no tokens.
    """
    _check(held, shares)
    whole = min(held[corpus] / share for corpus, share in shares.items() if share > 0)
    return {corpus: whole * share for corpus, share in shares.items()}


def open_bin(weights: np.ndarray, target: float) -> OpenBin:
    """Return the bin in which the tokens below a rising cut reach `target`."""
    if target <= 0:
        return OpenBin(-1, 0, target)
    ends = np.cumsum(weights)
    number = int(np.searchsorted(ends, target))
    if number == BINS:  # rounding may have put the target a hair beyond all there is
        return OpenBin(BINS, int(ends[-1]), target)
    return OpenBin(number, int(ends[number] - weights[number]), target)


def cut(tokens: np.ndarray, draws: np.ndarray, opened: OpenBin) -> float:
    """Return the cut in an open bin that keeps the number of tokens nearest to the target; of two, the smaller.

    `tokens` and `draws` hold every document of the bin, in any order; those with equal draws stay together.
    """
    if not 0 <= opened.bin < BINS:
        return 0.0 if opened.bin < 0 else 1.0
    ladder, place = np.unique(draws, return_inverse=True)
    steps = np.zeros(len(ladder), np.int64)
    np.add.at(steps, place, tokens.astype(np.int64))
    kept = opened.before + np.concatenate([[0], np.cumsum(steps)])
    nearest = int(np.argmin(np.abs(kept - opened.target)))
    return float(ladder[nearest]) if nearest < len(ladder) else (opened.bin + 1) / BINS


def _check(held: Mapping[str, int], shares: Mapping[str, float]) -> None:
    faults = [
        f"the corpus {corpus!r} has no share; name it, 0 keeps nothing" for corpus in held if corpus not in shares
    ]
    faults += [f"there is no corpus {corpus!r}; there are {sorted(held)}" for corpus in shares if corpus not in held]
    for corpus, share in shares.items():
        if not (np.isfinite(share) and share >= 0):
            faults.append(f"the share of {corpus!r} must be a number from 0, not {share}")
        elif share > 0 and corpus in held and held[corpus] == 0:
            faults.append(
                f"{corpus!r} shall have a share of {share:g} and has no tokens left; "
                "loosen its rules, or give it the share 0"
            )
    if not faults and not any(share > 0 for share in shares.values()):
        faults.append("all shares are 0; at least one must be above")
    if faults:
        raise MixtureError("mixture: " + "; ".join(faults))
