"""A test with four answers, made of held-out documents: which of four pieces of text follows this one?

Three wrong pieces are of other held-out documents of the same corpus, and of the same language where it has enough. All
four have as many tokens, so that the likeliest is the one of least loss. Who guesses is right one time in four.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ablate.folder import Folder
from loader.order import key_of, shuffled
from loader.rows import IGNORED, Batch
from train.evaluate import languages, token_nats
from train.model import Decoder

ANSWERS, ITEMS = 4, 128
PIECE, CONTEXT = 32, 96  # tokens, in rows of 256


@dataclass(frozen=True)
class Item:
    """A beginning, and four pieces of which the first follows it."""

    context: np.ndarray
    pieces: list[np.ndarray]


def items(folder: Folder, documents: np.ndarray, row_length: int) -> list[Item]:
    """Return at most 128 items made of these documents; none if fewer than four are long enough."""
    piece = min(PIECE, row_length // 8)
    context = min(CONTEXT, 3 * piece)
    _, label_D = languages(folder.shards)
    spots: list[tuple[int, int, np.ndarray, np.ndarray]] = []
    for document in documents.tolist():
        tokens = folder.tokens(document)
        tokens = tokens[:-1] if tokens[-1] == folder.shards.end_of_text else tokens
        for end in range(min(len(tokens), context + piece), len(tokens) + 1, context + piece):
            if end >= 2 * piece:
                start = max(0, end - piece - context)
                spots.append((document, int(label_D[document]), tokens[start : end - piece], tokens[end - piece : end]))
    found = []
    for place in shuffled(np.arange(len(spots)), len(spots), key_of("cloze")).tolist() if spots else []:
        document, language, before, right = spots[place]
        order = shuffled(np.arange(len(spots)), len(spots), key_of("cloze", place)).tolist()
        wrong = {spots[other][0]: spots[other][3] for other in reversed(order)}  # the first in order of each document
        wrong.pop(document)
        same = [one for one in wrong if label_D[one] == language]
        chosen = same if len(same) >= ANSWERS - 1 else list(wrong)
        if len(chosen) >= ANSWERS - 1:
            found.append(Item(before, [right, *(wrong[one] for one in chosen[: ANSWERS - 1])]))
        if len(found) == ITEMS:
            break
    return found


def right(decoder: Decoder, asked: list[Item], end_of_text: int) -> int:
    """Return how often the decoder finds the piece that follows likelier than each of the others."""
    good = 0
    for item in asked:
        nats = answers(decoder, item, end_of_text)
        good += int(nats[0] < nats[1:].min())
    return good


def answers(decoder: Decoder, item: Item, end_of_text: int) -> np.ndarray:
    """Return the loss of each piece behind the item's beginning, in nats, float64 [4]."""
    texts = np.stack([np.concatenate([item.context, piece]) for piece in item.pieces]).astype(np.int32)
    inputs_BT = np.concatenate([np.full((ANSWERS, 1), end_of_text, np.int32), texts[:, :-1]], axis=1)
    targets_BT = texts.copy()
    targets_BT[:, : len(item.context)] = IGNORED
    nats_N, _ = token_nats(decoder, Batch(inputs_BT, targets_BT, np.zeros_like(texts)))
    return nats_N.reshape(ANSWERS, -1).sum(axis=1, dtype=np.float64)


def interval(right: float, asked: int) -> tuple[float, float]:
    """Return within which shares the true one lies with 95 %, after Wilson (1927)."""
    z, share = 1.959964, right / asked
    middle = (share + z * z / (2 * asked)) / (1 + z * z / asked)
    reach = z / (1 + z * z / asked) * (share * (1 - share) / asked + z * z / (4 * asked * asked)) ** 0.5
    return max(0.0, middle - reach), min(1.0, middle + reach)


def all_items(folder: Folder, measured: Mapping[str, np.ndarray], row_length: int) -> dict[str, list[Item]]:
    """Return the items of every corpus that has enough documents for some."""
    found = {corpus: items(folder, documents, row_length) for corpus, documents in measured.items()}
    return {corpus: made for corpus, made in found.items() if made}
