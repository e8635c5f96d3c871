"""Small corpora for whole runs: seeded sentences, with planted duplicates, near duplicates and broken records."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

WORDS = (
    "the of and to that have with river stone garden winter letter music answer morning harbour engine market village "
    "lantern history mountain question teacher window kitchen silver forest captain shadow summer bridge paper ocean "
    "machine country doctor animal evening flower number science weather pocket library journey island corner signal"
).split()


def text(seed: int, words: int = 120) -> str:
    """Return a text of sentences, the same for the same seed; texts of different seeds share hardly a 5-gram."""
    chance = random.Random(seed)
    sentences = []
    while words > 0:
        length = min(words, chance.randint(8, 16))
        sentence = " ".join(chance.choice(WORDS) for _ in range(length))
        sentences.append(sentence.capitalize() + ".")
        words -= length
    return "\n".join(" ".join(sentences[i : i + 3]) for i in range(0, len(sentences), 3))


def edited(original: str) -> str:
    """Return the text with its last word changed: a near duplicate."""
    return original[: original.rstrip().rfind(" ")] + " elsewhere."


def documents(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {"id": f"doc-{n}", "text": text(n), "url": f"https://site.example/{n}"} for n in range(start, start + count)
    ]


def write_jsonl(path: Path, rows: list[Any]) -> None:
    lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
    data = b"".join(line + b"\n" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def write_corpora(folder: Path) -> None:
    """Write web (two files), books (texts) and code (a tree): 60 + 8 + 6 documents, 3 broken records."""
    web = documents(40)
    copies = [
        {"id": "exact-copy", "text": web[3]["text"]},
        {"id": "near-copy", "text": edited(web[4]["text"])},
        {"id": "doc-5", "text": text(905)},  # an id that another document has
        {"id": "short", "text": "Too short."},
        {"id": "rank", "text": text(906), "rank": "00000", "../../x": "../../y"},
        {"id": "korean", "text": "개념 증명은 어렵다. 그러나 우리는 계속 시도한다. " * 3},
        b'{"id": "half", "text": "half a rec',
        b'["a", "list"]',
        b'{"id": "bytes", "text": "\xff\xfe"}',
    ]
    write_jsonl(folder / "web" / "a.jsonl", [*web[:30], *copies])
    write_jsonl(folder / "web" / "b.jsonl.gz", [*web[30:], *documents(14, start=100)])
    books = folder / "books"
    books.mkdir(parents=True, exist_ok=True)
    for number in range(8):
        (books / f"book-{number}.txt").write_text(text(2000 + number, 400), encoding="utf-8")
    (books / "book-copy.txt").write_text(web[7]["text"], encoding="utf-8")
    tree = folder / "tree" / "project"
    tree.mkdir(parents=True, exist_ok=True)
    for number in range(6):
        lines = [f"def function_{number}_{line}(value):\n    return value + {line * number}\n" for line in range(30)]
        (tree / f"module_{number}.py").write_text("\n".join(lines), encoding="utf-8")


def recipe(**changes: Any) -> dict[str, Any]:
    """Return the recipe of these corpora as an object, with parts changed."""
    whole: dict[str, Any] = {
        "seed": 3,
        "corpora": {
            "web": {
                "read": {"format": "jsonl", "paths": "web/*"},
                "columns": {"url": "url"},
                "edits": ["repair_text"],
                "presets": ["gopher_quality"],
                "rules": {"language": {"in": ["en"]}},
            },
            "books": {"read": {"format": "text", "paths": "books/*.txt"}},
            "code": {"read": {"format": "code", "paths": "tree"}, "presets": ["starcoder"]},
        },
        "deduplicate": {"priority": ["books", "web"], "exact": {"unit": "document"}, "near": {"threshold": 0.8}},
        "shards": {"tokenizer": {"train": 500}, "tokens": 6000},
        "budget": {"rejects": 0.1},
    }
    return whole | changes
