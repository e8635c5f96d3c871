"""Where sentences end, decided from the characters around a mark and a few abbreviations; no model."""

from __future__ import annotations

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from filters.kernels.unicode import LETTER, PUNCTUATION, SPACE, UPPER, WORD, class_of, decode

# fmt: off
ENDS = (  # first and last code point of each run of the property Sentence_Terminal, Unicode 17, PropList.txt
    (0x21, 0x21), (0x2E, 0x2E), (0x3F, 0x3F), (0x589, 0x589), (0x61D, 0x61F), (0x6D4, 0x6D4), (0x700, 0x702),
    (0x7F9, 0x7F9), (0x837, 0x837), (0x839, 0x839), (0x83D, 0x83E), (0x964, 0x965), (0x104A, 0x104B), (0x1362, 0x1362),
    (0x1367, 0x1368), (0x166E, 0x166E), (0x1735, 0x1736), (0x17D4, 0x17D5), (0x1803, 0x1803), (0x1809, 0x1809),
    (0x1944, 0x1945), (0x1AA8, 0x1AAB), (0x1B4E, 0x1B4F), (0x1B5A, 0x1B5B), (0x1B5E, 0x1B5F), (0x1B7D, 0x1B7F),
    (0x1C3B, 0x1C3C), (0x1C7E, 0x1C7F), (0x2024, 0x2024), (0x203C, 0x203D), (0x2047, 0x2049), (0x2CF9, 0x2CFB),
    (0x2E2E, 0x2E2E), (0x2E3C, 0x2E3C), (0x2E53, 0x2E54), (0x2E60, 0x2E61), (0x3002, 0x3002), (0xA4FF, 0xA4FF),
    (0xA60E, 0xA60F), (0xA6F3, 0xA6F3), (0xA6F7, 0xA6F7), (0xA876, 0xA877), (0xA8CE, 0xA8CF), (0xA92F, 0xA92F),
    (0xA9C8, 0xA9C9), (0xAA5D, 0xAA5F), (0xAAF0, 0xAAF1), (0xABEB, 0xABEB), (0xFE12, 0xFE12), (0xFE15, 0xFE16),
    (0xFE52, 0xFE52), (0xFE56, 0xFE57), (0xFF01, 0xFF01), (0xFF0E, 0xFF0E), (0xFF1F, 0xFF1F), (0xFF61, 0xFF61),
    (0x10A56, 0x10A57), (0x10F55, 0x10F59), (0x10F86, 0x10F89), (0x11047, 0x11048), (0x110BE, 0x110C1),
    (0x11141, 0x11143), (0x111C5, 0x111C6), (0x111CD, 0x111CD), (0x111DE, 0x111DF), (0x11238, 0x11239),
    (0x1123B, 0x1123C), (0x112A9, 0x112A9), (0x113D4, 0x113D5), (0x1144B, 0x1144C), (0x115C2, 0x115C3),
    (0x115C9, 0x115D7), (0x11641, 0x11642), (0x1173C, 0x1173E), (0x11944, 0x11944), (0x11946, 0x11946),
    (0x11A42, 0x11A43), (0x11A9B, 0x11A9C), (0x11C41, 0x11C42), (0x11EF7, 0x11EF8), (0x11F43, 0x11F44),
    (0x16A6E, 0x16A6F), (0x16AF5, 0x16AF5), (0x16B37, 0x16B38), (0x16B44, 0x16B44), (0x16D6E, 0x16D6F),
    (0x16E98, 0x16E98), (0x1BC9F, 0x1BC9F), (0x1DA88, 0x1DA88),
)
_ENGLISH = (  # after these a sentence goes on: titles, months, states, Latin, companies
    "a.m p.m e.g E.g E.G i.e I.e I.E vs v.s Dr Mr Mrs Ms Messrs Prof Ph.D Adm Gen Gov Rep Rev Sen St Jr Mt "
    "Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Bros co Co Corp Inc Ltd D.C N.C N.D N.H N.J N.M N.Y S.C "
    "Ala Ariz Ark Calif Colo Conn Del Fla Ga Ia Id Ill Ind Kan Kans Ky La Mass Md Mich Minn Miss Mo Mont Neb Nebr Nev "
    "Okla Ore Pa Tenn Va Wash Wis"
)
# fmt: on
ABBREVIATIONS = tuple(_ENGLISH.split())

_FIRST = np.array([first for first, _ in ENDS], np.int64)
_LAST = np.array([last for _, last in ENDS], np.int64)
_LONGEST = max(map(len, ABBREVIATIONS))
# Sorted numbers whose bytes are the abbreviations: one comparison instead of a loop over strings.
_ABBREVIATIONS = np.sort(np.array([int.from_bytes(word.encode(), "big") for word in ABBREVIATIONS], np.int64))

_DOT, _NOTHING = np.uint8(ord(".")), np.uint8(0)


@njit(**JIT)
def ends_sentence(point: int) -> bool:
    """Tell whether a code point has the Unicode property Sentence_Terminal: `.`, `?`, `!`, `。`, `।`, `؟` …"""
    if point < 0x80:
        return point == 0x2E or point == 0x3F or point == 0x21
    low, high = 0, len(_FIRST)
    while low < high:
        middle = (low + high) >> 1
        if _LAST[middle] < point:
            low = middle + 1
        else:
            high = middle
    return bool(low < len(_FIRST) and _FIRST[low] <= point)


@njit(**JIT)
def _is_abbreviation(data: np.ndarray, start: int, end: int) -> bool:
    length = end - start
    if length > _LONGEST:
        return False
    if length == 1:  # an initial, or the letter of a list: "a."
        return bool(class_of(np.int64(data[start])) & LETTER)
    word = np.int64(0)
    for at in range(start, end):
        word = (word << 8) | np.int64(data[at])
    found = np.searchsorted(_ABBREVIATIONS, word)
    return bool(found < len(_ABBREVIATIONS) and _ABBREVIATIONS[found] == word)


@njit(inline="always", **JIT)
def _begins_sentence(point: int) -> bool:
    """Tell whether a letter is a capital, or of a script that has none but uses the full stop (Hangul, kana, Han)."""
    return class_of(point) & UPPER != 0 or 0x3040 <= point <= 0x9FFF or 0xAC00 <= point <= 0xD7A3


@njit(**JIT)
def next_sentence(data: np.ndarray, start: int, end: int) -> int:
    """Return where the sentence after the one that begins at `start` of the line data[start:end] begins, or `end`.

    A mark ends a sentence unless it stands inside a word (`3.5`, `a?b`). A full stop inside a word does end one between
    a small and a capital letter (`end.Next`), as where a line break was lost; it does not after a single capital letter
    (`U.S. law`), after an abbreviation, and in a run of full stops. Marks of other scripts end one wherever they are.
    """
    ended = False
    word = -1  # where the run of letters, digits and single full stops began that we are in
    before, earlier = _NOTHING, _NOTHING  # classes of the last character and of the one before it
    at = start
    while at < end:
        point, size = decode(data, at)
        kind = class_of(point)
        if kind & WORD:
            if ended:
                return at
            if word < 0:
                word = at
        elif point == 0x2E:
            after = at + 1
            if after < end and data[after] == _DOT:
                while after < end and data[after] == _DOT:
                    after += 1
                word, size, kind = -1, after - at, _NOTHING
            else:
                following = decode(data, after)[0] if after < end else np.int64(0x20)
                if class_of(following) & WORD:
                    stops = before & LETTER and not before & UPPER and _begins_sentence(following)
                else:
                    stops = not before & UPPER or earlier & UPPER
                if stops and not (word >= 0 and _is_abbreviation(data, word, at)):
                    ended = True
                    word = -1
        elif ends_sentence(point):
            following = class_of(decode(data, at + size)[0]) if at + size < end else _NOTHING
            if point >= 0x80 or not (before & WORD and following & WORD):
                ended = True
            word = -1
        else:
            word = -1
            if ended and not kind & (SPACE | PUNCTUATION):
                return at
        earlier, before = before, kind
        at += size
    return end


@njit(**JIT)
def sentences(data: np.ndarray, start: int, end: int) -> int:
    """Count the sentences of the line data[start:end]: one, and one more wherever text goes on after a sentence's end."""
    count = 1
    at = next_sentence(data, start, end)
    while at < end:
        count += 1
        at = next_sentence(data, at, end)
    return count
