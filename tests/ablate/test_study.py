"""One arm: equal data gives equal numbers, longer runs begin alike, and every job says what it is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ablate.arms import CLEAN, CURATED, RANDOM, RAW, Comparison, prepared
from ablate.compare import at_loss_of_arm, at_loss_of_reference
from ablate.folder import Folder
from ablate.study import Average, Job, study
from loader.choice import DataError
from tests.ablate.conftest import corpora, noisy
from train.config import Config
from train.model import Decoder

TOKENS = 64 * 4 * 6


@pytest.fixture
def compare(make_config: Callable[..., Config], tmp_path: Path) -> Callable[..., Comparison]:
    """A function that prepares a comparison of these folders with a small model."""

    def make(folders: dict[str, Folder], tokens: int = TOKENS, longer: float = 1, seeds: int = 1) -> Comparison:
        return prepared(folders, tmp_path / "out", make_config(), tokens, longer, range(seeds), 1)

    return make


def job_of(comparison: Comparison, arm: str) -> Job:
    return next(job for job in comparison.jobs if job.arm == arm)


def quietly(step: int, loss: float) -> None:
    pass


def test_the_same_folder_in_both_arms_gives_equal_numbers(
    folder: Callable[..., Folder], compare: Callable[..., Comparison]
):
    found = compare({RAW: folder("raw"), CURATED: folder("curated"), "peer": folder("peer", shards=2)}, longer=2)
    raw, curated, peer = (study(job_of(found, arm), quietly) for arm in (RAW, CURATED, "peer"))
    assert at_loss_of_arm(peer, curated, job_of(found, CURATED).steps).value == 1
    assert at_loss_of_reference(raw, curated, job_of(found, CURATED).steps).value == 1
    assert raw["curve"][: len(curated["curve"])] == curated["curve"]
    assert len(raw["curve"]) > len(curated["curve"])
    assert len(curated["curve"]) == 1 + 6
    for key in ("others", "cloze", "recited", "tokens", "epochs", "training_loss"):
        assert raw[key] == curated[key] == peer[key], key
    again = study(job_of(found, CURATED), quietly)
    assert again["curve"] == curated["curve"]


def test_an_average_is_of_the_last_tenth_about(make_decoder: Callable[..., Decoder]):
    decoder, weight = make_decoder(1), "model.norm.weight"
    average = Average(decoder)
    seen = []
    for step in range(200):
        decoder.state_dict()[weight].fill_(float(step))
        average.hear(decoder, step)
        seen.append(float(average.decoder.state_dict()[weight][0]))
    assert seen[0] == 0
    assert all(step * 0.8 < value < step for step, value in enumerate(seen) if step > 20)
    assert torch.equal(average.decoder.lm_head.weight, decoder.lm_head.weight)


def test_no_arm_trains_on_what_is_measured_or_held_out(
    folder: Callable[..., Folder], compare: Callable[..., Comparison]
):
    folders = {RAW: folder("raw", noisy(corpora()), shards=1), CURATED: folder("curated")}
    found = compare(folders, seeds=2)
    assert [(job.arm, job.seed) for job in found.jobs] == [
        (arm, seed) for arm in (RAW, CURATED, RANDOM) for seed in (0, 1)
    ]
    measured = {one for ones in job_of(found, RAW).clean["documents"].values() for one in ones}
    apart = {job.arm: np.load(job.apart) for job in found.jobs}
    assert apart[CURATED][sorted(measured)].all()
    held = {folders[CURATED].tokens(document).tobytes() for document in measured}
    trained = np.flatnonzero(~apart[RAW])
    assert not any(folders[RAW].tokens(document).tobytes() in held for document in trained)
    assert found.arms[RAW].near_copies > 0
    assert (apart[RANDOM] | ~apart[RAW]).all()
    asked = found.arms[CURATED].trained_tokens
    assert found.arms[RANDOM].trained_tokens >= asked
    first, second = (np.load(job.apart) for job in found.jobs if job.arm == RANDOM)
    assert (first != second).any()


def test_a_clean_folder_is_what_is_measured(folder: Callable[..., Folder], compare: Callable[..., Comparison]):
    texts = corpora()
    clean = {"code": texts["code"][:9]}
    found = compare({RAW: folder("raw"), CURATED: folder("curated"), CLEAN: folder("clean", clean)})
    job = job_of(found, CURATED)
    assert job.clean["documents"]["code"] != []
    assert sorted(job.clean["documents"]) == ["code"]
    assert sorted(job.others) == [CURATED, RAW]
    assert found.arms[CURATED].near_copies >= 8
    assert "raw trains on reference, of which there is nothing to measure" in found.notes


def test_what_a_reader_must_know_is_noted(folder: Callable[..., Folder], compare: Callable[..., Comparison]):
    texts = corpora()
    raw, curated = (
        folder("raw", {"code": texts["code"]}),
        folder("curated", {name: ones[:40] for name, ones in texts.items()}),
    )
    notes = compare({RAW: raw, CURATED: curated}, tokens=2_000_000).notes
    assert any(note.startswith("raw trains on nothing of reference") for note in notes)
    assert any(note.startswith("curated is read ") for note in notes)
    assert any(note.startswith("one seed has no range") for note in notes)


def test_nothing_to_measure_is_refused(folder: Callable[..., Folder], compare: Callable[..., Comparison]):
    one = {"web": ["one document of text and no other"]}
    with pytest.raises(DataError, match="leaves none to hold out"):
        compare({RAW: folder("raw"), CURATED: folder("curated", one, shards=1)})


def test_a_job_is_known_by_what_it_computes(folder: Callable[..., Folder], compare: Callable[..., Comparison]):
    job = job_of(compare({RAW: folder("raw"), CURATED: folder("curated")}), RAW)
    again = Job(**json.loads(json.dumps(dataclasses.asdict(job))))
    assert again == job
    assert again.identity() == job.identity()
    assert dataclasses.replace(job, threads=2).identity() == job.identity()
    for change in ({"seed": 7}, {"steps": 5}, {"arm": "other"}, {"others": {}}):
        assert dataclasses.replace(job, **change).identity() != job.identity()
