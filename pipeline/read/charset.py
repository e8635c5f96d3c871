"""Bytes of a page as text: which charset it is in, and what to do where it lies about that.

The order is the HTML standard's: a byte order mark, what the HTTP header says, what a `<meta>` says, then UTF-8 if it
is that, then detection. Labels mean what the Encoding standard makes of them (iso-8859-1 is windows-1252, gb2312 is
gb18030) and nothing else, so that no label of a page names one of Python's other codecs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

META_BYTES = 4096  # the standard looks at 1024; pages put their scripts first
META = re.compile(rb"<meta\s[^>]{0,1024}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.+-]{2,40})", re.IGNORECASE)
XML = re.compile(rb"\s*<\?xml\s[^>]{0,256}?encoding\s*=\s*[\"']([A-Za-z0-9_:.+-]{2,40})", re.IGNORECASE)
COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
HEADER = re.compile(r"charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.+-]{2,40})", re.IGNORECASE)

MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le"))
WIDER = {
    "euc_kr": "cp949", "gbk": "gb18030", "shift_jis": "cp932", "big5": "big5hkscs", "iso8859-11": "cp874",
}  # fmt: skip
"""Python's codecs of these names are narrower than what the Encoding standard decodes under them."""

NARROWER = {"big5hkscs": "cp950"}  # … and no codec of Python's holds all of the standard's Big5

JAPANESE_SHIFT = b"\x1b$B"
KOREAN = ("cp949", "uhc")

BELIEVABLE = 0.95
"""The share of non-ASCII characters that a charset must explain to be believed; the rest become U+FFFD.

A Korean page with one bad byte stays UTF-8; a windows-1252 page with one © that calls itself UTF-8 does not.
"""

ASCII = bytes(range(128))


class CharsetError(ValueError):
    """Bytes that are no text in the declared charset, nor in the detected one."""


@dataclass(frozen=True)
class Decoded:
    text: str
    charset: str
    declared: str | None  # the label, as it was written
    replaced: int = 0  # characters that could not be decoded and are U+FFFD


def decode(data: bytes, content_type: str = "", html: bool = False) -> Decoded:
    """Decode bytes by mark, header, meta, or detection. Raises CharsetError where none of them fits."""
    declared = _declared(data, content_type, html)
    for mark, charset in MARKS:
        if data.startswith(mark):
            rest = data[len(mark) :]
            return _strict(rest, charset, declared) or _believed(rest, charset, declared) or _detected(data, declared)
    named = charset_of(declared) if declared else None
    if named is not None and (decoded := _strict(data, named, declared)):
        return decoded
    if named is None and JAPANESE_SHIFT in data and (decoded := _strict(data, "iso2022_jp", declared)):
        return decoded  # 7 bits: it would pass as UTF-8
    if named != "utf-8" and (decoded := _strict(data, "utf-8", declared)):
        return decoded
    if named is not None and (decoded := _believed(data, named, declared)):
        return decoded
    return _detected(data, declared)


def charset_of(label: str) -> str | None:
    """Return the Python codec for a label of the Encoding standard, None for anything else."""
    charset: str | None = map_encoding_to_html5(label, fallback_utf8=False)
    return WIDER.get(charset, charset) if charset else None


def _declared(data: bytes, content_type: str, html: bool) -> str | None:
    header = HEADER.search(content_type)
    if header and charset_of(header[1]):
        return header[1]
    if html:
        head = COMMENT.sub(b"", data[:META_BYTES])
        found = XML.match(head) or META.search(head)
        if found:
            label = found[1].decode("ascii")
            # a page whose meta can be read as ASCII is not in UTF-16, whatever it says
            return "utf-8" if (charset_of(label) or "").startswith("utf-16") else label
    return header[1] if header else None


def _strict(data: bytes, charset: str, declared: str | None) -> Decoded | None:
    try:
        return Decoded(data.decode(charset), charset, declared)
    except UnicodeDecodeError:
        narrower = NARROWER.get(charset)
        return _strict(data, narrower, declared) if narrower else None


def _believed(data: bytes, charset: str, declared: str | None) -> Decoded | None:
    text = data.decode(charset, "replace")
    written = "\ufffd".encode(charset, "ignore")  # some pages hold replacements of others' making
    replaced = text.count("\ufffd") - (data.count(written) if written else 0)
    foreign = sum(character > "\x7f" for character in text)
    return Decoded(text, charset, declared, replaced) if replaced <= (1 - BELIEVABLE) * foreign else None


def _detected(data: bytes, declared: str | None) -> Decoded:
    # asked for names of the standard, the detector would call Korean UTF-8: its name for it, cp949, is not among them
    found: str | None = detect_encoding(data, html5_compatible=False)
    charset = found and ("cp949" if found in KOREAN else charset_of(found))
    decoded = charset and (_strict(data, charset, declared) or _believed(data, charset, declared))
    if not decoded:
        raise CharsetError(f"not text: declared as {declared or 'nothing'}, looks like {found or 'nothing known'}")
    return decoded
