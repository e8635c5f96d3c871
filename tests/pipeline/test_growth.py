"""No stage holds what grows with the corpus: eight times the pieces cost each stage a few kilobytes more for each piece.

Pieces, samples, shards and buckets are made tiny, so that both corpora are larger than all of them.
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from pipeline import numbering
from pipeline.recipe import parse
from pipeline.run import run
from pipeline.stages import STAGES, limits, parts, reading, similar
from tests.pipeline.corpora import documents, recipe, write_jsonl

PIECE_ROWS, PIECES, TIMES = 8, 6, 8
BUCKET_BYTES = 350_000
"""Of vectors alone the larger corpus has more, and a bucket holds each a few times."""
BYTES_PER_PIECE = 3000
"""What a stage may hold for each piece beyond what it holds for the smaller corpus: a message or two."""


def peaks(folder: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Return the most that one call of each stage had allocated at a time, on a corpus of so many pieces."""
    found: dict[str, int] = {}

    def measured(name: str, stage: Any) -> Any:
        def run_stage(*arguments: Any) -> list[Any]:
            tracemalloc.start()  # here alone: what the runner allocates need not be followed
            try:
                messages = list(stage(*arguments))
                found[name] = max(found.get(name, 0), tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
            return messages

        return run_stage

    for piece in range(count):
        own = documents(PIECE_ROWS, start=piece * PIECE_ROWS)
        write_jsonl(folder / ("web", "books")[piece % 2] / f"{piece:04}.jsonl", own)
    corpora = {name: {"read": {"format": "jsonl", "paths": f"{name}/*"}} for name in ("web", "books")}
    sample = {"semantic": {"clusters": 3}, "mixture": {"web": 1, "books": 1}}
    whole = recipe(corpora=corpora, sample=sample, shards={"tokenizer": {"train": 300}, "tokens": 5000})
    with monkeypatch.context() as patch:
        for name, stage in list(STAGES.items()):
            patch.setitem(STAGES, name, measured(name, stage))
        outcome = run(parse(whole, base=str(folder)), str(folder / "run"))
    assert len(list((folder / "run" / "ledger").iterdir())) == count
    assert outcome.manifest["documents"]["read"] == count * PIECE_ROWS
    return found


def test_eight_times_the_pieces_cost_a_stage_a_few_kilobytes_for_each(tmp_path, monkeypatch):
    for module, name, value in (
        (numbering, "GROUP_UNITS", 4),
        (reading, "PIECE_ROWS", PIECE_ROWS),
        (limits, "FIT_ROWS", 32),
        (limits, "TRAIN_CHARACTERS", 10_000),
        (similar, "BUCKET_ROWS", 32),
        (similar, "LEAST_BUCKETS", 1),
        (parts, "BUCKET_BYTES", 16_000),
        (parts, "LEAST", 1),
        (similar, "CELL_ROWS", 16),
        (similar, "MOST_ROWS", 32),
    ):
        monkeypatch.setattr(module, name, value)
    peaks(tmp_path / "warm", 2, monkeypatch)
    small = peaks(tmp_path / "small", PIECES, monkeypatch)
    large = peaks(tmp_path / "large", TIMES * PIECES, monkeypatch)
    more = {name: (large[name] - peak) / ((TIMES - 1) * PIECES) for name, peak in small.items()}
    assert set(more) >= {"set_limits", "fit_clusters", "make_tokenizer", "reach_mixture", "fill_shards", "publish"}
    assert more.pop("thin_bucket") * (TIMES - 1) * PIECES < BUCKET_BYTES  # a bucket of few is larger than the mean
    assert {name: round(bytes) for name, bytes in more.items() if bytes > BYTES_PER_PIECE} == {}
