"""What C4's, FineWeb's and StarCoder's rules decide here and what the released peers decide, on the same documents."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from filters.c4 import c4_fineweb_lines, c4_lines, keep_lines
from filters.code import file_shape, visible_text, xml_declaration
from filters.fineweb import line_shape, newlines_per_word
from filters.presets import C4, C4_FINEWEB, FINEWEB, Preset
from filters.quality import gopher_quality
from filters.rule import decide
from filters.signal import measure

Documents = list[dict[str, Any]]
EXTENSIONS = {"html": "HTML", "yml": "YAML", "py": "Python", "c": "C", "md": "Markdown"}


@pytest.fixture(scope="module")
def texts(documents: Documents) -> pa.LargeStringArray:
    return pa.array([document["text"] for document in documents], pa.large_string())


@pytest.fixture(scope="module")
def columns(texts: pa.LargeStringArray) -> pa.RecordBatch:
    signals = [c4_lines, c4_fineweb_lines, gopher_quality, line_shape, newlines_per_word]
    return measure(pa.record_batch({"text": texts}), signals)


def peer(document: dict[str, Any], family: str) -> bool:
    tree = document["datatrove"]
    return bool(tree["eng"]["fineweb_quality"][0] if family == "fineweb" else tree[family]["decision"][0])


@pytest.mark.parametrize(
    ("preset", "family"),
    [(C4, "c4"), (C4_FINEWEB, "c4_fineweb"), (FINEWEB, "fineweb")],
    ids=["c4", "c4_fineweb", "fineweb"],
)
def test_english_documents_meet_the_same_decision(
    documents: Documents, columns: pa.RecordBatch, preset: Preset, family: str
) -> None:
    kept = np.asarray(decide(columns, preset.rules)[1].is_null())
    same = kept == np.array([peer(document, family) for document in documents])
    english = np.array([str(document["lang"]).startswith("en") for document in documents])
    assert english.sum() > 400
    assert same[english].mean() >= 0.99
    assert same.mean() >= 0.995


@pytest.mark.parametrize(("dialect", "terminal"), [("c4", True), ("c4_fineweb", False), ("c4_lines_only", True)])
def test_c4_leaves_exactly_the_text_that_the_peer_leaves(
    documents: Documents, texts: pa.LargeStringArray, dialect: str, terminal: bool
) -> None:
    compared = 0
    for document, kept in zip(documents, keep_lines(texts, terminal).to_pylist(), strict=True):
        expected = document["datatrove"][dialect]["kept_sha256"]
        if expected is not None:
            assert hashlib.sha256(kept.encode()).hexdigest() == expected, document["key"]
            compared += 1
    assert compared > 1000


def test_c4_counts_sentences_as_the_peer_does_but_for_two_in_a_hundred(
    documents: Documents, columns: pa.RecordBatch
) -> None:
    ours = theirs = equal = compared = 0
    for document, sentences in zip(documents, columns.column("c4_sentences").to_pylist(), strict=True):
        if str(document["lang"]).startswith("en"):
            expected = document["datatrove"]["c4_lines_only"]["sentences"]
            ours, theirs, compared = ours + sentences, theirs + expected, compared + 1
            equal += sentences == expected
    assert ours / theirs == pytest.approx(1, abs=0.02)
    assert equal / compared > 0.8


@pytest.mark.parametrize(
    ("column", "ratio"),
    [
        ("terminal_punctuation_lines", "line_punct_ratio"),
        ("short_lines", "short_line_ratio"),
        ("repeated_line_characters", "char_dup_ratio"),
    ],
)
def test_fineweb_shares_are_the_peers(documents: Documents, columns: pa.RecordBatch, column: str, ratio: str) -> None:
    expected = np.array([document["datatrove"]["eng"]["fineweb"][ratio] for document in documents], np.float32)
    assert np.asarray(columns.column(column)).tolist() == expected.tolist()


def test_fineweb_newlines_per_word_are_the_peers_within_a_percent_on_english(
    documents: Documents, columns: pa.RecordBatch
) -> None:
    pairs = [
        (ours, document["datatrove"]["eng"]["fineweb"]["new_line_ratio"])
        for document, ours in zip(documents, columns.column("newlines_per_word").to_pylist(), strict=True)
        if str(document["lang"]).startswith("en")
    ]
    assert np.mean([abs(ours - theirs) for ours, theirs in pairs]) < 0.001


def test_code_shape_is_the_peers_on_every_file(documents: Documents) -> None:
    files = [document for document in documents if document["kind"] == "code"]
    texts = pa.array([document["text"] for document in files], pa.large_string())
    endings = [document["key"]["id"].rsplit(".", 1)[-1] for document in files]
    languages = pa.array([EXTENSIONS.get(ending) for ending in endings], pa.string())
    longest, mean, alphanumeric, _ = file_shape(texts)
    share, missing = visible_text(texts, languages)
    declared = xml_declaration(texts, languages)
    for row, document in enumerate(files):
        lines, markup = (document["dolma"][f"code_{name}"] for name in ("redpajama_taggers_v1", "starcoder_taggers_v2"))
        assert longest[row] == lines["max_line_length_doc"]
        assert mean[row].as_py() == pytest.approx(lines["avg_line_length_doc"], rel=1e-6, abs=6e-6)
        assert alphanumeric[row].as_py() == pytest.approx(lines["alnum_prop_doc"], abs=6e-6)
        assert declared[row] == markup["has_xml_template_doc"]
        # The peer calls the share 0 where less than a hundred characters are visible; here that is a column of its own.
        visible = 0 if missing[row] else share[row].as_py()
        assert visible == pytest.approx(markup["code_to_text_ratio_html_doc"], abs=6e-6)
    assert len(files) == 200
    assert endings.count("html") == 4
