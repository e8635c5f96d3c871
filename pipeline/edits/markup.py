"""HTML without a tree: how deep and how costly a page is, and its plain text, in one linear walk over its tags.

Parsers and extractors are fast on honest pages and quadratic on some others: 16 000 nested elements cost resiliparse
nine seconds, and a hundred unclosed <font> before 20 000 <p> cost it 700 MB. So the tags are walked first, with a stack
as an HTML parser keeps one. Where this walk differs from a parser it is made to call a page costlier, not cheaper: such
a page is extracted in another process, under a deadline, and nothing else happens to it.
"""

from __future__ import annotations

import html

import numpy as np
import pyarrow as pa
from numba import njit

from filters.kernels.buffers import JIT, buffers

DEPTH_CAP = 512
"""Open elements beyond which a page is not extracted; browsers stop nesting at the same number."""
TOO_COSTLY = np.int64(1) << np.int64(62)

VOID, IMPLIED, RAW, SPECIAL, SCOPE, BREAK, PARAGRAPH, CELL, PRE, FOREIGN = (np.int64(1 << bit) for bit in range(10))
"""What a tag is. VOID: has no content. IMPLIED: a parser closes it by itself, so that it does not nest in itself; an
element that can hold it again (list, table) is counted in its place. RAW: its content is no markup, and no text of the
page. SPECIAL: an end tag of another name does not close it, unless it is SPECIAL too. SCOPE: nor then. BREAK,
PARAGRAPH, CELL: starts a line, a paragraph, or a word of the plain text. PRE: keeps its white space. FOREIGN: SVG and
MathML."""

_NAMES = {
    VOID: "area base basefont bgsound br col embed frame hr image img input keygen link meta param source track wbr",
    IMPLIED: "html head body p li dt dd option optgroup tr td th thead tbody tfoot colgroup caption rt rp rb rtc a "
    "nobr",
    RAW: "script style textarea title xmp iframe noembed noframes",
    SPECIAL: "p li dt dd tr td th thead tbody tfoot caption "
    "address applet article aside blockquote button center details dialog dir div dl fieldset figcaption "
    "figure footer form frameset h1 h2 h3 h4 h5 h6 header hgroup listing main marquee menu nav noscript object ol pre "
    "search section select summary table template ul",
    SCOPE: "applet marquee object table template",
    BREAK: "address article aside br button caption center dd details dialog dir div dt fieldset figcaption figure "
    "footer form header hgroup hr legend li main nav option search section select summary tbody tfoot thead tr",
    PARAGRAPH: "article blockquote dl h1 h2 h3 h4 h5 h6 hr listing main menu ol p pre section table ul",
    CELL: "td th rp rt",
    PRE: "listing pre textarea xmp",
    FOREIGN: "math svg",
}

_TEXT, _START, _END, _SKIP = 0, 1, 2, 3


def _key(name: str) -> int:
    """Return what `_tag` makes of a tag's name: its bytes while they fit, else a hash, which is negative."""
    key = 0
    for byte in name.encode():
        key = ((key << 8) | byte) if len(name) <= 8 else (key * 1000003 + byte) & 0x7FFFFFFFFFFFFFFF
    return key if len(name) <= 8 else -key - 1


_classes: dict[int, int] = {}
for _kind, _names in _NAMES.items():
    for _name in _names.split():
        _classes[_key(_name)] = _classes.get(_key(_name), 0) | int(_kind)
_KEYS = np.array(sorted(_classes), np.int64)
_KINDS = np.array([_classes[key] for key in sorted(_classes)], np.int64)


@njit(inline="always", **JIT)
def _kind_of(key: int) -> np.int64:
    at = np.searchsorted(_KEYS, key)
    return _KINDS[at] if at < len(_KEYS) and _KEYS[at] == key else np.int64(0)


@njit(inline="always", **JIT)
def _is_space(byte: int) -> bool:
    return byte == 32 or 9 <= byte <= 13


@njit(inline="always", **JIT)
def _is_letter(byte: int) -> bool:
    return 97 <= (byte | 32) <= 122


@njit(**JIT)
def _tag(data: np.ndarray, at: int, end: int) -> tuple[int, np.int64, int, bool]:
    """Return (what it is, key of its name, where it ends, whether it closes itself) of the `<` at `at`."""
    i = at + 1
    if i >= end:
        return _TEXT, np.int64(0), i, False
    if data[i] == 33 and i + 2 < end and data[i + 1] == 45 and data[i + 2] == 45:  # <!--
        i += 3
        if i < end and data[i] == 62:
            return _SKIP, np.int64(0), i + 1, False
        if i + 1 < end and data[i] == 45 and data[i + 1] == 62:
            return _SKIP, np.int64(0), i + 2, False
        while i < end:
            # --> or --!>, the two hyphens of which are not those of the opening <!--
            if data[i] == 62 and (
                (i >= at + 6 and data[i - 1] == 45 and data[i - 2] == 45)
                or (i >= at + 7 and data[i - 1] == 33 and data[i - 2] == 45 and data[i - 3] == 45)
            ):
                return _SKIP, np.int64(0), i + 1, False
            i += 1
        return _SKIP, np.int64(0), end, False
    closing = data[i] == 47
    if closing:
        i += 1
    if i >= end or not _is_letter(data[i]):
        if not closing and data[i] != 33 and data[i] != 63:
            return _TEXT, np.int64(0), at + 1, False
        while i < end and data[i] != 62:  # <!doctype, <?xml, </ >
            i += 1
        return _SKIP, np.int64(0), min(i + 1, end), False
    first = i
    packed, hashed, every_byte = np.int64(0), np.int64(0), np.int64(0)
    while i < end and not _is_space(data[i]) and data[i] != 47 and data[i] != 62:
        byte = np.int64(data[i])
        if 65 <= byte <= 90:
            byte |= 32
        every_byte |= byte
        packed = (packed << 8) | byte
        hashed = (hashed * 1000003 + byte) & np.int64(0x7FFFFFFFFFFFFFFF)
        i += 1
    key = packed if i - first <= 8 and every_byte < 128 else -hashed - 1
    while i < end and data[i] != 62:
        if data[i] == 61:  # a quote opens a value only after "="
            i += 1
            while i < end and _is_space(data[i]):
                i += 1
            if i < end and (data[i] == 34 or data[i] == 39):
                quote = data[i]
                i += 1
                while i < end and data[i] != quote:
                    i += 1
                i += 1
            else:
                while i < end and not _is_space(data[i]) and data[i] != 62:
                    i += 1
        else:
            i += 1
    if i >= end:
        return _SKIP, np.int64(0), end, False
    return (_END if closing else _START), key, i + 1, data[i - 1] == 47


@njit(**JIT)
def _after_raw(data: np.ndarray, at: int, end: int, key: int) -> int:
    """Return where the end tag of the RAW element `key`, whose content starts at `at`, itself starts."""
    while at < end:
        if data[at] == 60 and at + 1 < end and data[at + 1] == 47:
            i = at + 2
            name = np.int64(0)
            while i < end and i - at < 11 and _is_letter(data[i]):
                name = (name << 8) | np.int64(data[i] | 32)
                i += 1
            if name == key and (i >= end or not _is_letter(data[i])):
                return at
        at += 1
    return end


@njit(**JIT)
def _cost(data: np.ndarray, start: int, end: int, stack: np.ndarray, holds: np.ndarray) -> tuple[int, np.int64]:
    depth, deepest, doubts, tags, foreign = 0, 0, np.int64(0), np.int64(0), 0
    i = start
    while i < end:
        if data[i] != 60:
            i += 1
            continue
        what, key, i, closed = _tag(data, i, end)
        if what in (_TEXT, _SKIP):
            continue
        kind = _kind_of(key)
        if what == _START:
            tags += 1
            if kind & RAW and foreign == 0:
                i = _after_raw(data, i, end, key)
            elif kind & (VOID | IMPLIED):
                if kind & SPECIAL and depth > 0:
                    holds[depth - 1] = True
            elif closed and (foreign > 0 or kind & FOREIGN):
                doubts += 1
            elif depth == DEPTH_CAP:
                return DEPTH_CAP + 1, TOO_COSTLY
            else:
                stack[depth] = key
                holds[depth] = False
                depth += 1
                deepest = max(deepest, depth)
                foreign += 1 if kind & FOREIGN else 0
        elif not kind & (VOID | IMPLIED):
            match = depth - 1
            while match >= 0 and stack[match] != key:
                passed = _kind_of(stack[match])
                if passed & SCOPE or (passed & SPECIAL and not kind & SPECIAL):
                    match = -1
                else:
                    match -= 1
            if match >= 0:
                doubts += depth - 1 - match
                while depth > match:
                    depth -= 1
                    # <span><p></span> leaves the span open, if nothing has closed the paragraph
                    doubts += 1 if holds[depth] and not kind & SPECIAL else 0
                    foreign -= 1 if _kind_of(stack[depth]) & FOREIGN else 0
    return deepest, (deepest + doubts + 1) * tags


@njit(**JIT)
def _costs(offsets: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = len(offsets) - 1
    depth, work = np.empty(rows, np.int32), np.empty(rows, np.int64)
    stack, holds = np.empty(DEPTH_CAP, np.int64), np.empty(DEPTH_CAP, np.bool_)
    for row in range(rows):
        depth[row], work[row] = _cost(data, offsets[row], offsets[row + 1], stack, holds)
    return depth, work


@njit(**JIT)
def _plain(data: np.ndarray, start: int, end: int, out: np.ndarray) -> int:
    at, breaks, space, preformatted = 0, 0, False, 0
    i = start
    while i < end:
        byte = data[i]
        if byte == 60:
            what, key, i, _ = _tag(data, i, end)
            if what in (_START, _END):
                kind = _kind_of(key)
                if kind & RAW and what == _START:
                    i = _after_raw(data, i, end, key)
                if kind & PARAGRAPH:
                    breaks = 2
                elif kind & BREAK:
                    breaks = max(breaks, 1)
                elif kind & CELL:
                    space = True
                if kind & PRE and not kind & RAW:
                    preformatted = max(0, preformatted + (1 if what == _START else -1))
                continue
            if what == _SKIP:
                continue
            i -= 1  # a "<" that is text
        if _is_space(byte) and preformatted == 0:
            space = True
        else:
            if breaks > 0:
                if at > 0:
                    out[at : at + breaks] = 10
                    at += breaks
            elif space and at > 0:
                out[at] = 32
                at += 1
            breaks, space = 0, False
            out[at] = byte
            at += 1
        i += 1
    return at


def costs(pages: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return (depth int32, work int64) of every page: its deepest nesting, and that times its number of tags.

    A page deeper than DEPTH_CAP has depth DEPTH_CAP + 1. Extraction takes time, and in the worst case memory, in
    proportion to work: measured, 65 to 1900 ns a unit.
    """
    return _costs(*buffers(pages))


def plain_text(page: str) -> str:
    """Return the text of a page without its markup, scripts and styles: lines and paragraphs as its block tags say.

    Linear in the page whatever its markup. Nothing is chosen: menus and footers stay.
    """
    encoded = np.frombuffer(page.encode("utf-8", "replace"), np.uint8)
    out = np.empty(len(encoded) + 2, np.uint8)
    return html.unescape(out[: _plain(encoded, 0, len(encoded), out)].tobytes().decode("utf-8", "replace"))
