"""The language of texts: real languages, mixtures of known shares, texts of none, and a model that was tampered with."""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import filters
from filters.language import LEAST_WIDTH, LONGEST, PASSAGES, Opinion, language, passages, verdict, width

ENGLISH = "The committee decided on Tuesday that the bridge would stay closed until the end of the winter season."
KOREAN = "위원회는 화요일에 겨울이 끝날 때까지 다리를 계속 폐쇄하기로 결정했다고 발표했으며 주민들은 이에 반발했다."
FOLDED = {"zh-cn": "zh", "zh-tw": "zh", "zh_TW": "zh", "pt_BR": "pt", "pt_PT": "pt", "nb": "no"}


def column(*texts: str) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def languages(*texts: str) -> list[str]:
    return language(column(*texts))[0].to_pylist()


def records(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as stream:
        yield from map(json.loads, io.BufferedReader(stream))


@pytest.fixture(scope="module")
def pool(data: Path) -> list[dict[str, Any]]:
    """The multilingual texts whose label is a language, without manual pages: those begin with English comments."""
    every = records(data / "multilingual" / "text.jsonl.zst")
    return [one for one in every if not one["lang"].startswith("udhr") and "roff" not in one["form"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ENGLISH, "en"),
        (KOREAN, "ko"),
        ("Der Ausschuss beschloss am Dienstag, dass die Brücke geschlossen bleibt.", "de"),
        ("委员会星期二决定大桥在冬季结束之前继续关闭。", "zh"),
        ("委員会は火曜日に、橋を冬の終わりまで閉鎖することを決めました。", "ja"),
        ("Комитет решил во вторник, что мост останется закрытым до конца зимы.", "ru"),
        ("समिति ने मंगलवार को फैसला किया कि पुल बंद रहेगा।", "hi"),
        ("좋은 영화", "ko"),
    ],
)
def test_names_a_language_however_the_text_is_laid_out(text, expected):
    assert languages(text, "\n\n" + text.replace(" ", "\n"), f"\x00{text}\t\r\n\x85") == [expected] * 3


@pytest.mark.parametrize(
    "text", ["", " \n\t", "42", "1,234.56 7/8 (9)", "—…“”", "😀😀😀😀😀😀😀😀", "\ufffd" * 50, "ok", "a b c", "|---|"]
)
def test_a_text_of_hardly_any_letters_is_undetermined_and_has_no_score(text):
    names, scores = language(column(text))
    assert names.to_pylist() == ["und"]
    assert scores.to_pylist() == [None]


def test_half_a_page_in_another_language_makes_it_one_in_several():
    assert languages("\n\n".join([KOREAN, ENGLISH] * 4)) == ["mul"]
    assert languages("\n\n".join([KOREAN] * 4 + [ENGLISH] * 4)) == ["mul"]
    assert languages("\n\n".join([KOREAN] * 11 + [ENGLISH])) == ["ko"]
    assert languages("\n\n".join([ENGLISH] * 19 + [KOREAN])) == ["en"]


def test_the_languages_of_a_page_of_known_shares_are_found(pool):
    """Pages of twelve paragraphs of translated news, of which a known number is English."""
    chance = random.Random(7)
    news: dict[str, list[str]] = {}
    for one in pool:
        if "PUD" in one["source"] and len(one["text"]) >= 200:
            news.setdefault(one["lang"], []).append(one["text"][: chance.choice([90, 150, 250])])
    others = sorted(news.keys() & {"de", "es", "fi", "fr", "hi", "ko", "ru", "tr"})
    assert len(others) == 8
    found = {}
    for english in (0, 1, 6, 11, 12):
        pages = []
        for name in others * 10:
            page = chance.sample(news["en"], english) + chance.sample(news[name], 12 - english)
            chance.shuffle(page)
            pages.append("\n\n".join(page))
        names = languages(*pages)
        found[english] = Counter("other" if one == name else one for one, name in zip(names, others * 10, strict=True))
    assert found[0]["other"] == 80
    assert found[12]["en"] == 80
    assert found[6]["mul"] >= 0.85 * 80
    assert found[1]["other"] >= 0.95 * 80
    assert found[11]["en"] >= 0.85 * 80


def test_labelled_texts_get_their_labels(pool):
    chosen = random.Random(7).sample([one for one in pool if len(one["text"]) >= 300], 800)
    names = languages(*(one["text"] for one in chosen))
    right = sum(name == FOLDED.get(one["lang"], one["lang"]) for name, one in zip(names, chosen, strict=True))
    assert right / len(chosen) >= 0.98


def test_short_korean_reviews_are_korean_or_undetermined(pool):
    chosen = random.Random(7).sample([one for one in pool if one["source"].endswith("nsmc")], 800)
    counts = Counter(languages(*(one["text"] for one in chosen)))
    assert counts["ko"] / len(chosen) >= 0.93
    assert (counts["ko"] + counts["und"]) / len(chosen) >= 0.97


def test_web_pages_are_of_their_language_or_of_several(data):
    pages = [one for one in records(data / "web" / "truth.jsonl.zst") if one.get("lang") and one.get("gold_text")]
    pages = [one for one in pages if not one["lang"].startswith("mixed")]
    names = languages(*(one["gold_text"] for one in pages))
    outcome = Counter(
        "right" if name == FOLDED.get(one["lang"], one["lang"]) else name if name in ("mul", "und") else "wrong"
        for name, one in zip(names, pages, strict=True)
    )
    assert len(pages) > 1600
    assert outcome["right"] / len(pages) >= 0.90
    assert outcome["wrong"] / len(pages) <= 0.015


@given(st.lists(st.text(max_size=400), max_size=4))
@settings(max_examples=50, deadline=None)
def test_any_text_has_a_language_whatever_its_batch(texts):
    names, scores = language(column(*texts))
    assert names.null_count == 0
    for text, name, score in zip(texts, names.to_pylist(), scores.to_pylist(), strict=True):
        assert languages(text) == [name]
        assert (score is None) == (name == "und")
        assert score is None or 0 < score <= 1 + 1e-6


def test_a_slice_gives_what_the_whole_gives():
    whole = column(ENGLISH, "", KOREAN, ENGLISH + "\n" + KOREAN)
    assert language(whole.slice(1, 2))[0].to_pylist() == language(whole)[0].to_pylist()[1:3]


@given(st.text(st.sampled_from("ab \n한"), max_size=3000))
def test_passages_are_few_short_ordered_pieces_of_the_text(text):
    found = passages(text)
    assert len(found) <= PASSAGES
    assert all(len(one) <= LONGEST and "\n" not in one for one in found)
    flat, at = " ".join(text.split()), 0
    for one in found:
        at = flat.index(one, at) + len(one)


@given(st.text(st.sampled_from("ab \n한"), max_size=PASSAGES * 40))
def test_passages_of_a_short_text_leave_nothing_out(text):
    if len(text) <= PASSAGES * 40:
        assert "".join("".join(passages(text)).split()) == "".join(text.split())


@given(st.text())
def test_width_counts_letters_and_wide_ones_twice(text):
    known = [one for one in text if one.isascii() or "\u0400" <= one <= "\u052f" or "\uac00" <= one <= "\ud7a3"]
    assert width("".join(known)) == sum((one >= "\uac00") + 1 for one in known if one.isalpha() or not one.isascii())


def test_the_order_of_opinions_does_not_matter():
    opinions = [Opinion("ko", 0.9, 40), Opinion("en", 0.95, 30), Opinion("de", 0.95, 30), Opinion("en", 0.3, 10)]
    expected = verdict(opinions)
    for _ in range(20):
        random.Random(7).shuffle(opinions)
        assert verdict(opinions)[0] == expected[0]
        assert verdict(opinions)[1] == pytest.approx(expected[1])


def test_a_doubtful_second_language_does_not_count():
    assert verdict([Opinion("ko", 0.9, 50), Opinion("en", 0.79, 50)])[0] == "ko"
    assert verdict([Opinion("ko", 0.9, 50), Opinion("en", 0.81, 50)])[0] == "mul"
    assert verdict([Opinion("ko", 0.19, 50)]) == ("und", None)
    assert verdict([]) == ("und", None)
    assert width("ok") < LEAST_WIDTH


def test_a_damaged_model_is_refused_before_it_is_read(tmp_path):
    """In a copy of the package one bit of the model is turned: fastText itself may crash on such a file."""
    shutil.copytree(Path(filters.__file__).parent, tmp_path / "filters", ignore=shutil.ignore_patterns("__pycache__"))
    model = tmp_path / "filters" / "models" / "lid.176.ftz"
    content = bytearray(model.read_bytes())
    content[40] ^= 1
    model.write_bytes(content)
    program = (
        "import pyarrow as pa\nfrom filters.language import language\nlanguage(pa.array(['Some English words.']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "ModelError" in done.stderr
    assert "lid.176.ftz: sha256 is" in done.stderr


def test_the_model_is_read_without_a_word_on_stderr():
    program = (
        "import pyarrow as pa\nfrom filters.language import language\nlanguage(pa.array(['Some English words.']))\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
