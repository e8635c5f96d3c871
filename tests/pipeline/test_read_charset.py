"""Charsets: text comes back from every charset of the web, and bytes that lie are found out."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.read.charset import CharsetError, charset_of, decode

KOREAN = "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. " * 8
JAPANESE = "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。" * 8
CHINESE = "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。" * 8
TAIWAN = "人人生而自由,在尊嚴和權利上一律平等。他們賦有理性和良心,並應以兄弟關係的精神相對待。" * 8
RUSSIAN = "Все люди рождаются свободными и равными в своем достоинстве и правах. " * 8
FRENCH = "Tous les êtres humains naissent libres et égaux en dignité et en droits, à la fraternité. " * 8
TURKISH = "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler. " * 8
GREEK = "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. " * 8

LEGACY = [
    (KOREAN, "cp949", "EUC-KR"), (JAPANESE, "cp932", "Shift_JIS"), (JAPANESE, "euc_jp", "x-euc-jp"),
    (CHINESE, "gb18030", "gb2312"), (CHINESE, "gb18030", "GBK"), (TAIWAN, "big5hkscs", "Big5"),
    (RUSSIAN, "cp1251", "windows-1251"), (RUSSIAN, "koi8-r", "KOI8-R"), (FRENCH, "cp1252", "ISO-8859-1"),
    (FRENCH, "cp1252", "latin1"), (FRENCH, "iso8859-15", "iso-8859-15"), (TURKISH, "cp1254", "iso-8859-9"),
    (GREEK, "iso8859-7", "iso-8859-7"), (JAPANESE, "iso2022_jp", "iso-2022-jp"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "codec", "label"), LEGACY)
def test_a_declared_charset_is_followed(text: str, codec: str, label: str) -> None:
    data = f"<html><head><meta charset={label}></head>{text}".encode(codec)
    for content_type, html in ((f'text/html; charset="{label}"', False), ("text/html", True)):
        decoded = decode(data, content_type, html)
        assert decoded.text.endswith(text)
        assert (decoded.declared, decoded.replaced) == (label, 0)


@pytest.mark.parametrize(
    ("text", "codec"),
    sorted({(text, codec) for text, codec, _ in LEGACY if "8859" not in codec and "1254" not in codec}),
)
def test_a_charset_nobody_declares_is_detected(text: str, codec: str) -> None:
    assert decode(text.encode(codec)).text == text


@given(st.text())
def test_utf_8_needs_no_declaration(text: str) -> None:
    if not text.startswith("\ufeff"):
        assert decode(text.encode()).text == text


@given(st.text(), st.sampled_from(["utf-8-sig", "utf-16"]))
def test_a_mark_goes_before_what_is_declared(text: str, codec: str) -> None:
    decoded = decode(text.encode(codec), "text/html; charset=iso-8859-1")
    assert decoded.text == text.encode("utf-16", "surrogatepass").decode("utf-16")


@given(st.binary(max_size=300), st.text(max_size=40), st.booleans())
def test_any_bytes_are_text_or_an_error(data: bytes, content_type: str, html: bool) -> None:
    with suppress(CharsetError):
        decode(data, content_type, html).text.encode("utf-8")


def test_one_bad_byte_becomes_one_replacement() -> None:
    data = (KOREAN + "\u2603").encode()
    decoded = decode(data[:500] + b"\xff" + data[500:], "text/html; charset=utf-8")
    assert decoded.charset == "utf-8"
    assert 1 <= decoded.replaced <= 3
    assert decoded.text.endswith(KOREAN[-100:] + "\u2603")


def test_replacements_that_others_made_are_text() -> None:
    assert decode("a\ufffd\ufffd".encode(), "charset=utf-8").replaced == 0
    assert decode("\ufeff\ufffd".encode(), "charset=utf-8").text == "\ufffd"
    assert decode((KOREAN + "\ufffd" * 9).encode() + b"\xff", "charset=utf-8").replaced == 1


def test_a_page_that_calls_itself_utf_8_and_is_not_is_found_out() -> None:
    assert decode(FRENCH.encode("cp1252"), "charset=utf-8").text == FRENCH
    assert decode(RUSSIAN.encode("cp1251"), "charset=utf-8").text == RUSSIAN
    assert decode(KOREAN.encode("cp949"), "charset=utf-8").text == KOREAN


def test_a_page_that_does_not_know_that_it_is_utf_8_is_found_out() -> None:
    decoded = decode(KOREAN.encode(), "text/html; charset=ascii-8")
    assert (decoded.text, decoded.charset) == (KOREAN, "utf-8")
    assert decode(KOREAN.encode(), "charset=euc-kr").text == KOREAN


def test_bytes_that_are_no_text_are_an_error() -> None:
    with pytest.raises(CharsetError, match="not text: declared as utf-8, looks like"):
        decode(bytes([0x81, 0xFF]) * 50, "charset=utf-8")


@pytest.mark.parametrize(
    "label",
    ["rot13", "zlib_codec", "idna", "unicode_escape", "raw_unicode_escape", "utf-7", "mbcs", "undefined", "hex", ""],
)
def test_pythons_other_codecs_are_out_of_reach(label: str) -> None:
    assert charset_of(label) is None
    assert decode(b"+AGEAYg-", f"charset={label}").text == "+AGEAYg-"


def test_a_meta_counts_where_a_browser_would_see_it() -> None:
    page = "<!-- <meta charset=big5> --><META content='text/html;\n charset=EUC-KR' http-equiv=Content-Type>" + KOREAN
    assert decode(page.encode("cp949"), html=True).declared == "EUC-KR"
    assert decode(page.encode("cp949"), html=False).declared is None
    assert decode(b'<?xml version="1.0" encoding="koi8-r"?>' + RUSSIAN.encode("koi8-r"), html=True).declared == "koi8-r"
    assert decode(b"<meta charset=utf-16>text", html=True).charset == "utf-8"
