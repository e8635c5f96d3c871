"""The mixture: how far to lower each corpus so that the kept tokens come in the shares that were asked for.

A corpus is lowered by a bound on its documents' draws, which any worker applies to any batch: kept if draw < cut.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class MixtureError(ValueError):
    """The shares cannot be reached with the documents there are."""


def cuts(
    tokens: Mapping[str, np.ndarray], draws: Mapping[str, np.ndarray], shares: Mapping[str, float]
) -> dict[str, float]:
    """Return for each corpus the cut: documents whose draw is below it are kept. 1 keeps all, 0 none.

    `tokens` and `draws` hold one number per document, in any order. `shares` names every corpus and is taken in
    proportion to its sum. The scarcest corpus keeps all it has, so no mixture with these shares has more tokens; every
    other corpus ends within one document of its share. Raises MixtureError where a corpus has no share, or a share and
    no tokens.
    """
    _check(tokens, draws, shares)
    held = {corpus: int(np.sum(counts, dtype=np.int64)) for corpus, counts in tokens.items()}
    whole = min(held[corpus] / share for corpus, share in shares.items() if share > 0)
    return {
        corpus: _cut(tokens[corpus], draws[corpus], whole * share) if share > 0 else 0.0
        for corpus, share in shares.items()
    }


def _cut(tokens: np.ndarray, draws: np.ndarray, target: float) -> float:
    """Return the cut that keeps the number of tokens nearest to `target`; of two equally near, the smaller."""
    order = np.argsort(draws, kind="stable")
    ladder = np.unique(draws[order])  # documents with equal draws stay together
    ends = np.searchsorted(draws[order], ladder, side="right")
    kept = np.concatenate([[0], np.cumsum(tokens[order], dtype=np.int64)])[np.concatenate([[0], ends])]
    nearest = int(np.argmin(np.abs(kept - target)))
    return float(ladder[nearest]) if nearest < len(ladder) else 1.0


def _check(tokens: Mapping[str, np.ndarray], draws: Mapping[str, np.ndarray], shares: Mapping[str, float]) -> None:
    faults = [
        f"the corpus {corpus!r} has no share; name it, 0 keeps nothing" for corpus in tokens if corpus not in shares
    ]
    faults += [
        f"there is no corpus {corpus!r}; there are {sorted(tokens)}" for corpus in shares if corpus not in tokens
    ]
    for corpus, share in shares.items():
        if not (np.isfinite(share) and share >= 0):
            faults.append(f"the share of {corpus!r} must be a number from 0, not {share}")
        elif share > 0 and corpus in tokens and np.sum(tokens[corpus], dtype=np.int64) == 0:
            faults.append(
                f"{corpus!r} shall have a share of {share:g} and has no tokens left ({len(tokens[corpus])} documents); "
                "loosen its rules, or give it the share 0"
            )
    if not faults and not any(share > 0 for share in shares.values()):
        faults.append("all shares are 0; at least one must be above")
    for corpus, counts in tokens.items():
        if len(draws.get(corpus, ())) != len(counts):
            faults.append(f"{corpus!r} has {len(counts)} token counts and {len(draws.get(corpus, ()))} draws")
    if faults:
        raise MixtureError("mixture: " + "; ".join(faults))
