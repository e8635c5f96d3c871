"""A pool of real text with planted noise and repeats, drawn by seed, and clean text to measure on.

By characters, of each of four corpora (main text of English web pages, chapters of books, files of code, many languages):

- 50 % real documents as they are, with what repeats and noise they have of themselves;
- 30 % repeats: half of them of six pages that come again and again, a date apart, half near-copies of real documents, 0.5 to
  4 % of their words replaced;
- 20 % noise, in equal parts: base64 data, menus of links, words in random order, text whose encoding was damaged.

What is measured are real documents that are not in the pool. The tokenizer is learnt from further ones.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import random
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from pipeline.vocabulary import train_tokenizer

DATA = Path(os.environ.get("CORPUSMILL_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
SEED, VOCABULARY = 11, 4096
REAL, REPEATS = 0.5, 0.3  # of the characters; noise is the rest
CLEAN_CHARACTERS, TOKENIZER_CHARACTERS = 400_000, 400_000  # per corpus
PAGES = 6
KINDS = {"c": "C", "h": "C", "py": "Python", "js": "JavaScript", "java": "Java", "go": "Go", "rs": "Rust", "rb": "Ruby"}
KINDS |= {"ex": "Elixir", "exs": "Elixir", "cpp": "C++", "cc": "C++", "hpp": "C++", "php": "PHP", "hs": "Haskell"}


@dataclass(frozen=True)
class Document:
    """A document of the pool, and why it is there."""

    id: str
    text: str
    kind: str
    programming_language: str | None = None

    def line(self) -> str:
        return json.dumps(vars(self), ensure_ascii=False) + "\n"


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            yield json.loads(line)


def web() -> Iterator[Document]:
    for record in lines(DATA / "web/truth.jsonl.zst"):
        if record.get("gold_text") and record["lang"] == "en":
            yield Document(record["record_id"], record["gold_text"], "real")


def books() -> Iterator[Document]:
    """Yield books cut at paragraphs into parts of some 6,000 characters."""
    for record in lines(DATA / "books/books.jsonl.zst"):
        part, number = "", 0
        for paragraph in record["text"].split("\n\n"):
            part += paragraph + "\n\n"
            if len(part) > 6000:
                yield Document(f"{record['id']}#{number}", part[:20_000].strip(), "real")
                part, number = "", number + 1


def code() -> Iterator[Document]:
    with (DATA / "code/trees.tar.zst").open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                ending = member.name.rpartition(".")[2]
                if member.isfile() and ending in KINDS and 0 < member.size <= 30_000:
                    content = archive.extractfile(member)
                    assert content is not None
                    text = content.read().decode("utf-8", "replace")
                    yield Document(member.name, text, "real", KINDS[ending])


def multilingual() -> Iterator[Document]:
    for record in lines(DATA / "multilingual/text.jsonl.zst"):
        if record["form"] not in ("short user review", "roff source") and len(record["text"]) <= 30_000:
            yield Document(record["id"], record["text"], "real")


CORPORA: dict[str, Callable[[], Iterator[Document]]] = {
    "web": web,
    "books": books,
    "code": code,
    "multilingual": multilingual,
}


def drawn(seed: str, identity: str) -> str:
    return hashlib.blake2b(f"{seed} {identity}".encode(), digest_size=8).hexdigest()


def pool(corpus: str, characters: int) -> tuple[list[Document], list[Document], list[str]]:
    """Return a corpus of the pool, in random order, real documents to measure on, and texts for the tokenizer."""
    every = sorted(CORPORA[corpus](), key=lambda one: drawn(f"{SEED} real", one.id))
    real, rest = until(every, int(characters * REAL))
    source = random.Random(f"{SEED} {corpus}")
    made = [*real, *repeats(real, int(characters * REPEATS), source)]
    made += noise(real, characters - sum(len(one.text) for one in made), source)
    clean, rest = until(rest, CLEAN_CHARACTERS)
    learnt, _ = until(rest, TOKENIZER_CHARACTERS)
    return sorted(made, key=lambda one: drawn(f"{SEED} order", one.id)), clean, [one.text for one in learnt]


def until(documents: list[Document], characters: int) -> tuple[list[Document], list[Document]]:
    total = 0
    for number, document in enumerate(documents):
        total += len(document.text)
        if total >= characters:
            return documents[: number + 1], documents[number + 1 :]
    return documents, []


def repeats(real: list[Document], characters: int, source: random.Random) -> Iterator[Document]:
    """Yield pages that come again and again, and near-copies, in turns of equal length."""
    pages = [one for one in real if 400 <= len(one.text) <= 6000][:PAGES]
    words = [word for one in source.sample(real, min(40, len(real))) for word in one.text.split()]
    done = {"page": 0, "near-copy": 0}
    number = 0
    while sum(done.values()) < characters:
        kind = min(done, key=lambda name: done[name])
        number += 1
        if kind == "page":
            page = source.choice(pages)
            date = f"{source.randrange(1, 29)}.{source.randrange(1, 13)}.20{source.randrange(10, 26)}"
            copy = Document(f"{page.id}~page{number}", f"{page.text}\n{date}", kind, page.programming_language)
        else:
            page = source.choice(real)
            text = edited(page.text, source.uniform(0.005, 0.04), words, source)
            copy = Document(f"{page.id}~copy{number}", text, kind, page.programming_language)
        done[kind] += len(copy.text)
        yield copy


def edited(text: str, share: float, words: list[str], source: random.Random) -> str:
    """Return a text with a share of its words replaced; all white space stays."""
    parts = text.split(" ")
    return " ".join(source.choice(words) if part and source.random() < share else part for part in parts)


def noise(real: list[Document], characters: int, source: random.Random) -> Iterator[Document]:
    """Yield the four kinds of noise, each as long in all."""
    kinds = {"base64": encoded, "menu": menu, "salad": salad, "damage": damaged}
    done = dict.fromkeys(kinds, 0)
    number = 0
    while sum(done.values()) < characters:
        kind = min(done, key=lambda name: done[name])
        number += 1
        like = source.choice(real)
        text = kinds[kind](like.text[:8000], source)
        done[kind] += len(text)
        yield Document(f"{like.id}~{kind}{number}", text, kind, like.programming_language)


def encoded(text: str, source: random.Random) -> str:
    return base64.encodebytes(source.randbytes(len(text.encode()) * 3 // 4)).decode()


def menu(text: str, source: random.Random) -> str:
    words = text.split() or ["menu"]
    links = [" ".join(source.choices(words, k=source.randrange(1, 4))) for _ in range(40)]
    return "\n".join(source.choice(["» ", "| ", "* ", ""]) + source.choice(links) for _ in range(len(text) // 12 + 1))


def salad(text: str, source: random.Random) -> str:
    words = text.split()
    return " ".join(source.sample(words, len(words)))


def damaged(text: str, source: random.Random) -> str:
    """Return a text read in another encoding than it was written in, with bytes lost."""
    data = text.encode()
    if source.random() < 0.5:
        return data.decode("cp1252", "replace")
    return bytes(byte for byte in data if source.random() > 0.05).decode("utf-8", "replace")


def write_pool(out: Path, megabytes: float) -> None:
    """Write the pool and what is measured, a file per corpus, and the tokenizer."""
    for name in ("clean", "real"):
        (out / name).mkdir(parents=True, exist_ok=True)
    learnt = []
    for corpus in CORPORA:
        documents, clean, texts = pool(corpus, int(megabytes * 1e6 / len(CORPORA)))
        learnt += texts
        real = [one for one in documents if one.kind == "real"]
        for folder, ones in ((out, documents), (out / "clean", clean), (out / "real", real)):
            (folder / f"{corpus}.jsonl").write_text("".join(one.line() for one in ones), encoding="utf-8")
        counts: dict[str, list[int]] = {}
        for one in documents:
            counts.setdefault(one.kind, []).append(len(one.text))
        told = ", ".join(f"{kind} {len(lengths):,} ({sum(lengths) / 1e6:.2f} M)" for kind, lengths in counts.items())
        print(f"{corpus}: documents (characters): {told}")
    (out / "tokenizer.json").write_bytes(train_tokenizer(learnt, VOCABULARY))
