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


def write_everything(folder: Path) -> dict[str, Any]:
    """Write the corpora, a fork of the code, text that repeats, evaluation items and an earlier dump.

    Returns a recipe that has every part a recipe can have, against a run that is still to be made in `folder`/earlier
    from the recipe that `earlier` returns.
    """
    write_corpora(folder)
    notice = "Copyright the authors of this site. All rights are reserved, and none is given to anybody who reads this."
    licence = text(77, 90).replace("\n", " ")
    pages = [{"id": f"page-{n}", "text": f"{text(300 + n)}\n{notice}\n{text(500 + n, 30)}"} for n in range(12)]
    pages += [{"id": f"licensed-{n}", "text": f"{text(700 + n, 60)} {licence} {text(800 + n, 30)}"} for n in range(4)]
    questions = [text(4000 + n, 40).replace("\n", " ") for n in range(3)]
    pages += [{"id": "leaked", "text": f"{text(901, 80)} {questions[1]} {text(902, 60)}"}]
    old = documents(10, start=3000)
    write_jsonl(folder / "web" / "c.jsonl", [*pages, *({**one, "id": f"old-{one['id']}"} for one in old[:4])])
    write_jsonl(folder / "dump.jsonl", old)
    write_jsonl(folder / "items.jsonl", [{"question": one} for one in questions])
    for name in ("project", "fork"):
        source = folder / "tree" / "project"
        target = folder / "tree" / name
        target.mkdir(exist_ok=True)
        for module in sorted(source.glob("module_*.py")):
            (target / module.name).write_text(module.read_text(encoding="utf-8"), encoding="utf-8")
    whole = recipe(
        decontaminate={"quiz": {"paths": "items.jsonl", "fields": ["question"]}},
        sample={
            "semantic": {"model": "bundled", "clusters": 3, "similarity": 0.99},
            "mixture": {"web": 0.6, "books": 0.3, "code": 0.1},
        },
    )
    whole["deduplicate"] = {
        "priority": ["books", "web"],
        "exact": [{"unit": "document"}, {"unit": "line", "occurrences": 2, "characters": 20}],
        "substring": {"words": 50},
        "near": {"threshold": 0.8},
        "repositories": {"threshold": 0.8},
        "against": "earlier",
    }
    return whole


def earlier() -> dict[str, Any]:
    """Return the recipe of the run that `write_everything` wants in its folder, as `earlier`."""
    whole = recipe(corpora={"web": {"read": {"format": "jsonl", "paths": "dump.jsonl"}}})
    return whole | {"deduplicate": {"exact": {"unit": "document"}, "near": {"threshold": 0.8}}}
