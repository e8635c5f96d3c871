"""Repair: the quick look misses nothing that ftfy would change, and what is repaired stays as it is."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from pathlib import Path

import ftfy
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.edits.repair import is_suspicious, nfc, repair_text

KEEPING = ftfy.TextFixerConfig(uncurl_quotes=False, fix_character_width=False, explain=False)
CHARSETS = ["latin-1", "cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1257", "iso-8859-2", "mac-roman", "cp437"]

anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
mojibake = st.tuples(
    st.sampled_from(["é", "ü", "한국어", "Москва", "“quoted”", "naïve — café", "日本", "𝒥", "à la"]),
    st.sampled_from(CHARSETS),
).map(lambda pair: pair[0].encode().decode(pair[1], "ignore"))
marks = st.sampled_from(["&amp;", "&lt;", "&#39;", "&", "<", "\r\n", "\r", "\x85", "\x9d", "\u2028", "ﬁ", "\ufeff",
                         "\x1b[0m", "�", "Ã ", "ǆ", "\0", "e\u0301", "가", "\n"])  # fmt: skip
texts = st.lists(st.one_of(anything, mojibake, marks), max_size=8).map("".join)


def whole(text: str) -> str:
    """Return what ftfy makes of all of the text, suspicious or not, once it is in form C, with newlines."""
    text = nfc(re.sub("\r\n|[\r\u2028\u2029]", "\n", text))
    return nfc(ftfy.fix_text(text, KEEPING._replace(unescape_html="<" not in text)))


@settings(max_examples=400, deadline=None)
@given(texts)
@example("â€™ Ã©\r\nÐœÐ¾ÑÐºÐ²Ð°")
def test_repairing_suspicious_lines_is_what_ftfy_does_to_the_whole_text(text: str) -> None:
    assert repair_text(text) == whole(text)


@settings(max_examples=400, deadline=None)
@given(texts)
def test_repairing_twice_is_repairing_once(text: str) -> None:
    once = repair_text(text)
    assert repair_text(once) == once


@given(anything)
def test_nfc_is_unicodes_form_c_and_twice_is_once(text: str) -> None:
    assert nfc(text) == unicodedata.normalize("NFC", text) == nfc(nfc(text))


@pytest.mark.parametrize(
    ("broken", "right"),
    [
        ("The cafÃ©â€™s open", "The café’s open"),
        ("í•œêµ\xadì–´", "한국어"),
        ("a &amp; b", "a & b"),
        ("write &amp; to get <b>", "write &amp; to get <b>"),
        ("di\ufb03cult\0 text\r\nnext", "difficult text\nnext"),
        ("“kept” and ‘kept’", "“kept” and ‘kept’"),
        ("全角（ＡＢＣ）ｶﾅ、はそのまま", "全角（ＡＢＣ）ｶﾅ、はそのまま"),
        ("\u1112\u1161\u11ab", "한"),
        ("", ""),
    ],
)
def test_undoes_what_was_decoded_wrongly_and_keeps_what_is_right(broken: str, right: str) -> None:
    assert repair_text(broken) == right


def test_no_real_text_that_ftfy_would_repair_goes_unnoticed(data: Path) -> None:
    stream = zstandard.ZstdDecompressor().stream_reader((data / "multilingual" / "text.jsonl.zst").open("rb"))
    touched = seen = 0
    for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8", newline="\n")):
        if number % 40:
            continue
        text = json.loads(line)["text"]
        repaired = repair_text(text)
        assert repaired == whole(text)
        assert repair_text(repaired) == repaired
        seen += 1
        touched += is_suspicious(text)
    assert seen > 1000
    assert touched < seen / 5
    stream.close()
