"""The rows of a run, one after the other, from its corpora in turn. Where a run stands is one integer: the rows it has read.

Shapes: B rows, T tokens of a row, D documents, C corpora, S places of a period.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping

import numpy as np
from numba import njit

from loader.choice import DataError, held_out, infilled, named
from loader.infill import MARKS
from loader.order import key_of, mixed, salts_of, shuffled, walked
from loader.rows import IGNORED, Batch, Piece, Rows, joined
from pipeline.shards import Shards

_AT_ONCE = 1 << 20  # rows looked through at a time
_TURNS = 10_000  # of a mixture's period, about: shares are as exact as that


class TrainingData:
    """The rows of a run, in order, and each corpus's held-out rows. A function of shards, row length and seed.

    Documents with an id or url in `exclude` are not trained on; every other one stays in the row where it would be.
    Corpora take turns by the shares of `mixture`, or else by their size, each for at most `epochs` of its own, or those
    that `corpus_epochs` gives it. Of corpora of code, where the tokenizer has the marks for it, a share of the documents
    is filled in the middle. `apart` names the held-out documents by their place over all shards, bool [D]; without it
    the loader chooses them.
    """

    def __init__(
        self,
        shards: Shards,
        row_length: int,
        seed: int,
        exclude: Collection[str] = (),
        mixture: Mapping[str, float] | None = None,
        epochs: int = 4,
        corpus_epochs: Mapping[str, int] | None = None,
        infill_share: float = 0.0,
        apart: np.ndarray | None = None,
    ) -> None:
        self.row_length, self.seed = row_length, seed
        excluded = named(shards, exclude)
        before_S = np.cumsum([0, *(info.documents for info in shards.infos)])
        self.corpora: list[str] = []
        self.held_out: dict[str, Rows] = {}
        kept_rows: list[Rows] = []
        for corpus, ids, shard_D, document_D, is_code in _by_corpus(shards):
            out_D = held_out(corpus, ids) if apart is None else apart[before_S[shard_D] + document_D]
            as_it_is_D = np.zeros(len(ids), np.uint64)
            fills = is_code and infill_share > 0 and shards.infilling is not None and row_length > 2 * MARKS
            infilled_D = np.where(out_D, 0, infilled(ids, corpus, infill_share, seed)) if fills else as_it_is_D
            skipped_D = excluded[before_S[shard_D] + document_D] & ~out_D
            kept, evaluated = (
                Rows(shards, shard_D[part], document_D[part], row_length, skipped_D[part], infilled_D[part])
                for part in (~out_D, out_D)
            )
            if len(kept):
                self.corpora.append(corpus)
                kept_rows.append(kept)
            if len(evaluated):
                self.held_out[corpus] = evaluated
        if not any(rows.tokens for rows in kept_rows):
            raise DataError("the shards hold no tokens to train on" + (" but what is excluded" if exclude else ""))
        counts = np.array([len(rows) for rows in kept_rows])
        most = [(corpus_epochs or {}).get(corpus, epochs) for corpus in self.corpora]
        for name in {*(mixture or {}), *(corpus_epochs or {})} - {*self.corpora}:
            raise DataError(f"no corpus to train on is called {name!r}; there are {', '.join(self.corpora)}")
        turns = counts if not mixture else _turns(np.array([mixture.get(corpus, 0.0) for corpus in self.corpora]))
        self._stretches, self.rows = mixed(turns, np.where(turns > 0, counts * most, 0))
        self._starts = [stretch.start for stretch in self._stretches]
        self.rows_per_epoch = int(counts.sum())
        self._all = joined(kept_rows)
        self._first = np.concatenate([[0], np.cumsum(counts)])
        keys = [[key_of(seed, epoch, corpus) for corpus in self.corpora] for epoch in range(max(most))]
        self._salts = np.array([[salts_of(key) for key in epoch] for epoch in keys])

    @property
    def exhausted(self) -> list[tuple[int, list[str]]]:
        """The places from which on a corpus has no turn any more, and those that leave there."""
        pairs = zip(self._stretches, self._stretches[1:], strict=False)
        return [
            (b.start, [self.corpora[c] for c in np.flatnonzero((a.turns_C > 0) & (b.turns_C == 0))]) for a, b in pairs
        ]

    def _numbers(self, position: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return which of all rows come from `position` on, and in which epoch of their corpus, int64 [count] each."""
        if position + count > self.rows:
            raise DataError(f"row {position + count} of {self.rows}: every corpus has been read as often as it may be")
        numbers, epochs = np.empty(count, np.int64), np.empty(count, np.int64)
        done = 0
        while done < count:
            which = bisect_right(self._starts, position + done) - 1
            stretch = self._stretches[which]
            end = self._starts[which + 1] if which + 1 < len(self._starts) else self.rows
            many = min(count - done, end - position - done)
            _locate(
                position + done - stretch.start,
                stretch.place_S,
                stretch.rank_S,
                stretch.turns_C,
                stretch.had_C,
                self._first,
                self._salts,
                numbers[done : done + many],
                epochs[done : done + many],
            )
            done += many
        return numbers, epochs

    def batch(self, position: int, count: int) -> Batch:
        """Return `count` rows from number `position` of the run's stream of `rows`."""
        return self._all.read(*self._numbers(position, count))

    def trace(self, position: int, count: int) -> list[list[Piece]]:
        """Return what each of these rows is made of."""
        return [list(self._all.pieces(int(row))) for row in self._numbers(position, count)[0]]

    def seen(self, documents: np.ndarray, rows: int) -> np.ndarray:
        """Return which of the run's first `rows` rows hold any of these documents, which are counted over all shards."""
        wanted = self._all.holding(documents)
        starts = range(0, rows if len(wanted) else 0, _AT_ONCE)
        found = [
            start + np.flatnonzero(np.isin(self._numbers(start, min(_AT_ONCE, rows - start))[0], wanted))
            for start in starts
        ]
        return np.concatenate([np.zeros(0, np.int64), *found])

    def evaluation(self, corpus: str, most: int) -> tuple[Batch, np.ndarray]:
        """Return at most `most` held-out rows of a corpus, the same whatever the seed, and their tokens' documents."""
        rows = self.held_out[corpus]
        chosen = shuffled(np.arange(min(most, len(rows))), len(rows), key_of("held out", corpus))
        return rows.read(chosen, np.zeros(len(chosen), np.int64)), rows.documents(chosen)


def _turns(shares_C: np.ndarray) -> np.ndarray:
    """Return how many turns a period of a mixture gives each corpus; those of no share have none."""
    if not (shares_C >= 0).all() or not 0 < shares_C.sum() < np.inf:
        raise DataError(f"the shares of a mixture must be numbers from 0 on, not all 0: {shares_C.tolist()}")
    turns_C = np.round(shares_C / shares_C.sum() * _TURNS).astype(np.int64)
    turns_C[shares_C > 0] = np.maximum(turns_C, 1)[shares_C > 0]
    return turns_C // np.gcd.reduce(turns_C)


@njit(cache=True)
def _locate(
    begin: int,
    place_S: np.ndarray,
    rank_S: np.ndarray,
    turns_C: np.ndarray,
    had_C: np.ndarray,
    first: np.ndarray,
    salts: np.ndarray,
    numbers: np.ndarray,
    epochs: np.ndarray,
) -> None:
    """Write which rows come from place `begin` of a stretch on, and their epochs; an epoch is shuffled by its salts."""
    for at in range(len(numbers)):
        period, slot = divmod(begin + at, len(place_S))
        corpus = place_S[slot]
        count = first[corpus + 1] - first[corpus]
        epoch, rank = divmod(had_C[corpus] + period * turns_C[corpus] + rank_S[slot], count)
        numbers[at] = first[corpus] + np.int64(walked(rank, np.uint64(count), salts[epoch, corpus]))
        epochs[at] = epoch


def rank_rows(count: int, rank: int, ranks: int) -> slice:
    """Return which rows of a batch one of `ranks` processes takes; together they take each once, for any `ranks`."""
    return slice(rank * count // ranks, (rank + 1) * count // ranks)


def rank_parts(batch: Batch, most: int, rank: int, ranks: int) -> Iterator[tuple[Batch, int]]:
    """Yield one process's rows of a batch, at most `most` at a time, and how many of them count.

    Every process gets as many parts, as all compute them together. One that is out of rows gets a row that counts nothing,
    without targets.
    """
    mine = batch[rank_rows(len(batch), rank, ranks)]
    for start in range(0, -(-len(batch) // ranks), most):
        part = mine[start : start + most]
        idle = Batch(batch.inputs_BT[:1], np.full_like(batch.targets_BT[:1], IGNORED), batch.documents_BT[:1])
        yield (part, len(part)) if len(part) else (idle, 0)


def _by_corpus(shards: Shards) -> Iterator[tuple[str, list[str], np.ndarray, np.ndarray, bool]]:
    """Yield (corpus, ids, shard of each document, its place in the shard, whether it holds code), corpora by name."""
    names, ids, shard_D, document_D, code = [], [], [], [], set()
    for number, info in enumerate(shards.infos):
        about = shards.documents(number)
        names += about.column("corpus").to_pylist()
        ids += about.column("id").to_pylist()
        code |= {*about.filter(about.column("programming_language").is_valid()).column("corpus").to_pylist()}
        shard_D.append(np.full(info.documents, number, np.int64))
        document_D.append(np.arange(info.documents, dtype=np.int64))
    if not names:
        return
    corpora, number_D = np.unique(np.array(names, object).astype(str), return_inverse=True)
    shard, document = np.concatenate(shard_D), np.concatenate(document_D)
    for number, corpus in enumerate(corpora):
        here = np.flatnonzero(number_D == number)
        yield str(corpus), [ids[place] for place in here], shard[here], document[here], str(corpus) in code
