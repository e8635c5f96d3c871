"""Stages that reach the mixture: weigh the pieces, add up, open one bin of each corpus, cut there.

Tokens by bins of the draw are added up in groups of pieces first, so that the sum over all takes little from many. Then
only documents whose draw lies in a corpus's open bin, one in 512, are looked at in one place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from pipeline.numbering import group_of
from pipeline.stages.tokenising import counted_tokens
from pipeline.stages.work import Message, Messages, Work, pack
from pipeline.statistics import Nested, add
from samplers.mixture import BINS, OpenBin, bins_of, cut, open_bin, targets, weigh


def weigh_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Yield the tokens of a piece by bins of the draw, to its group."""
    piece = Messages.unpack(messages).piece
    _, tokens, draws = counted_tokens(work, piece)
    weights = weigh(tokens, draws)
    filled = {str(bin): int(weights[bin]) for bin in np.flatnonzero(weights)}
    yield group_of(piece.number), pack({"numbers": [piece.number], "tokens": {piece.corpus: filled}})


def add_weights(work: Work, group: int, messages: list[bytes]) -> Iterator[Message]:
    """Add up the weights of a group of pieces."""
    numbers, tokens = _sum(messages)
    yield 0, pack({"numbers": numbers, "tokens": tokens})


def _sum(messages: list[bytes]) -> tuple[list[int], Nested]:
    numbers: list[int] = []
    tokens: Nested = {}
    for value in Messages.unpack(messages).values:
        numbers += value["numbers"]
        tokens = add(tokens, value["tokens"])
    return sorted(numbers), tokens


def open_bins(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Find the bin in which each corpus is cut; yield that to every piece."""
    numbers, tokens = _sum(messages)
    shares = dict(work.plan.recipe.sample.mixture)
    weights = {corpus: np.zeros(BINS, np.int64) for corpus in work.plan.recipe.corpora}
    for corpus, filled in tokens.items():
        for bin, count in filled.items():
            weights[corpus][int(bin)] = count
    wanted = targets({corpus: int(own.sum()) for corpus, own in weights.items()}, shares)
    opened = {corpus: asdict(open_bin(weights[corpus], target)) for corpus, target in wanted.items()}
    name = work.key("opened", opened) + ".json"
    if not work.store.exists(name):
        work.store.write_json(name, opened)
    for number in numbers:
        yield number, pack({"opened": name})


def look_in_bin(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Yield the tokens and draws of the documents of a piece that lie in the open bin of its corpus."""
    together = Messages.unpack(messages)
    piece = together.piece
    (name,) = (value["opened"] for value in together.values)
    _, tokens, draws = counted_tokens(work, piece)
    ladder, place = np.unique(draws, return_inverse=True)  # documents with equal draws count as one
    steps = np.zeros(len(ladder), np.int64)
    np.add.at(steps, place, tokens)
    inside = np.flatnonzero(bins_of(ladder) == work.store.read_json(name)[piece.corpus]["bin"])
    found = {"draws": ladder[inside].tolist(), "tokens": steps[inside].tolist()}
    yield 0, pack({"number": piece.number, "corpus": piece.corpus, "opened": name, **found})


def reach_mixture(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Find the cut of each corpus; yield them to every piece."""
    values = Messages.unpack(messages).values
    opened = {corpus: OpenBin(**value) for corpus, value in work.store.read_json(values[0]["opened"]).items()}
    cuts = {}
    for corpus, bin in opened.items():
        own = [value for value in values if value["corpus"] == corpus]
        tokens = np.array([count for value in own for count in value["tokens"]], np.int64)
        draws = np.array([draw for value in own for draw in value["draws"]], np.float64)
        cuts[corpus] = cut(tokens, draws, bin)
    name = work.key("cuts", cuts) + ".json"
    if not work.store.exists(name):
        work.store.write_json(name, cuts)
    for value in values:
        yield value["number"], pack({"cuts": name})
