"""Texts per CPU-second through word segmentation alone, and through the two sets of signals that rest on it, by script.

    python benchmarks/words.py [--documents N] [--data FOLDER] [--json]

Each language's texts are put together to texts of 3,500 characters, of which N are measured (the same ones again where
there are fewer). CPU time of one thread, the best of three rounds, kernels compiled before.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zstandard
from numba import njit

from filters.kernels.buffers import buffers
from filters.kernels.words import cut_words
from filters.quality import gopher_quality
from filters.repetition import gopher_repetition

LANGUAGES = {"en": "English", "ko": "Korean", "ja": "Japanese", "zh": "Chinese", "ru": "Russian", "hi": "Hindi"}
CHARACTERS = 3500
ROUNDS = 3


@njit(nogil=True)
def _cut_all(offsets: np.ndarray, data: np.ndarray) -> int:
    room = 1
    for row in range(len(offsets) - 1):
        room = max(room, offsets[row + 1] - offsets[row] + 1)
    roles, places, table = np.empty(room, np.uint16), np.empty(room, np.int64), np.empty((room, 4), np.int64)
    words = 0
    for row in range(len(offsets) - 1):
        words += cut_words(data, offsets[row], offsets[row + 1], roles, places, table)
    return words


def texts(data: Path, documents: int) -> dict[str, list[str]]:
    """Return the texts of each language; without the data folder English is made of the standard library's sources."""
    joined: dict[str, list[str]] = {language: [] for language in LANGUAGES}
    if data.is_dir():
        with (data / "multilingual" / "text.jsonl.zst").open("rb") as file:
            stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            for line in io.TextIOWrapper(stream, "utf-8", newline="\n"):
                record = json.loads(line)
                if record["lang"] in joined:
                    joined[record["lang"]].append(record["text"])
    else:
        joined = {"en": [path.read_text("utf-8", "replace") for path in Path(argparse.__file__).parent.glob("*.py")]}
    found = {}
    for language, parts in joined.items():
        whole = "\n".join(parts)
        cut = [whole[at : at + CHARACTERS] for at in range(0, len(whole) - CHARACTERS, CHARACTERS)]
        found[language] = [cut[number % len(cut)] for number in range(documents)]
    return found


def best(work: Callable[[], Any]) -> float:
    work()
    seconds = float("inf")
    for _ in range(ROUNDS):
        started = time.thread_time()
        work()
        seconds = min(seconds, time.thread_time() - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object on the last line")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    print(f"texts of {CHARACTERS:,} characters per CPU-second")
    print(f"{'language':<12}{'bytes':>8}{'words':>10}{'gopher_quality':>16}{'gopher_repetition':>19}")
    for language, found in texts(arguments.data, arguments.documents).items():
        array = pa.array(found, pa.large_string())
        offsets, data = buffers(array)
        rates = [
            len(found) / best(work)
            for work in (
                lambda offsets=offsets, data=data: _cut_all(offsets, data),
                lambda array=array: gopher_quality(array),
                lambda array=array: gopher_repetition(array),
            )
        ]
        size = sum(len(text.encode()) for text in found) / len(found)
        print(f"{LANGUAGES[language]:<12}{size:>8,.0f}{rates[0]:>10,.0f}{rates[1]:>16,.0f}{rates[2]:>19,.0f}")
        for name, rate in zip(("words", "quality", "repetition"), rates, strict=True):
            figures[f"{language}_{name}_texts_per_second"] = round(rate, 1)
    if arguments.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
