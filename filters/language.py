"""The language of a text, by fastText's lid.176 (Joulin et al. 2016), with the two answers that it does not know.

A text is judged by at most ten passages spread evenly over it, each from the beginning of a line where there is one, so
that the cost does not grow with its length and a text in two languages shows. `und`: undetermined, because there are
hardly any letters or no language is likely. `mul`: a second language surely has a quarter of the text, as in pages that
are translated by half. Other values are fastText's codes: ISO 639-1 where there is one, else 639-3.

docs/signals.md says how often it is right, and how the constants were chosen.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import pyarrow as pa

from filters.signal import signal

MODEL = "lid.176.ftz"
SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"

PASSAGES = 10
SHORTEST, LONGEST = 80, 120
"""Characters of a passage: it ends with its line, but not before the first number, and not after the second."""
LEAST_WIDTH = 8
"""Columns of letters that a passage needs to be asked about at all."""
LIKELY = 0.2
"""Score below which no language is likely."""
SUBSTANTIAL = 0.25
"""Share of a text's width at which a second language makes it one in several."""
SURE = 0.8
"""fastText's probability at which a passage counts for a second language: lines of code are English with less."""

# What the first byte of a UTF-8 sequence says of a character. Letters are those of ASCII and nearly everything from
# U+00C0 to U+DFFF but U+2000–U+2FFF (punctuation, symbols); what lies above is mostly emoji, and the mark of characters
# that were lost. Hangul, kana and Han are two columns wide and say as much as two letters.
_ASCII_LETTERS = [byte for byte in range(0x80) if chr(byte).isalpha()]
_WIDE = list(range(0xE3, 0xEE))
_LETTERS = [*_ASCII_LETTERS, *range(0xC3, 0xE2), *_WIDE]
_NOT_LETTERS = bytes(set(range(256)) - set(_LETTERS))
_NOT_WIDE = bytes(set(range(256)) - set(_WIDE))


class ModelError(RuntimeError):
    """The shipped model is not the one that was shipped: reading a damaged one can crash the process."""


class Opinion(NamedTuple):
    """What fastText says of one passage: its language, how probable that is, and the columns of letters it speaks for."""

    language: str
    probability: float
    width: int


@signal(language=pa.string(), language_score=pa.float32())
def language(text: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the language of each text, and its score: the mean probability of that language over the passages' letters.

    The score of `mul` is that of the two languages together; `und` has none: null.
    """
    owners: list[int] = []
    lines: list[str] = []
    widths: list[int] = []
    for row, one in enumerate(text.to_pylist()):
        for line in passages(one):
            wide = width(line)
            if wide >= LEAST_WIDTH:
                owners.append(row)
                lines.append(line)
                widths.append(wide)
    opinions: list[list[Opinion]] = [[] for _ in range(len(text))]
    if lines:
        # The form that takes a list: the other fails on numpy 2, and is slower.
        for row, wide, names, chances in zip(owners, widths, *_model().predict(lines), strict=True):
            if names:
                opinions[row].append(Opinion(names[0].removeprefix("__label__"), min(float(chances[0]), 1.0), wide))
    verdicts = [verdict(one) for one in opinions]
    return pa.array([name for name, _ in verdicts], pa.string()), pa.array(
        [score for _, score in verdicts], pa.float32()
    )


def passages(text: str) -> list[str]:
    """Return at most ten passages of a text, in order and without line ends: all of a short one, parts of a long one."""
    found: list[str] = []
    start = 0
    for number in range(1, PASSAGES + 1):
        if start >= len(text):
            break
        end = min(start + LONGEST, len(text))
        head = text[start : start + SHORTEST // 2]
        least = len(head) if width(head) > len(head) else SHORTEST  # Hangul, kana and Han say as much in half the space
        line_end = text.find("\n", start + least, end)
        if line_end < 0 and end < len(text):
            line_end = text.rfind(" ", start + LONGEST // 2, end)
        if line_end >= 0:
            end = line_end
        found.append(" ".join(text[start:end].split()))
        start = max(end, number * len(text) // PASSAGES)
        if start > end:  # in the middle of something: go to the next line, or at least to the next word
            for mark, reach in (("\n", LONGEST), (" ", LONGEST // 4)):
                mark_at = text.find(mark, start, start + reach)
                if mark_at >= 0:
                    start = mark_at
                    break
    return found


def width(text: str) -> int:
    """Return the columns that the letters of a text take, told from the first bytes of their UTF-8."""
    encoded = text.encode()
    return len(encoded.translate(None, _NOT_LETTERS)) + len(encoded.translate(None, _NOT_WIDE))


def verdict(opinions: list[Opinion]) -> tuple[str, float | None]:
    """Return the language of a text, and its score, from what was said of its passages."""
    whole = sum(opinion.width for opinion in opinions)
    scores: dict[str, float] = {}
    sure: dict[str, int] = {}
    for name, probability, wide in opinions:
        scores[name] = scores.get(name, 0.0) + probability * wide / whole
        sure[name] = sure.get(name, 0) + wide * (probability >= SURE)
    first = min(scores, key=lambda name: (-scores[name], name), default="und")
    if first == "und" or scores[first] < LIKELY:
        return "und", None
    second = min(sure.keys() - {first}, key=lambda name: (-sure[name], name), default=None)
    if second is not None and sure[second] >= SUBSTANTIAL * whole:
        return "mul", scores[first] + scores[second]
    return first, scores[first]


@cache
def _model() -> Any:
    """Return the model, read once per process after its digest was checked."""
    import fasttext

    with resources.as_file(resources.files("filters") / "models" / MODEL) as path:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != SHA256:
            raise ModelError(f"{path}: sha256 is {found}, not {SHA256}; install corpusmill again")
        fasttext.FastText.eprint = lambda *_: None  # it warns on stderr at every load
        return fasttext.load_model(os.fspath(path))
