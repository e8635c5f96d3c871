"""What a training run reads: rows of tokens from memory-mapped shards, and documents it never trains on.

A row holds whole documents or pieces of long ones, packed by best fit. Each token of the corpora is a target exactly
once an epoch; its input is the token before it in its document, and before the first stands END_OF_TEXT. Which
documents a token may see is said by numbers per row. Where a run stands is one integer: how many rows it has read.

Some documents of code are filled in the middle (Bavarian et al. 2022): each stretch that fits in a row stands there as
mark, beginning, mark, end, mark, middle, so that a model learns to write what stands between. They are chosen by seed and
document, and cut anew in each epoch.

Shapes: B rows, T tokens of a row, D documents, P pieces.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from copy import copy
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from pipeline.shards import Shards
from train.config import TrainingConfig
from train.order import key_of, mix, mixed, salts_of, shuffled, walked
from train.packing import Packing, pack

HELD_OUT_SHARE = 0.015
IGNORED = -1  # as a target: nothing is to be learned here
_AT_ONCE = 1 << 20  # rows looked through at a time
_TURNS = 10_000  # of a mixture's period, about: shares are as exact as that
MARKS = 3


class DataError(ValueError):
    """The shards cannot be trained on; the message says which and why."""


@dataclass(frozen=True)
class Batch:
    """Rows of tokens, int32 [B, T] each. Where a row is not full, targets are IGNORED."""

    inputs_BT: np.ndarray
    targets_BT: np.ndarray
    documents_BT: np.ndarray  # numbers the documents within each row

    def __getitem__(self, rows: slice) -> Batch:
        return Batch(self.inputs_BT[rows], self.targets_BT[rows], self.documents_BT[rows])

    def __len__(self) -> int:
        return len(self.inputs_BT)

    @property
    def tokens(self) -> int:
        """How many targets there are to learn."""
        return int((self.targets_BT != IGNORED).sum())


@dataclass(frozen=True)
class Piece:
    """A stretch of a document within a row: where it came from, and which of the document's tokens it holds."""

    corpus: str
    id: str
    source: str
    url: str | None
    document: int  # counted over all shards
    length: int  # of the whole document, in tokens
    start: int
    tokens: int
    infilled: bool  # its middle comes last, with MARKS marks


class Rows:
    """Documents packed into rows; `read` gives rows by number, whatever their order."""

    def __init__(
        self,
        shards: Shards,
        shard_D: np.ndarray,
        document_D: np.ndarray,
        row_length: int,
        skipped_D: np.ndarray,
        infilled_D: np.ndarray,
    ) -> None:
        """Pack documents. Those that are `skipped_D` leave their place in the rows empty: all else stays where it is.

        `infilled_D` is 0 for documents that are read as they are, and any other number to draw cuts from, uint64.
        """
        self._shards, self._row_length = shards, row_length
        offsets = [shards.offsets(number) for number in range(len(shards.infos))]
        starts = np.empty(len(shard_D), np.int64)
        lengths = np.empty(len(shard_D), np.int64)
        for number, ends in enumerate(offsets):
            here = shard_D == number
            starts[here] = ends[document_D[here]]
            lengths[here] = ends[document_D[here] + 1] - ends[document_D[here]]
        # what is to be filled in is cut beforehand, so that a part and its marks fit in a row
        room = row_length - MARKS
        parts_D = np.where(infilled_D > 0, -(-lengths // max(1, room)), 1)
        document_Q = np.repeat(np.arange(len(lengths)), parts_D)
        start_Q = (np.arange(len(document_Q)) - np.repeat(np.cumsum(parts_D) - parts_D, parts_D)) * room
        length_Q = lengths[document_Q]
        marked_Q = infilled_D[document_Q] > 0
        length_Q[marked_Q] = np.minimum(length_Q - start_Q, room)[marked_Q] + MARKS
        packing: Packing = pack(length_Q, row_length)
        packed_P = document_Q[packing.document_P]
        here_P = ~skipped_D[packed_P]
        self._rows_W1 = np.concatenate([[0], np.cumsum(here_P)])[packing.rows_W1]
        packed_P = packed_P[here_P]
        self._shard_P = shard_D[packed_P].astype(np.int32)
        self._document_P = document_D[packed_P]
        self._start_P = (start_Q[packing.document_P] + packing.start_P)[here_P]
        self._first_P = starts[packed_P] + self._start_P
        self._length_P = packing.length_P[here_P]
        self._infilled_P = infilled_D[packed_P]

    def __len__(self) -> int:
        return len(self._rows_W1) - 1

    @property
    def tokens(self) -> int:
        return int(self._length_P.sum())

    def read(self, rows_B: np.ndarray, epochs_B: np.ndarray) -> Batch:
        """Return the rows numbered `rows_B`; the epoch of each says how documents are cut to be filled in."""
        marks = np.array(self._shards.infilling or (0,) * MARKS, np.int32)
        into = Batch(*(np.empty((len(rows_B), self._row_length), np.int32) for _ in range(3)))
        for shard in self._shards_of(rows_B):
            _copy(
                self._shards.tokens(shard),
                shard,
                self._shard_P,
                self._first_P,
                self._start_P,
                self._length_P,
                self._infilled_P,
                self._rows_W1,
                rows_B,
                epochs_B,
                self._shards.end_of_text,
                marks,
                into.inputs_BT,
                into.targets_BT,
                into.documents_BT,
            )
        return into

    def _shards_of(self, rows_B: np.ndarray) -> list[int]:
        """Return the shards that these rows have pieces of."""
        count = len(self._shards.infos)
        if count == 1:
            return [0]
        return [int(shard) for shard in np.flatnonzero(_present(count, self._shard_P, self._rows_W1, rows_B))]

    def documents(self, rows_B: np.ndarray) -> np.ndarray:
        """Return the document of each token of these rows, counted over all shards, int64 [B, T]; -1 where none is."""
        before_S = np.cumsum([0, *(info.documents for info in self._shards.infos)])
        found_BT = np.full((len(rows_B), self._row_length), -1)
        for place, row in enumerate(rows_B):
            pieces = slice(self._rows_W1[row], self._rows_W1[row + 1])
            numbers = before_S[self._shard_P[pieces]] + self._document_P[pieces]
            filled = np.repeat(numbers, self._length_P[pieces])
            found_BT[place, : len(filled)] = filled
        return found_BT

    def pieces(self, row: int) -> Iterator[Piece]:
        """Yield what row number `row` is made of."""
        for piece in range(self._rows_W1[row], self._rows_W1[row + 1]):
            shard, place = int(self._shard_P[piece]), int(self._document_P[piece])
            document = self._shards.documents(shard).slice(place, 1)
            about = document.select(["corpus", "id", "source", "url"]).to_pylist()[0]
            number = sum(info.documents for info in self._shards.infos[:shard]) + place
            length, infilled = document.column("tokens")[0].as_py(), bool(self._infilled_P[piece])
            start, tokens = int(self._start_P[piece]), int(self._length_P[piece]) - MARKS * infilled
            yield Piece(**about, document=number, length=length, start=start, tokens=tokens, infilled=infilled)

    def holding(self, documents: np.ndarray) -> np.ndarray:
        """Return the numbers of the rows that hold any of these documents, which are counted over all shards."""
        before_S = np.cumsum([0, *(info.documents for info in self._shards.infos)])
        pieces = np.flatnonzero(np.isin(before_S[self._shard_P] + self._document_P, documents))
        return np.unique(np.searchsorted(self._rows_W1, pieces, side="right") - 1)


def joined(parts: list[Rows]) -> Rows:
    """Return the rows of all parts, which read the same shards, numbered on from part to part."""
    whole = copy(parts[0])
    ends = np.cumsum([0, *(part._rows_W1[-1] for part in parts)])
    shifted = [part._rows_W1[1:] + end for part, end in zip(parts, ends, strict=False)]
    whole._rows_W1 = np.concatenate([[0], *shifted])
    for name in ("_shard_P", "_document_P", "_start_P", "_first_P", "_length_P", "_infilled_P"):
        setattr(whole, name, np.concatenate([getattr(part, name) for part in parts]))
    return whole


@njit(cache=True)
def _present(count: int, shard_P: np.ndarray, rows_W1: np.ndarray, rows_B: np.ndarray) -> np.ndarray:
    found = np.zeros(count, np.bool_)
    for row in rows_B:
        for piece in range(rows_W1[row], rows_W1[row + 1]):
            found[shard_P[piece]] = True
    return found


@njit(cache=True)
def _copy(
    tokens: np.ndarray,
    shard: int,
    shard_P: np.ndarray,
    first_P: np.ndarray,
    start_P: np.ndarray,
    length_P: np.ndarray,
    infilled_P: np.ndarray,
    rows_W1: np.ndarray,
    rows_B: np.ndarray,
    epochs_B: np.ndarray,
    end_of_text: int,
    marks: np.ndarray,
    inputs_BT: np.ndarray,
    targets_BT: np.ndarray,
    documents_BT: np.ndarray,
) -> None:
    """Copy this shard's pieces of the rows asked for, and mark what no piece fills."""
    for at in range(len(rows_B)):
        row, place = rows_B[at], 0
        for piece in range(rows_W1[row], rows_W1[row + 1]):
            length = length_P[piece]
            if shard_P[piece] == shard:
                # slices walked from 0 let the compiler copy many tokens at a time
                read = tokens[first_P[piece] : first_P[piece] + length]
                inputs = inputs_BT[at, place : place + length]
                targets = targets_BT[at, place : place + length]
                documents = documents_BT[at, place : place + length]
                if infilled_P[piece]:
                    whole = read[: length - MARKS]
                    _infill(whole, infilled_P[piece], epochs_B[at], start_P[piece], end_of_text, marks, targets)
                    inputs[1:] = targets[:-1]
                    documents[:] = piece - rows_W1[row]
                else:
                    for number in range(length):
                        targets[number] = read[number]
                        documents[number] = piece - rows_W1[row]
                    for number in range(length - 1):
                        inputs[number + 1] = read[number]
                inputs[0] = tokens[first_P[piece] - 1] if start_P[piece] else end_of_text
            place += length
        inputs_BT[at, place:] = end_of_text
        targets_BT[at, place:] = IGNORED
        documents_BT[at, place:] = rows_W1[row + 1] - rows_W1[row]


@njit(cache=True)
def _infill(
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


def infilled(ids: list[str], corpus: str, share: float, seed: int) -> np.ndarray:
    """Return for each document 0, or, for about `share` of them, a number to draw cuts from, uint64 [D].

    A keyed hash of corpus and id decides, whatever the shards' order.
    """
    drawn = np.array([_hash(corpus, one, f"infill {seed}") for one in ids], np.uint64)
    return np.where(drawn <= np.uint64(int(share * (2**64 - 1))), np.maximum(drawn, np.uint64(1)), np.uint64(0))


def held_out(corpus: str, ids: list[str]) -> np.ndarray:
    """Return which documents of a corpus are kept from training, bool [D].

    About 1.5 %, by a keyed hash of corpus and id: the same in every run, whatever its seed and the shards' order. At
    least one id is held out where there are two, and at least one is trained on.
    """
    hashes = np.array([_hash(corpus, one) for one in ids], np.uint64)
    distinct = np.unique(hashes)
    if len(distinct) < 2:
        return np.zeros(len(ids), bool)
    limit = int(HELD_OUT_SHARE * 2**64)
    limit = min(max(limit, int(distinct[0])), int(distinct[-2]))
    return hashes <= np.uint64(limit)


def _hash(corpus: str, document: str, more: str = "") -> int:
    text = f"{more}{corpus}\0{document}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, person=b"corpusmill-eval").digest(), "little")


def named(shards: Shards, names: Collection[str]) -> np.ndarray:
    """Return which documents, counted over all shards, have one of these as their id or url, bool [D].

    Raises DataError for a name that no document has.
    """
    wanted = pa.array(sorted(names), pa.string())
    found = [np.zeros(0, bool)]
    unknown = set(names)
    for number in range(len(shards.infos)):
        about = shards.documents(number)
        ids, urls = (pc.is_in(about.column(name), wanted) for name in ("id", "url"))
        unknown -= {*about.column("id").filter(ids).to_pylist(), *about.column("url").filter(urls).to_pylist()}
        found.append(np.asarray(pc.or_(ids, urls)))
    if unknown:
        others = f", nor {len(unknown) - 1} others" if len(unknown) > 1 else ""
        raise DataError(f"no document of the shards has the id or url {min(unknown)!r}{others}")
    return np.concatenate(found)


class TrainingData:
    """The rows of a run, in order, and each corpus's held-out rows. A function of shards, row length and seed.

    Documents with an id or url in `exclude` are not trained on; every other one stays in the row where it would be.
    Corpora take turns by the shares of `mixture`, or else by their size, each for at most `epochs` of its own, or those
    that `corpus_epochs` gives it. Of corpora of code, where the tokenizer has the marks for it, a share of the documents
    is filled in the middle.
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
    ) -> None:
        self.row_length, self.seed = row_length, seed
        excluded = named(shards, exclude)
        before_S = np.cumsum([0, *(info.documents for info in shards.infos)])
        self.corpora: list[str] = []
        self.held_out: dict[str, Rows] = {}
        kept_rows: list[Rows] = []
        for corpus, ids, shard_D, document_D, is_code in _by_corpus(shards):
            out_D = held_out(corpus, ids)
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

    @classmethod
    def of(cls, shards: Shards, settings: TrainingConfig, seed: int, exclude: Collection[str] = ()) -> TrainingData:
        """Return what a training of these settings reads. Raises DataError if it would read more than there is."""
        bounds = (settings.mixture, settings.epochs, settings.corpus_epochs, settings.infill_share)
        data = cls(shards, settings.sequence_length, seed, exclude, *bounds)
        if settings.steps * settings.batch_sequences > data.rows:
            raise DataError(
                f"{settings.steps} steps read {settings.steps * settings.batch_sequences:,} rows of {data.row_length} tokens; "
                f"the corpora give {data.rows:,}, read at most {settings.epochs} times each: "
                f"{data.rows // settings.batch_sequences} steps, or more epochs, are right"
            )
        return data

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
