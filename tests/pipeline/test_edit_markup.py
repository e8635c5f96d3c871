"""The walk over tags is a parser's nesting, bounded from above; and plain text is linear and complete."""

from __future__ import annotations

import html
import time
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.parse.html import HTMLTree

from pipeline.edits.markup import DEPTH_CAP, costs, plain_text

# "plaintext" and "select" have rules of their own (the one ends markup, the other drops it); frames end the body.
TAGS = ["div", "span", "b", "font", "p", "a", "li", "ul", "table", "tr", "td", "section", "i", "h1", "br", "my-element"]
IMPLIED = {"html", "head", "body", "p", "li", "tr", "td", "tbody", "a"}

relaxed = settings(deadline=None)  # the first call compiles

pieces = st.lists(
    st.one_of(
        st.sampled_from(TAGS).map(lambda name: f"<{name}>"),
        st.sampled_from(TAGS).map(lambda name: f"</{name}>"),
        st.sampled_from(
            ["x", " ", "가", "<!-- <div> -->", "<script>'<div>'</script>", "< ", "&amp;", "<br/>", "<div/>"]
        ),
    ),
    max_size=60,
)
soup = st.lists(st.one_of(pieces.map("".join), st.text(max_size=5)), max_size=4).map("".join)


def depth_of(page: str) -> int:
    return int(costs(pa.array([page], pa.large_string()))[0][0])


def nested(page: str, ignored: set[str]) -> int:
    """Return the deepest nesting in the parser's own tree, of elements not in `ignored`."""
    deepest = 0
    nodes = [(HTMLTree.parse(page).document, 0)]
    while nodes:
        node, depth = nodes.pop()
        if node.tag and not node.tag.startswith("#"):
            depth += node.tag not in ignored | {"br", "img"}
        deepest = max(deepest, depth)
        nodes.extend((child, depth) for child in node.child_nodes)
    return deepest


balanced = st.recursive(
    st.sampled_from(["x", "<br>", "<p>x</p>", "&lt;", '<img alt="<div>">', "<!-- <b> -->"]),
    lambda inner: st.tuples(
        st.sampled_from(["div", "span", "section", "ul", "em", "article", "my-element"]), st.lists(inner, max_size=4)
    ).map(lambda pair: f"<{pair[0]} class='a>b'>{''.join(pair[1])}</{pair[0]}>"),
    max_leaves=30,
)


@relaxed
@given(balanced)
def test_the_depth_of_a_well_formed_page_is_that_of_the_parsers_tree(page: str) -> None:
    assert depth_of(page) == nested(page, IMPLIED)


@relaxed
@given(pieces)
def test_work_over_tags_bounds_the_nesting_of_any_tag_soup(parts: list[str]) -> None:
    page = "".join(parts)
    tags = sum(part.startswith("<") and part[1].isalpha() for part in parts)
    work = int(costs(pa.array([page], pa.large_string()))[1][0])
    # formatting elements are left out: a parser closes and opens them anew at the edges of blocks
    assert nested(page, IMPLIED | {"b", "i", "font"}) * tags <= work


@relaxed
@given(st.lists(soup, max_size=6), st.data())
def test_a_page_costs_the_same_in_any_batch(pages: list[str], data: st.DataObject) -> None:
    array = pa.array(pages, pa.large_string())
    start = data.draw(st.integers(0, len(pages)))
    whole, part = costs(array), costs(array.slice(start))
    assert whole[0][start:].tolist() == part[0].tolist()
    assert whole[1][start:].tolist() == part[1].tolist()


@pytest.mark.parametrize(
    ("page", "depth"),
    [
        ("", 0),
        ("<p>one<p>two<p>three", 0),
        ("<ul><li>one<li>two<li>three</ul>", 1),
        ("<DIV><Span></SPAN></dIv>", 2),
        ("<div></span></div><div></span></div>", 1),
        ("<b><div></b>" * 5, 10),  # a block keeps </b> from closing it
        ("<svg><path/><path/><path/></svg>", 1),
        ("<div/><div/><div/>", 3),  # HTML knows no self-closing tags
        ("<script><div><div></script><textarea><div></textarea>", 0),
        ("<div><!-- <div><div> --><div title='<div>'>", 2),
        ("<div><![CDATA[<div>]]>", 1),
        ("<div" * 1000, 0),
        ("<div>" * DEPTH_CAP, DEPTH_CAP),
        ("<div>" * 100_000, DEPTH_CAP + 1),
        ("<div></b>" * 100_000, DEPTH_CAP + 1),
        ("<b><div></b>" * 100_000, DEPTH_CAP + 1),
        ("<table><tr><td><div>" * 2000, DEPTH_CAP + 1),
    ],
)
def test_counts_open_elements_as_a_parser_does(page: str, depth: int) -> None:
    assert depth_of(page) == depth


class _Text(HTMLParser):
    """The standard library's reading of a page: its text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.raw = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.raw = tag if tag in ("script", "style") else self.raw

    def handle_endtag(self, tag: str) -> None:
        self.raw = "" if tag == self.raw else self.raw

    def handle_data(self, data: str) -> None:
        if not self.raw:
            self.words.append(data)


@relaxed
@given(balanced)
def test_plain_text_has_every_word_the_standard_library_finds(page: str) -> None:
    assert "".join(plain_text(page).split()) == "".join("".join(_Text(page).words).split())


@relaxed
@given(st.text())
def test_plain_text_of_escaped_text_is_that_text_with_its_white_space_collapsed(text: str) -> None:
    text = text.replace("\r", " ").encode("utf-8", "replace").decode()
    kept = "".join(char for char in text if not ("\x80" <= char <= "\x9f"))
    spaces = " \t\n\v\f"
    expected = " ".join(part for part in kept.translate(dict.fromkeys(map(ord, spaces), " ")).split(" ") if part)
    assert plain_text(html.escape(kept)) == expected


@relaxed
@given(soup)
def test_plain_text_is_no_longer_than_its_page_and_keeps_no_tag(page: str) -> None:
    assert len(plain_text(page)) <= len(page.encode("utf-8", "replace"))


def test_plain_text_keeps_blocks_apart_and_preformatted_lines_together() -> None:
    page = (
        "<title>no</title><h1>One</h1><p>two <b>three</b>\n  four<br>five</p>"
        "<pre>a\n  b</pre><td>x<td>y<style>z</style>"
    )
    assert plain_text(page) == "One\n\ntwo three four\nfive\n\na\n  b\n\nx y"


@pytest.mark.parametrize(
    "unit",
    ["<div>", "<!--", "<script>", "<a href='", "<b><div></b>", "</", "<i><div>" + "<b>" * 50, "&", "<svg><g/>", "<"],
)
def test_no_markup_makes_the_walk_slow(unit: str) -> None:
    page = unit * (1_000_000 // len(unit))
    plain_text("<p>")
    depth_of("<p>")
    started = time.process_time()
    depth_of(page)
    plain_text(page)
    assert time.process_time() - started < 1.5
