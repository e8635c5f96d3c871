"""Repair of text that was decoded wrongly on its way here, and Unicode's composed form (NFC).

ftfy (Speer 2019) finds and undoes mojibake, but reads a megabyte a second; so it is run only on text that shows one of
the marks it acts on. Its settings that change right text stay off: typographic quotes are kept, and so are the
full-width forms that Chinese, Japanese and Korean are written with.
"""

from __future__ import annotations

import io
import re
import unicodedata

import ftfy
from ftfy.badness import is_bad

_CONFIG = ftfy.TextFixerConfig(uncurl_quotes=False, fix_character_width=False, explain=False)

_CHARSETS = (
    *("latin-1", "windows-1252", "windows-1251", "windows-1250", "windows-1253", "windows-1254", "windows-1257"),
    *("iso-8859-2", "mac-roman", "cp437"),
)
"""The encodings in which ftfy looks for UTF-8 that was decoded as something else."""


def _characters(first: int, last: int) -> str:
    """Return, as a class of a regular expression, what the bytes first … last are in any of the encodings."""
    found = set("".join(bytes([byte]).decode(one, "ignore") for one in _CHARSETS for byte in range(first, last + 1)))
    return "[" + "".join(re.escape(char) for char in sorted(found)) + "]"


_CONTINUED = _characters(0x80, 0xBF)[:-1] + " ?\x1a�]"  # a lost byte may have become one of these
_FAULT = re.compile(
    "|".join(
        [
            "[\x00-\x08\x0b-\x1f\x7f-\x9f]",  # control characters; \r too
            "[\u2028\u2029\u206a-\u206f\ufeff\ufff9-\ufffd]",  # other line ends, obsolete controls, U+FFFD
            "[\ufb00-\ufb06\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3]",  # Latin ligatures
            "&(?:#[0-9]|#[xX][0-9a-fA-F]|[A-Za-z]{2})",  # HTML entities
        ]
    )
)
_MOJIBAKE = re.compile(
    "|".join(
        [
            _characters(0xC2, 0xDF) + _CONTINUED,  # UTF-8 of two, three and four bytes, decoded as something else
            _characters(0xE0, 0xEF) + _CONTINUED + _CONTINUED,
            _characters(0xF0, 0xF4) + _CONTINUED + _CONTINUED + _CONTINUED,
        ]
    )
)
"""Marks of text that ftfy might change. Without one, ftfy and NFC together give what NFC alone gives."""


_LINE_END = re.compile("\r\n|[\r\u2028\u2029]")


def nfc(text: str) -> str:
    """Return the text in Unicode normalisation form C."""
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def is_suspicious(text: str) -> bool:
    """Return whether ftfy might change the text beyond its normalisation form.

    What could be mojibake is first given to ftfy's own test of whether it looks like any, without which it never is.
    """
    return bool(_FAULT.search(text)) or (bool(_MOJIBAKE.search(text)) and is_bad(text))


def repair_text(text: str) -> str:
    """Return the text with mojibake, stray HTML entities, control characters and ligatures undone, in form C.

    Line ends become newlines. Entities are left alone in a text that holds a "<": it may be about HTML. Only the lines
    that look suspicious are given to ftfy, which treats every line by itself anyway.
    """
    if not is_suspicious(text):
        return nfc(text)
    config = _CONFIG._replace(unescape_html="<" not in text)
    lines = io.StringIO(_LINE_END.sub("\n", text), newline="\n")
    return nfc("".join(ftfy.fix_text(line, config) if is_suspicious(line) else line for line in lines))
