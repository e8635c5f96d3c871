"""Edits on batches: the same rows in the same order, each by itself, and notes of what was done to it."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.document import SCHEMA
from pipeline.edit import EDITS, EditError, edit

PAGE = (
    "<html><head><title>T</title><style>p{}</style></head><body><nav><a href=/>Home</a> <a href=/b>More</a></nav>"
    "<main><h1>제목</h1><p>The first paragraph says something of some length, and then a little more.</p>"
    "<ul><li>The first of the things, with a word on it.<li>And another thing, of which more can be said.</ul>"
    "<p>두 번째 문단입니다.</p>"
    "</main><footer>© nobody</footer><script>x<y</script>"
)


def batch(*rows: tuple[str, str]) -> pa.RecordBatch:
    """Return documents of the given (media type, text)."""
    columns: dict[str, list[object]] = {name: [None] * len(rows) for name in SCHEMA.names}
    columns |= {"id": [str(n) for n in range(len(rows))], "corpus": ["c"] * len(rows), "source": ["s"] * len(rows)}
    columns |= {"offset": list(range(len(rows))), "media_type": [kind for kind, _ in rows]}
    columns |= {"text": [text for _, text in rows]}
    return pa.RecordBatch.from_arrays([pa.array(columns[f.name], f.type) for f in SCHEMA], schema=SCHEMA)


rows = st.tuples(
    st.sampled_from(["text/html", "text/plain", "text/x-source"]),
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
        st.sampled_from(
            ["", PAGE, "<p>Ã©", "<div>" * 600 + "deep", "e\u0301", "*** END OF THE PROJECT GUTENBERG", "a\0b"]
        ),
    ),
)
fast = ["main_text", "repair_text", "nfc", "gutenberg", "c4_lines"]


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, max_size=6), st.lists(st.sampled_from(fast), max_size=3, unique=True), st.data())
def test_a_row_is_edited_alike_in_any_batch_and_none_is_dropped(
    documents: list[tuple[str, str]], names: list[str], data: st.DataObject
) -> None:
    given_batch = batch(*documents)
    edited, notes = edit(given_batch, names)
    assert edited.schema == SCHEMA
    assert len(notes) == edited.num_rows == len(documents)
    for column in set(SCHEMA.names) - {"text", "media_type"}:
        assert edited.column(column) == given_batch.column(column)
    start = data.draw(st.integers(0, len(documents)))
    stop = data.draw(st.integers(start, len(documents)))
    part, part_notes = edit(given_batch.slice(start, stop - start), names)
    assert part.to_pylist() == edited.slice(start, stop - start).to_pylist()
    assert part_notes.to_pylist() == notes.to_pylist()[start:stop]


@settings(max_examples=40, deadline=None)
@given(st.lists(rows, max_size=5), st.sampled_from(["repair_text", "nfc", "gutenberg"]))
def test_an_edit_of_text_applied_again_changes_nothing_and_says_so(documents: list[tuple[str, str]], name: str) -> None:
    once, _ = edit(batch(*documents), [name])
    twice, notes = edit(once, [name])
    assert twice == once
    assert notes.to_pylist() == [[]] * len(documents)


@settings(max_examples=30, deadline=None)
@given(st.lists(rows, max_size=5))
def test_edits_one_after_another_are_the_edits_together(documents: list[tuple[str, str]]) -> None:
    together, notes = edit(batch(*documents), ["main_text", "repair_text"])
    first, first_notes = edit(batch(*documents), ["main_text"])
    second, second_notes = edit(first, ["repair_text"])
    assert together == second
    pairs = zip(first_notes.to_pylist(), second_notes.to_pylist(), strict=True)
    assert notes.to_pylist() == [a + b for a, b in pairs]


def test_no_edit_changes_nothing() -> None:
    documents = batch(("text/html", PAGE), ("text/plain", "x\r\n"))
    edited, notes = edit(documents, [])
    assert edited == documents
    assert notes.to_pylist() == [[], []]


def test_main_text_is_the_pages_prose_in_lines_and_other_texts_are_left_alone() -> None:
    edited, notes = edit(batch(("text/html", PAGE), ("text/plain", PAGE), ("text/x-source", PAGE)), ["main_text"])
    assert edited.column("text")[0].as_py() == (
        "제목\n\nThe first paragraph says something of some length, and then a little more.\n\n"
        "  • The first of the things, with a word on it.\n"
        "  • And another thing, of which more can be said.\n\n"
        "두 번째 문단입니다."
    )
    assert edited.column("text").to_pylist()[1:] == [PAGE, PAGE]
    assert edited.column("media_type").to_pylist() == ["text/plain", "text/plain", "text/x-source"]
    assert notes.to_pylist() == [["main_text"], [], []]


def test_the_precise_extractor_finds_the_same_prose() -> None:
    edited, notes = edit(batch(("text/html", PAGE), ("text/plain", "é")), ["main_text_precise"])
    assert "The first paragraph says something" in edited.column("text")[0].as_py()
    assert "Home" not in edited.column("text")[0].as_py()
    assert edited.column("text")[1].as_py() == "é"
    assert notes.to_pylist() == [["main_text_precise"], []]


@pytest.mark.parametrize("name", ["main_text", "main_text_precise"])
@pytest.mark.parametrize("unit", ["<div>", "<b><div></b>", "<div></span>", "<table><tr><td>", "<section><p>"])
def test_a_megabyte_of_nested_tags_takes_less_than_a_second_and_keeps_its_text(name: str, unit: str) -> None:
    edit(batch(("text/html", "<div>" * 600)), [name])  # compiles
    page = unit * (1_100_000 // len(unit)) + "the text"
    started = time.process_time()
    edited, notes = edit(batch(("text/html", page)), [name])
    assert time.process_time() - started < 1
    assert edited.column("text").to_pylist() == ["the text"]
    assert notes.to_pylist() == [[name, f"{name}: too deep"]]


def test_a_page_beyond_the_size_cap_has_its_plain_text_and_a_note() -> None:
    page = "<p>A paragraph of text.</p>\n" * 700_000
    edited, notes = edit(batch(("text/html", page)), ["main_text"])
    assert edited.column("text")[0].as_py().count("\n\n") == 700_000 - 1
    assert notes.to_pylist() == [["main_text", "main_text: too large"]]


def test_a_large_page_goes_to_a_worker_and_reads_as_one_extracted_here() -> None:
    paragraph = "<div><p>Of this paragraph, the worker and this process must think the same.</p></div>"
    pages = [f"<main>{paragraph * count}</main>" for count in (1_000, 60_000)]
    edited, notes = edit(batch(*(("text/html", page) for page in pages)), ["main_text"])
    small, large = edited.column("text").to_pylist()
    assert notes.to_pylist() == [["main_text"], ["main_text"]]
    assert (small + "\n\n") * 60 == large + "\n\n"


@pytest.mark.parametrize("name", ["main_text", "main_text_precise"])
def test_extracted_text_has_no_control_characters(name: str) -> None:
    controls = "".join(map(chr, [*range(32), *range(127, 160)]))
    prose = "<p>This paragraph is prose of some length, so that both of the extractors believe in the page.</p>"
    page = (
        f"<article>{prose * 3}<p>Before{controls}after, &#0; &#1; &#X1f; &#x85; &#13; at length.</p>{prose}</article>"
    )
    edited, _ = edit(batch(("text/html", page)), [name])
    text = edited.column("text")[0].as_py()
    assert "Before" in text
    assert not {char for char in text if char < " " or "\x7f" <= char <= "\x9f"} - {"\n", "\t"}


def test_the_lines_c4_keeps() -> None:
    edited, notes = edit(batch(("text/plain", "A line that ends well.\nmenu\nAnother good line here.")), ["c4_lines"])
    assert edited.column("text").to_pylist() == ["A line that ends well.\nAnother good line here."]
    assert notes.to_pylist() == [["c4_lines"]]


def test_an_unknown_edit_is_named_before_any_work_with_the_nearest_there_is() -> None:
    with pytest.raises(EditError, match="no edit is called 'main_txt'; did you mean 'main_text'"):
        edit(batch(("text/html", PAGE)), ["nfc", "main_txt"])
    with pytest.raises(EditError, match="there are main_text, main_text_precise, repair_text"):
        edit(batch(), ["zzz"])


def test_every_edit_takes_an_empty_batch() -> None:
    for name in EDITS:
        edited, notes = edit(batch(), [name])
        assert edited.num_rows == len(notes) == 0
