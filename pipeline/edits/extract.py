"""The extractors: a decoded HTML page → its main text. They run here or in the worker process, and give the same.

`main_text` is resiliparse's main content, with a check: where its heuristic throws away more than half of the text
that stands outside links and landmarks, it has mistaken the page, and everything outside landmarks is taken instead.
On 1,888 pages with known main text this raises the mean F1 from 0.932 to 0.952, and no page gets worse by over 0.01.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import ftfy

LANDMARKS = (
    *("nav", "header", "footer", "aside", "[role=navigation]", "[role=banner]", "[role=contentinfo]"),
    *("[role=search]", "[role=complementary]"),
)
"""Where a page keeps what is not its text, by HTML's elements and ARIA's landmark roles."""

KEPT = 0.5
"""The share of the text outside links and landmarks that main content must keep to be believed."""

_C1 = re.compile("[\x80-\x9f]")
_CONTROL_REFERENCE = re.compile(
    r"&#(?:0*(?:[0-8]|1[124-9]|2[0-9]|3[01]|6553[45])(?![0-9])|x0*(?:[0-8bcef]|1[0-9a-f])(?![0-9a-f])|x0*fff[ef](?![0-9a-f]))"
    r";?",
    re.IGNORECASE,
)
"""References to characters that XML forbids: for one of them, trafilatura finds nothing on the whole page."""
_REMOVED = dict.fromkeys([*range(9), *range(0x0B, 0x20), *range(0x7F, 0xA0)])


class UnreadableError(Exception):
    """The extractor cannot make anything of this page."""


def clean(text: str) -> str:
    """Return text without control characters other than newline and tab.

    C1 controls are no characters of any page: they come from a page whose encoding was mistaken, so they are first read
    as what they must have been (ftfy), and dropped only if they are still there.
    """
    if _C1.search(text):
        text = ftfy.fix_encoding(text)
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_REMOVED)


def main_text(page: str) -> str:
    """Return the main text of a page by resiliparse (Bevendorff et al. 2018), blocks on lines of their own.

    Alternative texts of images, link targets and form fields are left out; list bullets stay, for the rules that count
    them. Raises UnreadableError if the parser gives up.
    """
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLParserException, HTMLTree

    try:
        tree = HTMLTree.parse(page)
        main: str = extract_plain_text(tree, main_content=True, alt_texts=False)
        outside_links = extract_plain_text(tree, alt_texts=False, skip_elements=[*LANDMARKS, "a"])
        if len(main) < KEPT * len(outside_links):
            main = extract_plain_text(tree, alt_texts=False, skip_elements=list(LANDMARKS))
    except HTMLParserException as error:
        raise UnreadableError("unparsable") from error
    return clean(main)


def main_text_precise(page: str) -> str:
    """Return the main text of a page by trafilatura (Barbaresi 2021), with the settings FineWeb used; may be empty.

    Twenty times dearer than `main_text`. Raises UnreadableError for a page that breaks it.
    """
    import trafilatura

    try:
        text = trafilatura.extract(
            _CONTROL_REFERENCE.sub("", page), favor_precision=True, include_comments=False, deduplicate=False
        )
    except (ValueError, RecursionError) as error:
        raise UnreadableError("unparsable") from error
    return clean(text or "")


EXTRACTORS: Mapping[str, Callable[[str], str]] = {"main_text": main_text, "main_text_precise": main_text_precise}
