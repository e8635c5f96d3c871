"""Repair of text that was decoded wrongly on its way here, and Unicode's composed form (NFC).

ftfy (Speer 2019) finds and undoes mojibake, but reads a megabyte a second; so it is run only on text that shows one of
the marks it acts on. Its settings that change right text stay off: typographic quotes are kept, and so are the
full-width forms that Chinese, Japanese and Korean are written with.
"""

from __future__ import annotations

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


def _decoded(first: int, last: int) -> str:
    """Return what the bytes first … last are in any of the encodings."""
    return "".join(bytes([byte]).decode(one, "ignore") for one in _CHARSETS for byte in range(first, last + 1))


def _any(*characters: str) -> str:
    """Return the class of the characters, as a regular expression."""
    return "[" + "".join(re.escape(char) for char in sorted(set("".join(characters)))) + "]"


_CONTINUED = _decoded(0x80, 0xBF) + " ?\x1a\ufffd"  # a lost byte may have become one of these
_BY_ITSELF = "".join(
    map(
        chr,
        [
            *(*range(9), *range(11, 32), *range(0x7F, 0xA0)),  # control characters
            *(*range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFE)),  # obsolete controls, U+FFFD
            *(*range(0xFB00, 0xFB07), 0x132, 0x133, 0x149, *range(0x1C4, 0x1CD), *range(0x1F1, 0x1F4)),  # ligatures
        ],
    )
)
_LEADS = [_decoded(0xC2, 0xDF), _decoded(0xE0, 0xEF), _decoded(0xF0, 0xF4)]
"""What the first byte of two, three and four may have become."""

_FAULT = re.compile(f"{_any(_BY_ITSELF)}|&(?:#[0-9]|#[xX][0-9a-fA-F]|[A-Za-z]{{2}})")
_MARK = re.compile(
    f"{_any(_BY_ITSELF, '&', *_LEADS)}"  # one class first: the search skips to it
    f"(?:(?<={_any(_BY_ITSELF, '&')})"
    + "".join(f"|(?<={_any(lead)}){_any(_CONTINUED)}{{{length}}}" for length, lead in enumerate(_LEADS, 1))
    + ")"
)
"""Where ftfy might change a text. Where there is none, ftfy and NFC together give what NFC alone gives."""
_LINE_ENDS = ("\r\n", "\r", "\u2028", "\u2029")


def nfc(text: str) -> str:
    """Return the text in Unicode normalisation form C."""
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def is_suspicious(line: str) -> bool:
    """Return whether ftfy might change a line that holds a mark: mojibake must look bad by ftfy's own measure."""
    return bool(_FAULT.search(line)) or is_bad(line)


def repair_text(text: str) -> str:
    """Return the text with mojibake, stray HTML entities, control characters and ligatures undone, in form C.

    Line ends become newlines. Entities are left alone in a text that holds a "<": it may be about HTML. Only the lines
    that look suspicious are given to ftfy, which treats every line by itself anyway.
    """
    for line_end in _LINE_ENDS:
        text = text.replace(line_end, "\n")
    text = nfc(text)
    config = _CONFIG._replace(unescape_html="<" not in text)
    repaired: list[str] = []
    done = 0
    while (mark := _MARK.search(text, done)) is not None:
        start = text.rfind("\n", done, mark.start()) + 1 or done
        end = text.find("\n", mark.start()) + 1 or len(text)
        line = text[start:end]
        repaired += [text[done:start], ftfy.fix_text(line, config) if is_suspicious(line) else line]
        done = end
    return nfc("".join(repaired) + text[done:] if repaired else text)
