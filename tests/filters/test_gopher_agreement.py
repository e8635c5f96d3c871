"""What Gopher's rules decide here and what the released peer decides, on the same documents.

docs/word-segmentation.md says where the rest comes from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from filters.presets import GOPHER_QUALITY, GOPHER_REPETITION, Preset
from filters.quality import gopher_quality
from filters.repetition import gopher_repetition
from filters.rule import decide
from filters.signal import measure

RATIOS = {
    "dup_line_frac": "duplicate_lines",
    "dup_line_char_frac": "duplicate_line_characters",
    "dup_para_frac": "duplicate_paragraphs",
    "dup_para_char_frac": "duplicate_paragraph_characters",
    **{f"top_{n}_gram": f"top_{n}_gram" for n in (2, 3, 4)},
    **{f"dup_{n}_gram": f"duplicate_{n}_grams" for n in range(5, 11)},
}


@pytest.fixture(scope="module")
def columns(documents: list[dict[str, Any]]) -> pa.RecordBatch:
    texts = pa.array([document["text"] for document in documents], pa.large_string())
    return measure(pa.record_batch({"text": texts}), [gopher_quality, gopher_repetition])


def agreement(
    documents: list[dict[str, Any]], columns: pa.RecordBatch, preset: Preset, family: str, prefix: str
) -> tuple[int, float]:
    """Return (documents whose language begins with `prefix`, the share of them that both keep or both drop)."""
    _, reasons = decide(columns, preset.rules)
    kept = np.asarray(reasons.is_null())
    chosen = np.array([str(document["lang"]).startswith(prefix) for document in documents])
    peer = np.array([document["datatrove"]["eng"][family][0] for document in documents])
    return int(chosen.sum()), float((kept == peer)[chosen].mean())


@pytest.mark.parametrize(
    ("preset", "family"),
    [(GOPHER_QUALITY, "gopher_quality"), (GOPHER_REPETITION, "gopher_rep")],
    ids=["quality", "repetition"],
)
def test_english_documents_meet_the_same_decision(
    documents: list[dict[str, Any]], columns: pa.RecordBatch, preset: Preset, family: str
) -> None:
    number, share = agreement(documents, columns, preset, family, "en")
    assert number > 400
    assert share >= 0.98
    _, everywhere = agreement(documents, columns, preset, family, "")
    assert everywhere >= 0.95


def test_english_words_number_the_same_within_a_percent(
    documents: list[dict[str, Any]], columns: pa.RecordBatch
) -> None:
    """Both sides count words without punctuation; mean lengths follow."""
    ours = [columns.column(name).to_pylist() for name in ("words", "mean_word_length", "alphabetic_words")]
    differences = []
    for document, *values in zip(documents, *ours, strict=True):
        if str(document["lang"]).startswith("en"):
            peer = document["datatrove"]["eng"]["quality"]
            theirs = (peer["n_non_symbol_words"], peer["avg_word_length"], peer["alpha_words_ratio"])
            differences.append([abs(value - other) / other for value, other in zip(values, theirs, strict=True)])
    assert np.mean(differences, axis=0) == pytest.approx(0, abs=0.01)
    assert np.quantile(differences, 0.95, axis=0) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("kind", ["line", "para"])
def test_lines_and_paragraphs_repeat_exactly_as_the_peer_has_it(
    documents: list[dict[str, Any]], columns: pa.RecordBatch, kind: str
) -> None:
    """The peer counts the empty line behind a last line feed; texts that have one are left out of its share of lines."""
    compared = 0
    for row, document in enumerate(documents):
        for theirs in (f"dup_{kind}_frac", f"dup_{kind}_char_frac"):
            outer = document["text"] != document["text"].strip("\n" if theirs == "dup_line_frac" else None)
            value = document["datatrove"]["eng"]["repetition"][theirs]
            if not outer and value is not None:
                assert columns.column(RATIOS[theirs])[row].as_py() == np.float32(value), document["key"]
                compared += 1
    assert compared > 2 * 1000


def test_english_n_grams_repeat_as_much_as_the_peer_has_it(
    documents: list[dict[str, Any]], columns: pa.RecordBatch
) -> None:
    """Words differ here and there, so shares do. Documents shorter than Gopher's 50 words are left out.

    So are those most frequent n-grams of the peer that occur once: they repeat nothing.
    """
    differences = []
    for row, document in enumerate(documents):
        peer = document["datatrove"]["eng"]
        if str(document["lang"]).startswith("en") and peer["quality"]["n_non_symbol_words"] >= 50:
            for name, value in peer["repetition"].items():
                ours = columns.column(RATIOS[name])[row].as_py()
                if name.endswith("_gram") and (ours or name.startswith("dup")):
                    differences.append(abs(ours - (value or 0)))
    assert len(differences) > 3000
    assert np.mean(differences) < 0.002
    assert np.quantile(differences, 0.99) < 0.015
