"""Make the shipped Unicode tables anew: `python -m filters.kernels.make_unicode` writes unicode.npz."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np

from filters.kernels.unicode import DIGIT, LETTER, MARK, NUMBER, PUNCTUATION, SPACE, SYMBOL, UPPER

_CATEGORY = {"L": LETTER, "M": MARK, "N": NUMBER, "P": PUNCTUATION, "S": SYMBOL}


def make() -> None:
    size = 0x110000
    classes = np.zeros(size, np.uint8)
    lower = np.zeros(size, np.int32)
    for point in range(size):
        character = chr(point)
        category = unicodedata.category(character)
        bits = DIGIT if category == "Nd" else _CATEGORY.get(category[0], np.uint8(0))
        if character.isspace():
            bits |= SPACE
        lowered = character.lower()
        if lowered != character and len(lowered) == 1:
            bits |= UPPER
            lower[point] = ord(lowered) - point
        classes[point] = bits
    arrays = {}
    for name, table in (("class", classes), ("lower", lower)):
        blocks, index = np.unique(table.reshape(-1, 256), axis=0, return_inverse=True)
        arrays[f"{name}_blocks"], arrays[f"{name}_index"] = blocks.ravel(), index.astype(np.uint16).ravel()
    with Path(__file__).with_name("unicode.npz").open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    make()
