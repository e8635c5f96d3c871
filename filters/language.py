"""The language of a text, by fastText's lid.176 (Joulin et al. 2016), with the two answers it does not know.

A text is judged by at most four passages spread evenly over it, so that the cost does not grow with its length and a
text in two languages shows. `und`: undetermined (hardly any letters, or no language is likely). `mul`: two languages,
each with a substantial share of the passages. Other values are fastText's ISO 639 codes.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from importlib import resources
from typing import Any

import pyarrow as pa

from filters.signal import signal

MODEL = "lid.176.ftz"
SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"

PASSAGE = 600
"""Characters of a passage; a text of fewer than two passages is judged as a whole."""
PASSAGES = 4
LETTERS = 8
"""Letters that a text needs at least for its language to be determined."""
LIKELY = 0.2
"""Score below which no language is likely."""
SUBSTANTIAL = 0.25
"""Share of the passages' scores at which a second language makes a text one in several."""
SURE = 0.7
"""Mean score that a second language needs: a doubtful passage does not make a text one in several languages."""


class ModelError(RuntimeError):
    """The shipped model is not the one that was shipped: reading a damaged one can crash the process."""


@cache
def _model() -> Any:
    """Return the model, read once per process after its digest was checked."""
    import fasttext

    with resources.as_file(resources.files("filters") / "models" / MODEL) as path:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != SHA256:
            raise ModelError(f"{path}: sha256 is {found}, not {SHA256}; install corpusmill again")
        fasttext.FastText.eprint = lambda *_: None  # it greets on stderr at every load
        return fasttext.load_model(os.fspath(path))


@signal(language=pa.string(), language_score=pa.float32())
def language(text: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the language of each text, and how sure that is: the winner's share of the score, at most 1.

    The score of `und` is null; that of `mul` is the share of the two languages together.
    """
    passages: list[str] = []
    owners: list[int] = []
    for row, one in enumerate(text.to_pylist()):
        found = _passages(one)
        passages += found
        owners += [row] * len(found)
    names: list[str | None] = ["und"] * len(text)
    scores: list[float | None] = [None] * len(text)
    if passages:
        labels, chances = _model().predict(passages)
        votes: dict[int, list[tuple[str, float]]] = {}
        for row, label, chance in zip(owners, labels, chances, strict=True):
            if label:
                votes.setdefault(row, []).append((label[0].removeprefix("__label__"), min(float(chance[0]), 1.0)))
        for row, cast in votes.items():
            names[row], scores[row] = _verdict(cast)
    return pa.array(names, pa.string()), pa.array(scores, pa.float32())


def _passages(text: str) -> list[str]:
    """Return the passages of a text: none where it has hardly any letters."""
    if len(text) < 2 * PASSAGE:
        cut = [text]
    else:
        count = min(PASSAGES, len(text) // PASSAGE)
        step = (len(text) - PASSAGE) / (count - 1)
        cut = [text[int(index * step) : int(index * step) + PASSAGE] for index in range(count)]
    return [" ".join(part.split()) for part in cut if sum(map(str.isalpha, part)) >= LETTERS]


def _verdict(cast: list[tuple[str, float]]) -> tuple[str, float | None]:
    totals: dict[str, float] = {}
    for name, chance in cast:
        totals[name] = totals.get(name, 0.0) + chance
    ranked = sorted(totals.items(), key=lambda entry: (-entry[1], entry[0]))
    first, score = ranked[0]
    if score / len(cast) < LIKELY:
        return "und", None
    if len(ranked) > 1:
        second, other = ranked[1]
        sure = other / sum(name == second for name, _ in cast)
        if other / sum(totals.values()) >= SUBSTANTIAL and sure >= SURE:
            return "mul", (score + other) / len(cast)
    return first, score / len(cast)
