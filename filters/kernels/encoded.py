"""Where a text is encoded data: base64, hexadecimal bytes, escapes of Unicode; as the expressions of StarCoder2 find them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from filters.kernels.buffers import JIT

LEAST_BASE64, LEAST_ESCAPES = 64, 8
_BASE64, _HEX, _WORD, _SPACE = (np.uint8(1 << kind) for kind in range(4))
_CLASS = np.zeros(256, np.uint8)
for _characters, _kind in (
    ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/\n=", _BASE64),
    ("0123456789abcdefABCDEF", _HEX),
    ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_", _WORD),
    (" \t\n\r\f\v", _SPACE),
):
    _CLASS[[ord(one) for one in _characters]] |= _kind
_BACKSLASH, _X, _U, _ZERO, _COMMA = (np.uint8(ord(one)) for one in "\\xu0,")


@njit(**JIT)
def encoded(offsets: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Return int64 [2, rows]: the bytes within encoded data, and those of its longest stretch. All of them are ASCII."""
    rows = len(offsets) - 1
    found = np.zeros((2, rows), np.int64)
    for row in range(rows):
        start, end = offsets[row], offsets[row + 1]
        inside = np.zeros(0, np.bool_)
        for kind in range(3):
            at = start
            while at < end:
                if kind == 0:
                    stop = _base64(data, at, end)
                elif kind == 1:
                    stop = _hexadecimal(data, at, start, end)
                else:
                    stop = _escapes(data, at, end)
                if stop < 0:  # nothing begins before this place
                    at = -stop
                    continue
                if len(inside) == 0:
                    inside = np.zeros(end - start, np.bool_)
                inside[at - start : stop - start] = True
                found[1, row] = max(found[1, row], stop - at)
                at = stop
        found[0, row] = inside.sum()
    return found


@njit(**JIT)
def _base64(data: np.ndarray, at: int, end: int) -> Any:
    """Return where the run of base64's characters at `at` ends or, if it is too short, minus where to look next."""
    stop = at
    while stop < end and _CLASS[data[stop]] & _BASE64:
        stop += 1
    return stop if stop - at >= LEAST_BASE64 else -(stop + 1)


@njit(**JIT)
def _escapes(data: np.ndarray, at: int, end: int) -> Any:
    """The same for eight `\\u12ab` and more."""
    stop = at
    while stop + 6 <= end and data[stop] == _BACKSLASH and data[stop + 1] == _U and _are_hex(data, stop + 2, 4):
        stop += 6
    return stop if stop - at >= 6 * LEAST_ESCAPES else -max(at + 1, stop)


@njit(**JIT)
def _hexadecimal(data: np.ndarray, at: int, start: int, end: int) -> Any:
    """The same for eight bytes and more such as `0x1f,` or `\\x1f` or `1f `, each at the boundary of a word."""
    stop, count = at, 0
    while stop < end and _is_boundary(data, stop, start, end):
        digits = stop
        if stop + 2 < end and data[stop + 1] == _X and (data[stop] == _ZERO or data[stop] == _BACKSLASH):
            digits += 2
        if digits + 2 > end or not _are_hex(data, digits, 2):
            break
        after = digits + 2
        if after < end and data[after] == _COMMA:
            after += 1
        elif _is_boundary(data, after, start, end):
            while after < end and _CLASS[data[after]] & _SPACE:
                after += 1
        else:
            break
        stop, count = after, count + 1
    return stop if count >= LEAST_ESCAPES else -(at + 1)


@njit(**JIT)
def _are_hex(data: np.ndarray, at: int, count: int) -> bool:
    for place in range(at, at + count):  # noqa: SIM110 - numba compiles the loop, not the generator
        if not _CLASS[data[place]] & _HEX:
            return False
    return True


@njit(**JIT)
def _is_boundary(data: np.ndarray, at: int, start: int, end: int) -> bool:
    before = at > start and _CLASS[data[at - 1]] & _WORD != 0
    after = at < end and _CLASS[data[at]] & _WORD != 0
    return before != after
