"""How right a deduplication is, by counting shingles naively: recall on known pairs, precision of what was removed."""

from __future__ import annotations

import io
import json
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import pyarrow.parquet as pq
import zstandard

from neardup.inside import Document

THRESHOLD = 0.8
Pair = tuple[int, int]


@lru_cache(maxsize=1 << 17)
def _kind(character: str) -> str:
    """Return what a character is to words: part of one, a word of its own, or neither."""
    category = unicodedata.category(character)
    if category[0] not in "LM" and category != "Nd":
        return "between"
    name = unicodedata.name(character, "")
    alone = ("CJK ", "HIRAGANA", "KATAKANA", "THAI ", "LAO ", "KHMER ", "MYANMAR ", "HALFWIDTH KATAKANA", "IDEOGRAPHIC")
    return "alone" if name.startswith(alone) else "within"


def words(text: str, unspaced_apart: bool = True) -> list[str]:
    """Return the lower-cased words of a text: runs of letters, marks and digits; characters of unspaced scripts alone."""
    found: list[str] = []
    current = ""
    for character in text.lower().replace("ς", "σ"):
        kind = _kind(character)
        if kind == "within" or (kind == "alone" and not unspaced_apart):
            current += character
            continue
        found += [current] if current else []
        current = ""
        found += [character] if kind == "alone" else []
    return [*found, current] if current else found


def shingles(text: str, unspaced_apart: bool = True) -> frozenset[tuple[str, ...]]:
    found = words(text, unspaced_apart)
    return frozenset(zip(*(found[start:] for start in range(5)), strict=False))


def jaccard(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    return len(one & other) / max(1, len(one | other))


def planted_pairs(texts: Mapping[int, str], sources: Mapping[int, int]) -> set[Pair]:
    """Return all pairs of the planted families whose exact similarity reaches the threshold."""
    families = defaultdict(list)
    for number, source in sources.items():
        families[source].append(number)
    pairs = set()
    for family in families.values():
        sets = {number: shingles(texts[number]) for number in family} if len(family) > 1 else {}
        pairs |= {(a, b) for a, b in combinations(sorted(sets), 2) if jaccard(sets[a], sets[b]) >= THRESHOLD}
    return pairs


def missed(pairs: Iterable[Pair], kept: set[int]) -> float:
    """Return the share of the pairs of which both were kept."""
    return sum(a in kept and b in kept for a, b in pairs) / max(1, len(list(pairs)))


def justified(pairs: Iterable[Pair], removed: set[int]) -> float:
    """Return the share of the removed documents that have any other one as similar as the threshold."""
    similar = {number for pair in pairs for number in pair}
    return len(removed & similar) / max(1, len(removed))


def verified(texts: Mapping[int, str], outcome: Mapping[int, Document]) -> tuple[float, float]:
    """Return the share of the removed documents that resemble their own survivor as much as the threshold, and stays."""
    right, least, removed = 0, 1.0, 0
    for number, document in outcome.items():
        if document.reason is None:
            continue
        removed += 1
        same = texts[number] == texts[document.survivor]
        similarity = 1.0 if same else jaccard(shingles(texts[number]), shingles(texts[document.survivor]))
        right += similarity >= THRESHOLD and outcome[document.survivor].reason is None
        least = min(least, similarity)
    return right / max(1, removed), least


def _records(path: Path) -> Iterator[dict[str, object]]:
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        yield from map(json.loads, io.TextIOWrapper(stream, encoding="utf-8", newline="\n"))


def chain(vectors: Path) -> list[str]:
    """Return 200 texts, each 90 % like the next."""
    return [str(record["text"]) for record in _records(vectors / "chain.jsonl.zst")]


_FILES = {
    "neardup": ("neardup/neardup.jsonl.zst", "id", "text"),
    "web": ("web/truth.jsonl.zst", "record_id", "gold_text"),
    "multilingual": ("multilingual/text.jsonl.zst", "id", "text"),
    "books": ("books/books.jsonl.zst", "id", "text"),
}


def real_texts(shared: Path) -> tuple[list[str], set[Pair]]:
    """Return real texts, and all pairs of them that are 80 % alike. Books and texts of over 150,000 characters are out."""
    documents = pq.read_table(shared / "vectors" / "near_docs.parquet").to_pylist()
    wanted = {(row["part"], row["id"]) for row in documents}
    found: dict[tuple[str, str], str] = {}
    for part, (file, name, text) in _FILES.items():
        for record in _records(shared / "data" / file) if part != "books" else ():
            key = (part, str(record.get(name)))
            if key in wanted and len(str(record[text])) <= 150_000:
                found[key] = str(record[text])
    number = {key: place for place, key in enumerate(found)}
    pairs = set()
    for row in pq.read_table(shared / "vectors" / "near_pairs.parquet").to_pylist():
        ends = [(row[f"part_{side}"], row[f"id_{side}"]) for side in "ab"]
        if row["jaccard"] >= THRESHOLD and all(end in number for end in ends):
            pairs.add((number[ends[0]], number[ends[1]]))
    return list(found.values()), pairs
