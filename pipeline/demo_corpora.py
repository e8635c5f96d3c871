"""Corpora that every machine has: Python's own documentation strings as web pages, its language reference as books,
its sources as code; with planted duplicates, spam and broken records, so that a run has something to do.

Everything is made from this Python's standard library, deterministically, without the network.
"""

from __future__ import annotations

import ast
import gzip
import html
import io
import json
import sysconfig
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SKIPPED = {
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "__pycache__",
    "ensurepip",
}
CODE_BYTES = 8_000_000
TYPICAL_PAGE = 12_000
DATE = "2026-01-01T00:00:00Z"


@dataclass(frozen=True)
class Planted:
    """What was planted, so that the demo can say whether it was found."""

    duplicate_page: str
    near_duplicate_page: str
    spam_pages: int
    broken_records: int


def modules() -> Iterator[tuple[str, Path]]:
    """Yield (dotted name, file) of the standard library's modules in Python, sorted."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if not SKIPPED & set(relative.parts):
            yield ".".join(relative.with_suffix("").parts).removesuffix(".__init__"), path


def page(name: str, source: str) -> str | None:
    """Render the documentation strings of a module as an HTML page; None where there are hardly any."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    sections = [(name, ast.get_docstring(tree))]
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            sections.append((node.name, ast.get_docstring(node)))
    documented = [(title, text) for title, text in sections if text and len(text) > 40]
    if sum(len(text) for _, text in documented) < 600:
        return None
    body = "\n".join(
        f"<h2>{html.escape(title)}</h2>\n" + "\n".join(f"<p>{html.escape(part)}</p>" for part in text.split("\n\n"))
        for title, text in documented
    )
    links = " ".join(f'<a href="/{letter}">{letter}</a>' for letter in "abcdefghijklmnopqrstuvwxyz")
    title = html.escape(name)
    return (
        f"<!doctype html><html><head><meta charset=utf-8><title>{title}</title></head><body><nav>{links}</nav><main>"
        f"<article><h1>The module {title}</h1>{body}</article></main><footer>All pages | Imprint</footer></body></html>"
    )


def record(url: str, body: bytes) -> bytes:
    """Return one WARC response record, compressed as a gzip member of its own."""
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n" % len(body)
    payload = http + body
    headers = {
        "WARC-Type": "response",
        "WARC-Record-ID": f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, url)}>",
        "WARC-Date": DATE,
        "WARC-Target-URI": url,
        "Content-Type": "application/http; msgtype=response",
        "Content-Length": str(len(payload)),
    }
    head = "WARC/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    return gzip.compress(head.encode() + payload + b"\r\n\r\n", mtime=0)


def make(folder: Path) -> Planted:
    """Write web.warc.gz, books.jsonl.gz and code.tar.gz into a folder, and say what was planted in them."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = []
    for name, path in modules():
        rendered = page(name, path.read_text("utf-8", "replace"))
        if rendered is not None:
            pages.append((f"https://docs.example/{name}.html", rendered))
    planted = _write_web(folder / "web.warc.gz", pages)
    _write_books(folder / "books.jsonl.gz")
    _write_code(folder / "code.tar.gz")
    return planted


def _write_web(path: Path, pages: list[tuple[str, str]]) -> Planted:
    # pages of middling length survive the quality rules, so the planted copies are dropped as what they are
    (url, text), (other, near) = sorted(pages, key=lambda entry: abs(len(entry[1]) - TYPICAL_PAGE))[:2]
    copies = [
        (url.replace("docs.example", "mirror.example"), text),
        (
            other.replace("docs.example", "mirror.example"),
            near.replace("<h1>The module", "<h1>Module", 1),
        ),
    ]
    spam = "<!doctype html><html><body><p>" + "Buy cheap watches now! " * 200 + "</p></body></html>"
    spams = [
        (f"https://shop.example/{number}.html", spam.replace("watches", f"watches {number}")) for number in range(10)
    ]
    members = [record(one, body.encode()) for one, body in [*pages, *copies, *spams]]
    broken = bytearray(record("https://docs.example/broken.html", pages[0][1].encode()))
    broken[len(broken) // 2] ^= 0xFF
    members.insert(len(members) // 2, bytes(broken))
    _write(path, b"".join(members))
    return Planted(copies[0][0], copies[1][0], len(spams), 3)


def _write_books(path: Path) -> None:
    from pydoc_data.topics import topics

    lines = [
        json.dumps({"id": f"reference/{name}", "text": text, "lang": "en"}).encode()
        for name, text in sorted(topics.items())
    ]
    lines.insert(3, b'{"id": "reference/broken", "text": "half a rec')
    lines.insert(7, b'{"id": "reference/bytes", "text": "not \xff\xfe UTF-8"}')
    _write(path, gzip.compress(b"\n".join(lines) + b"\n", mtime=0))


def _write_code(path: Path) -> None:
    written = 0
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, file in modules():
            data = file.read_bytes()
            if written + len(data) > CODE_BYTES:
                break
            written += len(data)
            entry = tarfile.TarInfo(f"python/{name.replace('.', '/')}.py")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    _write(path, gzip.compress(buffer.getvalue(), compresslevel=1, mtime=0))


def _write(path: Path, data: bytes) -> None:
    """Write a file, unless it is that already: a demonstration run again has nothing to do."""
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)
