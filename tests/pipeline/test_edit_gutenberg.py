"""Project Gutenberg's header and footer come off, the book stays, and a second time changes nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.edits.gutenberg import gutenberg

BOOK = (
    "A TALE\n\nby Someone\n\nCHAPTER I\n\nIt was the best of times.\n\nShe wrote of Project Gutenberg at the END OF it."
)

STARTS = [
    "*** START OF THIS PROJECT GUTENBERG EBOOK A TALE ***",
    "*** START OF THE PROJECT GUTENBERG EBOOK A TALE ***",
    "***START OF THE PROJECT GUTENBERG EBOOK A TALE***",
    "*** START OF THIS PROJECT GUTENBERG EBOOK A TALE OF MANY\nWORDS, AND MORE ***",
    "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
    "*END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
    "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*\nVer.10.04.01*END*",
]
ENDS = [
    "*** END OF THIS PROJECT GUTENBERG EBOOK A TALE ***",
    "***END OF THE PROJECT GUTENBERG EBOOK A TALE***",
    "End of the Project Gutenberg EBook of A Tale, by Someone\n\n*** END OF THIS PROJECT GUTENBERG EBOOK A TALE ***",
    "End of Project Gutenberg's A Tale, by Someone",
    "End of The Project Gutenberg Etext of A Tale",
    "This is the end of Project Gutenberg’s A Tale",
    "*** START: FULL LICENSE ***",
]


def books(data: Path) -> Iterator[dict[str, str]]:
    with (data / "books" / "books.jsonl.zst").open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file)
        for line in io.TextIOWrapper(stream, encoding="utf-8", newline="\n"):
            yield json.loads(line)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_takes_off_every_kind_of_header_and_footer(start: str, end: str, newline: str) -> None:
    marked = f"The Project Gutenberg EBook of A Tale\n\n{start}\n\n\n\n{BOOK}\n\n\n{end}\n\nThe licence, at length."
    assert gutenberg(marked.replace("\n", newline)) == BOOK.replace("\n", newline)


@pytest.mark.parametrize(
    "credit",
    [
        "Produced by Judith Boss and the Online\nDistributed Proofreading Team.",
        "E-text prepared by Someone",
        "Transcribed from the 1902 edition by David Price",
        "Produced by Someone\n\n[Transcriber's Note: spelling is\n\nas it was.]",
    ],
)
def test_takes_off_credits_and_bracketed_notes_below_a_header_only(credit: str) -> None:
    assert gutenberg(f"{STARTS[0]}\n\n{credit}\n\n\n{BOOK}") == BOOK
    assert gutenberg(f"{credit}\n\n\n{BOOK}") == f"{credit}\n\n\n{BOOK}"


def test_a_note_without_brackets_stays() -> None:
    assert gutenberg(f"{STARTS[0]}\n\nTranscriber's Note: kept.\n\n{BOOK}") == f"Transcriber's Note: kept.\n\n{BOOK}"


def test_a_book_without_markers_is_as_it_was() -> None:
    for text in ("", "\n\n", BOOK, f"  {BOOK}\n\n", f"He said: {STARTS[0]}", "Produced by hand.\n\nThen sold."):
        assert gutenberg(text) == text


parts = st.one_of(
    st.sampled_from([*STARTS, *ENDS, BOOK, "Produced by X\n\nY", "[Transcriber's Note: z]", "\n", "\n\n", "\r\n", " "]),
    st.text(max_size=20),
)


@given(st.lists(parts, max_size=10).map("\n".join))
def test_twice_is_once_and_a_book_is_never_made_longer(text: str) -> None:
    once = gutenberg(text)
    assert gutenberg(once) == once
    assert once in text


def test_real_books_lose_their_boilerplate_and_nothing_else(data: Path) -> None:
    marked = 0
    for book in books(data):
        text, edited = book["text"], gutenberg(book["text"])
        assert gutenberg(edited) == edited
        if not book["source"].startswith("GITenberg"):
            assert edited == text, book["id"]
            continue
        marked += 1
        assert edited in text
        assert 17_000 < len(text) - len(edited) < 22_000, book["id"]
        assert "START OF THIS PROJECT" not in edited
        assert "gutenberg.org" not in edited.lower()
        assert not edited.startswith("Produced by")
    assert marked == 11
