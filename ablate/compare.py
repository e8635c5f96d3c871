"""What the results of all arms and seeds say: who needs how many tokens for the same loss, with the range over seeds.

The loss is bits per byte on the reference arm's held-out documents, a mean over corpora that counts each alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ablate.cloze import interval

OVERALL = "all"


@dataclass(frozen=True)
class Spread:
    """A number of several seeds: their mean, the least and the largest."""

    mean: float
    least: float
    largest: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        return Spread(sum(values) / len(values), min(values), max(values))


@dataclass(frozen=True)
class Multiplier:
    """How many times the tokens of the reference arm another arm needs for a loss. `at_least`: it never got there."""

    value: float
    at_least: bool
    target: float


def bits(point: dict[str, Any], corpus: str = OVERALL) -> float:
    """Return the bits per byte at a point of a curve, of a corpus or as a mean over all."""
    values: dict[str, float] = point["bits_per_byte"]
    return values[corpus] if corpus != OVERALL else sum(values.values()) / len(values)


def tokens_to(curve: Sequence[dict[str, Any]], target: float, corpus: str = OVERALL) -> float | None:
    """Return after how many tokens a curve first reaches a loss, on straight lines between its points; None if never."""
    for before, after in zip(curve, curve[1:], strict=False):
        high, low = bits(before, corpus), bits(after, corpus)
        if low <= target:
            share = min(1.0, max(0.0, (high - target) / (high - low))) if high > low else 0.0
            return float(before["tokens"] + share * (after["tokens"] - before["tokens"]))
    return None


def final(result: dict[str, Any], steps: int) -> dict[str, Any]:
    """Return the point of a curve at which all arms have taken as many steps."""
    return next(point for point in result["curve"] if point["step"] == steps)


def at_loss_of_reference(
    arm: dict[str, Any], reference: dict[str, Any], steps: int, corpus: str = OVERALL
) -> Multiplier:
    """Return the tokens the arm needs for the reference's last loss, over those that the reference needs for it.

    An arm that has not got there gives the least it can be: all it has read.
    """
    target = bits(final(reference, steps), corpus)
    own = tokens_to(reference["curve"], target, corpus) or 1.0
    other = tokens_to(arm["curve"], target, corpus)
    if other is None:
        return Multiplier(arm["curve"][-1]["tokens"] / own, True, target)
    return Multiplier(other / own, False, target)


def at_loss_of_arm(arm: dict[str, Any], reference: dict[str, Any], steps: int, corpus: str = OVERALL) -> Multiplier:
    """Return the tokens the arm needs for its own last loss, over those that the reference needs for it.

    If the reference never gets there, the multiplier is at most what it says, and below 1.
    """
    target = bits(final(arm, steps), corpus)
    own = tokens_to(arm["curve"], target, corpus) or 1.0
    other = tokens_to([one for one in reference["curve"] if one["step"] <= steps], target, corpus)
    if other is None:
        return Multiplier(own / final(reference, steps)["tokens"], True, target)
    return Multiplier(own / max(other, 1.0), False, target)


def summary(results: Sequence[dict[str, Any]], reference: str, steps: int) -> dict[str, Any]:
    """Return per arm every number with its range over seeds; against the reference arm, seed by seed."""
    by_seed = {result["seed"]: result for result in results if result["arm"] == reference}
    found: dict[str, Any] = {}
    for arm in dict.fromkeys(result["arm"] for result in results):
        own = sorted((result for result in results if result["arm"] == arm), key=lambda one: one["seed"])
        pairs = [(one, by_seed[one["seed"]]) for one in own]
        corpora = [OVERALL, *own[0]["curve"][0]["bits_per_byte"]]
        found[arm] = {
            "tokens": Spread.of([one["tokens"] for one in own]),
            "arm_tokens": Spread.of([one["arm_tokens"] for one in own]),
            "epochs": Spread.of([one["epochs"] for one in own]),
            "training_loss": Spread.of([one["training_loss"] for one in own]),
            "bits_per_byte": {
                corpus: Spread.of([bits(final(one, steps), corpus) for one in own]) for corpus in corpora
            },
            "others": {
                name: {corpus: Spread.of([one["others"][name][corpus] for one in own]) for corpus in corpora_of_it}
                for name, corpora_of_it in own[0]["others"].items()
            },
            "to_reference_loss": {
                corpus: [at_loss_of_reference(*pair, steps, corpus) for pair in pairs] for corpus in corpora
            },
            "to_own_loss": {corpus: [at_loss_of_arm(*pair, steps, corpus) for pair in pairs] for corpus in corpora},
            "cloze": {corpus: _cloze([one["cloze"] for one in own], corpus) for corpus in [OVERALL, *own[0]["cloze"]]},
            "recited_exactly": Spread.of([_share(one["recited"]["exact"], one["recited"]["documents"]) for one in own]),
            "recited_tokens": Spread.of([one["recited"]["tokens"] for one in own]),
            "recited_documents": Spread.of([one["recited"]["documents"] for one in own]),
        }
    return found


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _cloze(of_seeds: Sequence[dict[str, Any]], corpus: str) -> dict[str, Any] | None:
    """Return the share of right answers, over seeds, and within which the true one lies for as many questions."""
    picked = [[*one.values()] if corpus == OVERALL else [one[corpus]] for one in of_seeds]
    asked = [sum(part["asked"] for part in parts) for parts in picked]
    good = [sum(part["right"] for part in parts) for parts in picked]
    if not all(asked):
        return None
    shares = Spread.of([right / count for right, count in zip(good, asked, strict=True)])
    low, high = interval(shares.mean * asked[0], asked[0])
    return {"asked": asked[0], "right": shares, "low": low, "high": high}
