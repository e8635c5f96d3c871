"""Text to token ids and back: byte-level byte-pair encoding, trained by us (`pipeline.vocabulary`) or given.

A tokenizer *is* its `tokenizer.json`, as Hugging Face's `tokenizers` reads it; that library is the truth about its
ids. `encode` gives the same ids from our own kernels where it can, which is for every byte-level tokenizer
that splits text as GPT-4 does, and asks the library for the others (`Tokenizer.slow_because` says why).
Any text comes back unchanged from its ids. A document ends with END_OF_TEXT, which no text can spell.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tokenizers
from tokenizers import pre_tokenizers

from filters.kernels import merges, pieces
from filters.kernels.buffers import PADDING, buffers
from pipeline.remote import RemoteError, fetch, is_url

END_OF_TEXT = "<|endoftext|>"

ENDS_OF_TEXT = (END_OF_TEXT, "<|end_of_text|>", "<｜end▁of▁sentence｜>", "</s>")
"""What given tokenizers call the end of a text; the first that a tokenizer has is taken."""

_WIDEST_NARROW = 1 << 16
"""Vocabularies up to this size have ids of two bytes."""

_LARGEST_VOCABULARY = 1 << 24


def splitting(letter: str) -> str:
    """Return GPT-4's splitting expression, in which a letter is what the character classes `letter` hold."""
    letters = letter if letter == r"\p{L}" else f"[{letter}]"
    return (
        rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n{letter}\p{{N}}]?{letters}+|\p{{N}}{{1,3}}"
        rf"| ?[^\s{letter}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


OURS = r"\p{L}\p{M}"
"""Marks belong to words, so that Hindi's and Thai's vowel signs do not cut them in pieces."""

LETTERS = {splitting(letter): letter for letter in (OURS, r"\p{L}")}
"""The expressions that the kernels know, and their letters: ours, and GPT-4's, which Llama 3 took over."""


class TokenizerError(ValueError):
    """A tokenizer cannot be read, or cannot encode every text without loss."""


def given_tokenizer(name: str) -> bytes:
    """Return the tokenizer.json that `path:<file or folder>` names."""
    kind, _, rest = name.partition(":")
    if kind != "path" or not rest:
        raise TokenizerError(f"{name!r} names no tokenizer; a given one is written path:<folder>/tokenizer.json")
    path = Path(rest)
    try:
        if is_url(rest):
            return fetch(rest)
        if path.is_dir():
            path /= "tokenizer.json"
        return path.read_bytes()
    except RemoteError as error:
        raise TokenizerError(f"{error}; a tokenizer.json file should be there") from None
    except OSError as error:
        raise TokenizerError(f"{path}: {error.strerror or error}; a tokenizer.json file should be there") from None


class Tokenizer:
    """A byte-level tokenizer. `slow_because` is None where the kernels encode, else why the library must."""

    def __init__(self, data: bytes) -> None:
        self._library = _library(data)
        document = _document(data)
        self.digest: str = hashlib.sha256(data).hexdigest()
        self.slow_because: str | None = _slow_because(document)
        added: dict[str, int] = {token["content"]: token["id"] for token in document["added_tokens"]}
        vocabulary: dict[str, int] = document["model"]["vocab"]
        self.vocabulary_size: int = 1 + max(chain(vocabulary.values(), added.values()))
        if self.vocabulary_size > _LARGEST_VOCABULARY:
            raise TokenizerError(f"the tokenizer has ids up to {self.vocabulary_size - 1}, above {_LARGEST_VOCABULARY}")
        self.end_of_text: int = _end_of_text(added)
        self._tokens = _token_bytes(vocabulary, added, self.vocabulary_size)
        self.dtype: np.dtype[Any] = np.dtype(np.uint16 if self.vocabulary_size <= _WIDEST_NARROW else np.uint32)
        self._letter = LETTERS.get(_expression(document) or "")
        self._tables = _tables(document["model"], self._tokens) if self.slow_because is None else None

    @classmethod
    def from_json(cls, data: bytes) -> Tokenizer:
        """Read a tokenizer.json. Raises TokenizerError unless it encodes any text without loss."""
        return cls(data)

    def encode(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Return (offsets int64 [texts + 1], ids) of a string array: text i, then END_OF_TEXT, is ids[o[i]:o[i + 1]].

        Ids are uint16 where the vocabulary has at most 65,536 tokens, else uint32.
        """
        if self._tables is None or self._letter is None:
            return self.encode_slowly(texts)
        offsets, data = buffers(texts)
        ends, ids = merges.encode(self._tables, offsets, data, kinds(self._letter), self.end_of_text)
        return ends, ids.astype(self.dtype)

    def encode_slowly(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Return what `encode` returns, from the `tokenizers` library: the truth that `encode` is tested against."""
        encoded = self._library.encode_batch_fast(texts.to_pylist(), add_special_tokens=False)
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(one) + 1 for one in encoded], out=offsets[1:])
        ids = np.full(offsets[-1], self.end_of_text, self.dtype)
        for one, start in zip(encoded, offsets, strict=False):
            ids[start : start + len(one)] = one.ids
        return offsets, ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids; bytes that a cut has left without their character become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of ids: those of parts put together are those of the whole."""
        tokens = list(ids)
        if tokens and not 0 <= min(tokens) <= max(tokens) < self.vocabulary_size:
            wrong = min(tokens) if min(tokens) < 0 else max(tokens)
            raise TokenizerError(f"id {wrong} is no token; ids are 0 to {self.vocabulary_size - 1}")
        return b"".join(self._tokens[token] for token in tokens)


def _byte_characters() -> Iterator[str]:
    """Yield the character that stands for each byte in a tokenizer.json: itself if it prints, else one past U+0100."""
    others = 0
    for byte in range(256):
        if 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or byte >= 0xAE:
            yield chr(byte)
        else:
            yield chr(0x100 + others)
            others += 1


BYTE_CHARACTERS = tuple(_byte_characters())
_BYTE_OF = {ord(character): byte for byte, character in enumerate(BYTE_CHARACTERS)}


def _document(data: bytes) -> dict[str, Any]:
    """Return the parsed tokenizer.json; TokenizerError unless it is a lossless byte-level byte-pair encoding."""
    try:
        document = json.loads(data)
        model, kind = document["model"], document["model"]["type"]
        document["added_tokens"] = document.get("added_tokens") or []
    except (ValueError, KeyError, TypeError) as error:
        raise TokenizerError(f"not a tokenizer.json: {error!r}") from None
    if kind != "BPE":
        raise TokenizerError(f"the tokenizer's model is {kind}; a byte-level BPE is needed, which loses nothing")
    missing = [byte for byte, character in enumerate(BYTE_CHARACTERS) if character not in model["vocab"]]
    levels = [step for step in _steps(document) if step.get("type") == "ByteLevel"]
    if missing or not levels:
        what = f"{len(missing)} bytes have no token" if missing else "its pre-tokenizer has no ByteLevel"
        raise TokenizerError(f"the tokenizer's BPE is not byte-level: {what}; it could not encode every text")
    if any(step.get("add_prefix_space", True) for step in levels):
        raise TokenizerError("the tokenizer puts a space before every text (add_prefix_space); it must be false")
    if model.get("dropout"):
        raise TokenizerError(f"the tokenizer drops merges by chance (dropout {model['dropout']}); it must be null")
    return dict(document)


def _steps(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    step = document.get("pre_tokenizer") or {}
    return list(step["pretokenizers"]) if step.get("type") == "Sequence" else [step]


def _expression(document: Mapping[str, Any]) -> str | None:
    """Return the expression by which the tokenizer splits text, if that is all it does before merging."""
    match _steps(document):
        case [
            {"type": "Split", "pattern": {"Regex": str(expression)}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "use_regex": False},
        ]:
            return expression
    return None


def _slow_because(document: Mapping[str, Any]) -> str | None:
    model = document["model"]
    if document.get("normalizer"):
        return f"it has a normalizer ({document['normalizer'].get('type')})"
    if any(not token.get("special") for token in document["added_tokens"]):
        return "it has added tokens that are not special"
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return "its tokens carry a prefix or a suffix"
    if _expression(document) not in LETTERS:
        return "it splits text by an expression that the kernels do not know"
    return None


def _library(data: bytes) -> Any:
    """Return the `tokenizers` object; text that spells a special token is ordinary text to it."""
    try:
        library = tokenizers.Tokenizer.from_str(data.decode())
    except Exception as error:  # the library raises plain Exception
        raise TokenizerError(f"not a tokenizer.json: {error}") from None
    library.encode_special_tokens = True
    library.no_truncation()
    library.no_padding()
    return library


def _end_of_text(added: Mapping[str, int]) -> int:
    for name in ENDS_OF_TEXT:
        if name in added:
            return added[name]
    raise TokenizerError(
        f"the tokenizer has no token for the end of a text; one of {', '.join(ENDS_OF_TEXT)} is needed"
    )


def _token_bytes(vocabulary: Mapping[str, int], added: Mapping[str, int], size: int) -> list[bytes]:
    """Return the bytes of every id; those of an added token spell its name, those of an unused id are empty."""
    tokens = [b""] * size
    for token, number in vocabulary.items():
        try:
            tokens[number] = bytes(map(_BYTE_OF.__getitem__, map(ord, token)))
        except KeyError:
            tokens[number] = token.encode()
    for token, number in added.items():
        tokens[number] = token.encode()
    return tokens


def _tables(model: Mapping[str, Any], tokens: list[bytes]) -> merges.Tables:
    vocabulary: dict[str, int] = model["vocab"]
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    lefts, rights, merged = (
        np.array([vocabulary[token] for token in side], np.int64)
        for side in (
            [left for left, _ in pairs],
            [right for _, right in pairs],
            [left + right for left, right in pairs],
        )
    )
    table = np.full((_slots(len(pairs)), 2), -1, np.int64)
    merges.fill_pairs(table, lefts, rights, merged)
    offsets = np.zeros(len(tokens) + 1, np.int64)
    np.cumsum([len(token) for token in tokens], out=offsets[1:])
    tables = merges.Tables(
        byte_ids=np.array([vocabulary[character] for character in BYTE_CHARACTERS], np.int32),
        byte_pairs=np.empty((256, 256), np.int64),
        pairs=table,
        token_slots=np.full(_slots(len(tokens)), -1, np.int32),
        token_offsets=offsets,
        token_bytes=np.frombuffer(b"".join(tokens) + bytes(PADDING), np.uint8),
    )
    merges.fill_byte_pairs(tables)
    # A token that its own merges do not reach must not be taken whole, unless the tokenizer says that it is.
    included = np.ones(len(tokens), np.bool_) if model.get("ignore_merges") else merges.reaches_itself(tables)
    merges.fill_tokens(tables.token_slots, offsets, tables.token_bytes, included)
    return tables


def _slots(entries: int) -> int:
    """Return the size of a table that `entries` fill to at most half."""
    return 1 << max(4, (2 * entries).bit_length())


_ASSIGNED = ((0, 0xD800), (0xE000, 0x40000), (0xE0000, 0xE1000))
"""Ranges of code points that hold all letters, marks, numbers and spaces; the rest are surrogates, private or empty."""


@cache
def kinds(letter: str) -> np.ndarray:
    """Return the kind of every code point, as the expression engine of `tokenizers` sees it. Costs 0.3 s, once.

    Python's own tables, and ours, may be of another Unicode version than that engine's.
    """
    every = "".join(chr(point) for first, end in _ASSIGNED for point in range(first, end))
    points = np.frombuffer(every.encode("utf-32-le"), np.uint32)
    classes = {rf"[{letter}]": pieces.LETTER, r"\p{N}": pieces.NUMBER, r"\s": pieces.SPACE}
    runs = _split("|".join(f"{one}+" for one in classes), "isolated", every)  # each of one class, or of none
    firsts = "".join(run[0] for run, _ in runs)
    table = np.full(pieces.POINTS, pieces.OTHER)
    for one, kind in classes.items():
        among = np.ones(len(runs), np.bool_)
        for _, (start, end) in _split(one, "removed", firsts):
            among[start:end] = False
        for index in np.flatnonzero(among):
            start, end = runs[index][1]
            table[points[start:end]] = kind
    table[[ord("\r"), ord("\n")]] = pieces.NEWLINE
    return table


def _split(expression: str, behaviour: str, text: str) -> list[tuple[str, tuple[int, int]]]:
    return list(pre_tokenizers.Split(tokenizers.Regex(expression), behaviour).pre_tokenize_str(text))
