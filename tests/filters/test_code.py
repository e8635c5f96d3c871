"""What source files look like: laws, naive twins, and the rules that hold for some languages only."""

from __future__ import annotations

import html.parser
import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.code import data_size_excess, encoded_data, file_shape, language_bounds, visible_text, xml_declaration
from filters.presets import STARCODER, STARCODER2
from filters.rule import decide
from filters.signal import collect, measure, needed

MARKUP = (
    "<p>", "</p>",
    "<a href='x'>", '<a title="a>b">', "<br/>", "text", " ", "\n", "\n\n  ", "&amp;", "&#233;", "&lt;", "é", "한국어",
    "😀", "<!-- hidden -->", "<!DOCTYPE html>", "<script>var x = '<b>';</script>", "<style>p { color: red }</style>",
    "<SCRIPT src=x></SCRIPT>", "1 < 2", "a & b",
)  # fmt: skip
PIECES = (
    "\n",
    "\r\n",
    "\r",
    "\x0c",
    "\x85",
    "\u2028",
    "\x1e",
    "a",
    "é",
    "中",
    "٣",
    "½",
    "²",
    "Ⅷ",
    "😀",
    "_",
    " ",
    "<?xml version=",
    "x" * 90,
)
texts = st.lists(st.one_of(st.text(max_size=6), st.sampled_from(PIECES)), max_size=20).map("".join)


def column(*values: str) -> pa.LargeStringArray:
    return pa.array(values, pa.large_string())


def called(*values: str | None) -> pa.StringArray:
    return pa.array(values, pa.string())


def share(part: float, whole: int) -> float | None:
    return float(np.float32(part / whole)) if whole else None


def naive(text: str) -> tuple[int, float | None, float | None, float | None]:
    lines = [len(line) for line in text.splitlines()]
    alphanumeric = sum(unicodedata.category(one)[0] in "LN" for one in text)
    letters = sum(one.isalpha() for one in text)
    return (
        max(lines, default=0),
        share(sum(lines), len(lines)),
        share(alphanumeric, len(text)),
        share(letters, len(text)),
    )


class Shown(html.parser.HTMLParser):
    """The standard library's parser, collecting what is no markup, script or style."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.runs: list[list[str]] = [[]]
        self.hidden = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.runs.append([])
        self.hidden = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.runs.append([])
        self.hidden = False

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.runs.append([])

    handle_comment = handle_decl = lambda self, data: self.runs.append([])

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.runs[-1] += data

    def handle_entityref(self, name: str) -> None:
        self.runs[-1].append("&")

    handle_charref = handle_entityref

    def count(self, text: str) -> int:
        self.feed(text)
        self.close()
        return sum(len(run) if any(one not in " \t\n\r\f" for one in run) else bool(run) for run in self.runs)


@given(st.lists(texts, max_size=5))
@settings(max_examples=200, deadline=None)
def test_file_shape_equals_its_naive_twin(documents):
    shape = [one.tolist() for one in file_shape(column(*documents))]
    assert list(zip(*shape, strict=True)) == [naive(text) for text in documents]


@given(st.lists(texts, max_size=4))
@settings(max_examples=100, deadline=None)
def test_xml_is_declared_where_the_first_hundred_characters_say_so(documents):
    found = xml_declaration(column(*documents), called(*[None] * len(documents)))
    assert found.tolist() == [int("<?xml version=" in text[:100]) for text in documents]


@given(st.lists(st.sampled_from(MARKUP), max_size=30).map("".join))
@settings(max_examples=300, deadline=None)
def test_visible_text_is_what_the_standard_librarys_parser_shows(page):
    share_visible, missing = visible_text(column(page), called("HTML"))
    visible = Shown().count(page)
    assert share_visible.to_pylist() == [share(visible, len(page))]
    assert missing.tolist() == [max(0, 100 - visible)]


@given(st.text(st.sampled_from("<>/&;#!-?sScriptTyle='\" \n한"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_markup_however_broken_shows_more_than_there_is(page):
    share_visible, _ = visible_text(column(page, "after"), called("html", "html"))
    assert share_visible[0].as_py() is None or 0 <= share_visible[0].as_py() <= 1
    assert share_visible[1].as_py() == 1


@given(st.lists(texts, min_size=1, max_size=6), st.data())
@settings(max_examples=50, deadline=None)
def test_a_slice_gives_what_the_whole_gives(documents, draw):
    start = draw.draw(st.integers(0, len(documents)))
    whole, names = column(*documents), called(*["HTML", None, "JSON", "C", "XSLT", "YAML"][: len(documents)])
    for signal, columns in ((file_shape, [whole]), (visible_text, [whole, names]), (xml_declaration, [whole, names])):
        parts, wholes = (
            result if isinstance(result, tuple) else (result,)
            for result in (signal(*(one.slice(start) for one in columns)), signal(*columns))
        )
        assert [one.tolist() for one in parts] == [one.tolist()[start:] for one in wholes]


ENCODED = [
    rb"[a-zA-Z0-9+/\n=]{64,}",
    rb"(?:\b(?:0x|\\x)?[0-9a-fA-F]{2}(?:,|\b\s*)){8,}",
    rb"(?:\\u[0-9a-fA-F]{4}){8,}",
]
"""The expressions of StarCoder 2, over bytes: outside ASCII nothing is a letter or a space."""
SCRAPS = (
    "0x1f,", "0xff, ", "\\x1F", "a7 ", "a7,", "a7", "zz", "0x", "x", "_", "\\u00e9", "\\u", "é", "한", "\n", "\t", " ", '"',
    "b" * 40, "+/==", "A" * 63, "1", "\\x0a" * 8, "\\u12ab" * 8, "0a " * 8, "0a," * 7,
)  # fmt: skip


@given(st.lists(st.lists(st.sampled_from(SCRAPS), max_size=24).map("".join), max_size=4))
@settings(max_examples=500, deadline=None)
def test_encoded_data_is_what_the_published_expressions_find(documents):
    shares, longest = encoded_data(column(*documents))
    for text, found, most in zip(documents, shares.to_pylist(), longest.tolist(), strict=True):
        spans = [match.span() for one in ENCODED for match in re.finditer(one, text.encode())]
        assert most == max((end - start for start, end in spans), default=0)
        assert found == share(len({place for start, end in spans for place in range(start, end)}), len(text))


@pytest.mark.parametrize(
    ("text", "column_that_fails"),
    [
        ("x = 1\n" + "QUJD" * 300, {"encoded", "longest_encoded"}),
        ("an ordinary line of text\n" * 200 + "QUJD" * 300, {"longest_encoded"}),
        ("QUJDREVGR0hJSktM" * 5 + "\n", {"encoded"}),
        ("bytes = [" + "0x1f," * 12 + "]", {"encoded"}),
        ("an ordinary line of text\n" * 200, set()),
        ("", {"encoded"}),  # a null fails
    ],
)
def test_encoded_data_fails_the_preset(text, column_that_fails):
    batch = pa.RecordBatch.from_pylist([measured(text, "C")])
    passed, _ = decide(batch, STARCODER2.rules)
    failed = {name for name in passed.schema.names if not passed.column(name)[0].as_py()}
    assert failed == {f"starcoder2.{name}" for name in column_that_fails}


def measured(text: str, language: str | None) -> dict[str, float | None]:
    from filters import code

    batch = pa.record_batch({"text": column(text), "programming_language": called(language)})
    writers = collect([code])
    return {
        name: one[0] for name, one in measure(batch, needed(writers, writers, batch.schema.names)).to_pydict().items()
    }


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        (
            "x = 1\nyy = 22\n",
            "Python",
            {"longest_line": 7, "mean_line_length": 6.0, "longest_code_line": 7, "mean_code_line": 6.0},
        ),
        ("x" * 2000, None, {"longest_line": 2000, "longest_code_line": 2000, "mean_code_line": 2000.0}),
        ("x" * 2000, "Markdown", {"longest_line": 2000, "longest_code_line": 0, "mean_code_line": 0.0}),
        ("x" * 2000, "JSON", {"longest_code_line": 0, "data_size_excess": 0, "alphabetic_margin": 0.5}),
        ("1" * 20, "json", {"data_size_excess": 80, "alphabetic_margin": -0.5}),
        ("a" * 5001, "YAML", {"data_size_excess": 1}),
        ("a" * 5001, "C", {"data_size_excess": 0, "visible_text": 1.0, "visible_text_missing": 0}),
        ("a1", "MATLAB", {"alphabetic": 0.5, "alphabetic_margin": 0.25}),
        ("a1", "C", {"alphabetic": 0.5, "alphabetic_margin": 0.5}),
        ('<?xml version="1.0"?>', "Java", {"xml_declaration": 1}),
        ('<?xml version="1.0"?>', "XSLT", {"xml_declaration": 0}),
        ("<b>bold</b>", "HTML", {"visible_text": pytest.approx(4 / 11), "visible_text_missing": 96}),
        ("", "HTML", {"visible_text": None, "mean_line_length": None, "alphanumeric": None, "mean_code_line": None}),
        ("", None, {"longest_line": 0, "visible_text": 1.0, "alphabetic_margin": None}),
    ],
)
def test_measures_files(text, language, expected):
    found = measured(text, language)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("language", ["C", "Python", "Markdown", "HTML", "JSON", "YAML", "XSLT", "Go", None])
def test_an_ordinary_file_passes_the_preset_in_every_language(language):
    text = "A line of ordinary text with letters in it.\n" * 10
    batch = pa.RecordBatch.from_pylist([measured(text, language)])
    assert decide(batch, STARCODER.rules)[1].to_pylist() == [None]


@pytest.mark.parametrize(
    ("text", "language", "column_that_fails"),
    [
        ("x" * 1001 + "\n" + "x\n" * 50, "C", "longest_code_line"),
        (("x" * 150 + "\n") * 5, "C", "mean_code_line"),
        ("=-=-=-=-\n" * 10, "C", "alphanumeric"),
        ("123456789,\n" * 10, "JSON", "alphabetic_margin"),
        ('<?xml version="1.0"?>\n' + "some text here\n" * 5, "C", "xml_declaration"),
        ("<div class='a'></div>\n" * 40 + "shown " * 20, "HTML", "visible_text"),
        ("<p>shown</p>", "HTML", "visible_text_missing"),
        ("some text here\n" * 400, "YAML", "data_size_excess"),
    ],
)
def test_each_rule_of_the_preset_finds_its_fault(text, language, column_that_fails):
    batch = pa.RecordBatch.from_pylist([measured(text, language)])
    passed, _ = decide(batch, STARCODER.rules)
    assert [name for name in passed.schema.names if not passed.column(name)[0].as_py()] == [
        f"starcoder.{column_that_fails}"
    ]


def test_bounds_of_languages_need_no_text():
    nothing = [pa.array([], kind) for kind in (pa.int32(), pa.float32(), pa.float32(), pa.string())]
    assert [len(one) for one in language_bounds(*nothing)] == [0, 0, 0]
    assert len(data_size_excess(column(), called())) == 0
