"""Pages → their main text, each at bounded cost: here, in a worker under a deadline, or without an extractor.

Which way a page takes depends on the page alone. A page that no extractor may see, or that one failed on, keeps its
plain text, menus and all: rules decide what becomes of it, and a note says what happened.
"""

from __future__ import annotations

import pyarrow as pa

from pipeline.edits import deadline
from pipeline.edits.deadline import Failure
from pipeline.edits.extract import EXTRACTORS, UnreadableError, clean
from pipeline.edits.markup import DEPTH_CAP, costs, plain_text

HERE_WORK = {"main_text": 250_000, "main_text_precise": -1}
"""The work (see `markup.costs`) up to which an extractor runs in this process: half a second at worst, and far less for
all but made-up pages. Trafilatura never does: next to what it costs, the way to a worker is free."""
HERE_BYTES = 2 << 20
SIZE_CAP = {"main_text": 16 << 20, "main_text_precise": 4 << 20}
"""Bytes beyond which a page is not extracted. Trafilatura takes 25 times a page's size in memory."""


def extract_pages(name: str, pages: pa.LargeStringArray) -> tuple[pa.LargeStringArray, list[str | None]]:
    """Return the text that the extractor `name` finds in each page, and why it could not, where it could not."""
    depths, works = costs(pages)
    texts: list[str] = []
    reasons: list[str | None] = []
    for page, depth, work in zip(pages.to_pylist(), depths.tolist(), works.tolist(), strict=True):
        found = _extract(name, page, depth, work)
        texts.append(clean(plain_text(page)) if isinstance(found, Failure) else found)
        reasons.append(found.reason if isinstance(found, Failure) else None)
    return pa.array(texts, pa.large_string()), reasons


def _extract(name: str, page: str, depth: int, work: int) -> str | Failure:
    if len(page) > SIZE_CAP[name] or (len(page) * 4 > SIZE_CAP[name] and len(page.encode()) > SIZE_CAP[name]):
        return Failure("too large")
    if depth > DEPTH_CAP:
        return Failure("too deep")
    if work > HERE_WORK[name] or len(page) > HERE_BYTES:
        return deadline.extract(name, page)
    try:
        return EXTRACTORS[name](page)
    except UnreadableError as error:
        return Failure(str(error))
