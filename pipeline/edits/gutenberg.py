"""Project Gutenberg's header and footer, off its books.

The markers are those of thirty years of files: `*** START OF THIS PROJECT GUTENBERG EBOOK …***` and its END (2001 on),
`*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.…*END*` (the nineties), the plain line `End of Project
Gutenberg's …`, and the licence that follows. Markers stand at the start of a line; a sentence that mentions the
project is none.
"""

from __future__ import annotations

import re

HEADER_CHARACTERS = 30_000
"""How far into a book a header may end; the longest, with the small print, is half of that."""
FOOTER_CHARACTERS = 40_000
"""How far from its end the unstarred last line may stand; the licence below it has 19 000 characters."""

_NAME = r"(?:THE |THIS )?PROJECT GUTENBERG"
_START = re.compile(
    rf"^[ \t]*\*{{2,4}} ?START OF {_NAME}[^*]{{0,300}}\*{{2,4}}[^\n]*$"
    r"|^[ \t]*\*?END ?\*? ?THE SMALL PRINT![^\n]*(?:\n[^\n]{1,80})??\*END\*[^\n]*$",
    re.MULTILINE | re.IGNORECASE,
)
_END = re.compile(
    rf"^[ \t]*\*{{2,4}} ?END OF {_NAME}|^[ \t]*\*{{2,4}} ?START: FULL LICENSE",
    re.MULTILINE | re.IGNORECASE,
)
_LAST_LINE = re.compile(rf"^[ \t]*(?:This is the )?End of {_NAME}[^\n]*$", re.MULTILINE | re.IGNORECASE)
_CREDIT = re.compile(
    r"(?:Produced|E-?text prepared|E-?text produced|This e-?(?:text|book) was (?:produced|prepared|scanned|typed)"
    r"|Transcribed|Scanned|HTML version|Character set encoding)[^\n]*"
    r"(?:by|from|with|:)[^\n]*(?:\n[^\n]*\S[^\n]*){0,12}(?=\n\s*\n)",
    re.IGNORECASE,
)
_NOTE = r"\[[ \t]*(?:Transcriber['’]?s?['’]? Notes?|This e-?text)\b[^\[\]]{0,4000}\]"
_FIRST_NOTE = re.compile(_NOTE + r"(?=\s*\n)", re.IGNORECASE)
_LAST_NOTE = re.compile(r"(?<=\n)[ \t]*" + _NOTE + r"\s*\Z", re.IGNORECASE)


def _between(text: str) -> str:
    """Return what stands between the markers: all of the text where there is none."""
    end = _END.search(text)
    stop = end.start() if end else len(text)
    start = 0
    for marker in _START.finditer(text, 0, min(stop, HEADER_CHARACTERS)):
        start = marker.end()
    if end is None:
        for last in _LAST_LINE.finditer(text, max(start, len(text) - FOOTER_CHARACTERS)):
            stop = last.start()
    else:  # the plain line just above the starred one
        for last in _LAST_LINE.finditer(text, max(start, stop - 500), stop):
            stop = last.start()
            break
    return text[start:stop]


def gutenberg(text: str) -> str:
    """Return the book without Project Gutenberg's header and footer; a book without their markers as it is.

    Off a marked book also come the lines that say who produced the file, and a transcriber's note where it stands at
    the very beginning or end, in brackets. Editing the result again changes nothing.
    """
    body = text
    while (marked := body) != (body := _between(marked)):
        body = body.strip()
        while (found := _CREDIT.match(body) or _FIRST_NOTE.match(body)) is not None:
            body = body[found.end() :].lstrip()
        while (found := _LAST_NOTE.search(body)) is not None:
            body = body[: found.start()].rstrip()
    return body
