"""Stages from survivors to token ids: count their words, learn the tokenizer, tokenise."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.stages.limits import TRAIN_DOCUMENT, limits
from pipeline.stages.work import Message, Messages, Piece, Work, pack, pack_rows
from pipeline.store import digest
from pipeline.tokens import Tokenizer, given_tokenizer
from pipeline.vocabulary import add_words, count_words, train


def count_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Write the words of those survivors of a piece that the tokenizer is trained on, with their counts."""
    together = Messages.unpack(messages)
    piece = together.piece
    words = None
    if not isinstance(work.plan.recipe.shards.tokenizer, str):
        rows = work.alive(piece)
        rows = rows[work.draws(piece, rows) < limits(work, together)["train"]]
        if len(rows):
            words = work.key("words", piece.files["documents"], digest(rows.tobytes()), TRAIN_DOCUMENT) + ".columns"
            if not work.store.exists(words):
                heads = pc.utf8_slice_codeunits(work.text(piece, rows), 0, TRAIN_DOCUMENT)
                work.store.write_table(words, count_words(heads))
    work.progress("tokenizer", piece.rows, piece.text_bytes)
    yield 0, pack({"number": piece.number, "words": words})


def make_tokenizer(work: Work, key: int, messages: list[bytes]) -> Iterator[Message]:
    """Train the tokenizer on counted words, or take the given one; yield its file to every piece.

    The words of all pieces are at most as long as the text that is trained on, whatever the size of the corpus.
    """
    counted = sorted(Messages.unpack(messages).values, key=lambda value: int(value["number"]))
    wanted = work.plan.recipe.shards.tokenizer
    if isinstance(wanted, str):
        data = given_tokenizer(work.plan.recipe.named(wanted))
        name = work.key("tokenizer", digest(data)) + ".json"
        work.store.write(name, data)
    else:
        files = [value["words"] for value in counted if value["words"]]
        name = work.key("tokenizer", files, wanted.train) + ".json"
        if not work.store.exists(name):
            work.store.write(name, train(add_words(work.store.read_table(file) for file in files), wanted.train))
    for value in counted:
        yield value["number"], pack({"tokenizer": name})


@lru_cache(maxsize=2)
def tokenizer_of(data: bytes) -> Tokenizer:
    return Tokenizer.from_json(data)


def tokenise_piece(work: Work, number: int, messages: list[bytes]) -> Iterator[Message]:
    """Count the tokens of every document of a piece, and write the token ids of its survivors."""
    together = Messages.unpack(messages)
    piece = together.piece
    (file,) = (value["tokenizer"] for value in together.values)
    rows = work.alive(piece)
    name = work.key("tokens", piece.files["documents"], digest(rows.tobytes()), file, work.plan.recipe.seed)
    if not work.store.exists(f"{name}-ids.arrow"):
        tokenizer = tokenizer_of(work.store.read(file))
        offsets, ids = tokenizer.encode(work.text(piece))
        counts, drawn = np.diff(offsets), work.draws(piece, np.arange(piece.rows))
        counted = pa.table({"tokens": pa.array(counts, pa.int32()), "draw": pa.array(drawn)})
        work.store.write_table(f"{name}.columns", counted)
        chosen = np.concatenate([ids[offsets[row] : offsets[row + 1]] for row in rows] or [ids[:0]])
        lists = pa.LargeListArray.from_arrays(np.concatenate([[0], np.cumsum(counts[rows])]).astype(np.int64), chosen)
        columns = {"row": pa.array(rows), "input_ids": lists}
        work.store.write(f"{name}-ids.arrow", pack_rows(pa.RecordBatch.from_pydict(columns)))
    work.progress("tokenise", piece.rows, piece.text_bytes)
    yield number, piece.having(tokens=f"{name}.columns", ids=f"{name}-ids.arrow", tokenizer=file).pack()


def counted_tokens(work: Work, piece: Piece) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of a tokenised piece that are alive, their tokens, and their draws."""
    rows = work.alive(piece)
    table = work.columns(piece, "tokens", ["tokens", "draw"])
    return rows, table.column("tokens").to_numpy()[rows].astype(np.int64), table.column("draw").to_numpy()[rows]
