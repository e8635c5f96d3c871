"""Hostile text on a terminal does nothing."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from pipeline.terminal import safe


@given(st.text())
def test_nothing_that_acts_is_left(text):
    assert not {unicodedata.category(c) for c in safe(text)} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def test_shows_what_was_there():
    assert safe("\x1b]0;pwned\x07 [/b] \u202egnp.exe 개념") == "\\x1b]0;pwned\\x07 [/b] \\u202egnp.exe 개념"
    assert safe("a\nb") == "a\\x0ab"
    assert safe("a\nb", keep="\n") == "a\nb"
    assert safe("abcdef", 4) == "abc…"
