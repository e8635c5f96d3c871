"""What a source file looks like: its lines, its letters, and what an HTML file shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT
from filters.kernels.c4 import ends_line
from filters.kernels.unicode import DIGIT, LETTER, NUMBER, class_of, decode

DECLARATION_REACH = 100
"""Characters of a file's beginning in which an XML declaration counts (the released filters of StarCoder)."""

_XML, _COMMENT, _COMMENT_END = (np.frombuffer(text, np.uint8) for text in (b"<?xml version=", b"<!--", b"-->"))
_SCRIPT, _STYLE = np.frombuffer(b"script", np.uint8), np.frombuffer(b"style", np.uint8)
_LESS, _MORE, _SLASH, _AMPERSAND, _HASH, _SEMICOLON, _DOUBLE, _SINGLE, _CASE, _A, _Z, _ZERO, _NINE = (
    np.uint8(ord(character)) for character in "<>/&#;\"' az09"
)
_LONGEST_REFERENCE = 32  # bytes of the longest named character reference of HTML, with `&` and `;`


@njit(**JIT)
def file_shape(offsets: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Return int64 [6, rows]: characters, letters and digits, letters, lines, characters in lines, longest line.

    Lines are those of str.splitlines: an end of line at the very end opens no further one.
    """
    rows = len(offsets) - 1
    shape = np.zeros((6, rows), np.int64)
    for row in range(rows):
        characters = alphanumeric = letters = lines = inside = longest = length = 0
        at, end = offsets[row], offsets[row + 1]
        returned = False  # the character before was `\r`
        while at < end:
            point, size = np.int64(data[at]), 1
            if point >= 0x80:
                point, size = decode(data, at)
            kind = class_of(point)
            at += size
            characters += 1
            alphanumeric += (kind & (LETTER | DIGIT | NUMBER)) != 0
            letters += (kind & LETTER) != 0
            if not ends_line(point):
                length += 1
            elif not (point == 0x0A and returned):
                lines += 1
                inside += length
                longest = max(longest, length)
                length = 0
            returned = point == 0x0D
        if length:
            lines += 1
            inside += length
            longest = max(longest, length)
        shape[0, row], shape[1, row], shape[2, row] = characters, alphanumeric, letters
        shape[3, row], shape[4, row], shape[5, row] = lines, inside, longest
    return shape


@njit(**JIT)
def _is_at(phrase: np.ndarray, data: np.ndarray, at: int, end: int, case: int) -> Any:
    """Tell whether data[at:end] begins with the phrase, where `case` (0 or 0x20) is set in every byte first."""
    if end - at < len(phrase):
        return False
    for index in range(len(phrase)):  # noqa: SIM110 - numba compiles the loop, not the generator
        if data[at + index] | np.uint8(case) != phrase[index]:
            return False
    return True


@njit(**JIT)
def xml_declarations(offsets: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Return int32 [rows]: 1 where `<?xml version=` lies within the first 100 characters, else 0."""
    rows = len(offsets) - 1
    declared = np.zeros(rows, np.int32)
    for row in range(rows):
        at, end, characters = offsets[row], offsets[row + 1], 0
        while at < end and characters + len(_XML) <= DECLARATION_REACH:
            if data[at] == _LESS and _is_at(_XML, data, at, end, 0):
                declared[row] = 1
                break
            at += decode(data, at)[1]
            characters += 1
    return declared


@njit(inline="always", **JIT)
def _is_letter(byte: int) -> Any:
    return _A <= (byte | _CASE) <= _Z


@njit(**JIT)
def _reference_end(data: np.ndarray, at: int, end: int) -> int:
    """Return where the character reference ends that begins at data[at] == `&`, or `at` if none does."""
    after = at + 1
    if after < end and data[after] == _HASH:
        after += 1
    first = after
    while after < min(end, at + _LONGEST_REFERENCE) and (_is_letter(data[after]) or _ZERO <= data[after] <= _NINE):
        after += 1
    return after + 1 if first < after < end and data[after] == _SEMICOLON else at


@njit(**JIT)
def _tag_end(data: np.ndarray, at: int, end: int) -> int:
    """Return where the tag ends that begins at data[at] == `<`: behind the first `>` outside quoted values."""
    quote = np.uint8(0)
    for after in range(at + 1, end):
        byte = data[after]
        if quote:
            if byte == quote:
                quote = np.uint8(0)
        elif byte == _MORE:
            return after + 1
        elif (byte == _DOUBLE or byte == _SINGLE) and data[after - 1] == np.uint8(0x3D):
            quote = byte
    return end


@njit(**JIT)
def _closing(name: np.ndarray, data: np.ndarray, at: int, end: int) -> int:
    """Return where `</name` begins at or after data[at], else the end."""
    while at < end:
        if data[at] == _LESS and at + 1 < end and data[at + 1] == _SLASH and _is_at(name, data, at + 2, end, 0x20):
            return at
        at += 1
    return end


@njit(**JIT)
def _visible(data: np.ndarray, at: int, end: int) -> int:
    """Count the characters of data[at:end] that are neither markup nor script nor style.

    A character reference is one character, and so is the space between two tags, however much of it there is.
    """
    count = 0
    run, blank = 0, True  # characters since the last markup, and whether all are space
    while at < end:
        byte = data[at]
        if byte == _LESS and at + 1 < end:
            following = data[at + 1]
            if _is_at(_COMMENT, data, at, end, 0):
                count += min(run, 1) if blank else run
                run, blank = 0, True
                at += len(_COMMENT)
                while at < end and not _is_at(_COMMENT_END, data, at, end, 0):
                    at += 1
                at = min(at + len(_COMMENT_END), end)
                continue
            if (
                following == np.uint8(0x21)
                or following == np.uint8(0x3F)
                or following == _SLASH
                or _is_letter(following)
            ):
                count += min(run, 1) if blank else run
                run, blank = 0, True
                name = at + 1
                at = _tag_end(data, at, end)
                if _is_at(_SCRIPT, data, name, end, 0x20):
                    at = _closing(_SCRIPT, data, at, end)
                elif _is_at(_STYLE, data, name, end, 0x20):
                    at = _closing(_STYLE, data, at, end)
                continue
        run += 1
        blank &= byte == 0x20 or byte == 0x0A or byte == 0x09 or byte == 0x0C or byte == 0x0D
        if byte == _AMPERSAND:
            at = max(_reference_end(data, at, end), at + 1)
        else:
            at += decode(data, at)[1]
    return count + (min(run, 1) if blank else run)


@njit(**JIT)
def visible_characters(offsets: np.ndarray, data: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return int64 [rows]: the characters that a browser shows of each row that is `chosen`, as of an HTML file; else 0."""
    rows = len(offsets) - 1
    counts = np.zeros(rows, np.int64)
    for row in range(rows):
        if chosen[row]:
            counts[row] = _visible(data, offsets[row], offsets[row + 1])
    return counts
