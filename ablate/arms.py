"""The arms of a comparison: what each may train on, what is measured, and the jobs that follow.

What is measured is a clean folder of its own or, without one, the curated folder's held-out documents. Held-out documents
are in no arm, and neither are near-copies of what is measured. The held-out documents of raw, and of curated beside a clean
folder, are measured once as well, as they are: near-copies of them stay in the arms, since raw data is full of copies.

Shapes: D documents of a folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ablate.folder import Folder, same_tokenizer
from ablate.held_out import held_out, limits, measured
from ablate.overlap import Runs, near_copies
from ablate.study import Job, Measured, settings_for
from loader.choice import HELD_OUT_SHARE, DataError
from train.config import Config

RAW, CURATED, RANDOM, CLEAN = "raw", "curated", "random", "clean"
MANY_EPOCHS = 4  # more repetition is worth little (Muennighoff et al. 2023)


@dataclass(frozen=True)
class About:
    """What became of a folder's documents before training."""

    folder: str
    documents: int
    tokens: int
    held_out: int
    near_copies: int
    near_copy_tokens: int
    trained_on: int
    trained_tokens: int
    corpora: dict[str, int]  # tokens to train on


@dataclass(frozen=True)
class Comparison:
    """The jobs, what the arms are, what is measured on how many documents, and what a reader must know."""

    jobs: list[Job]
    arms: dict[str, About]
    measured: dict[str, int]
    others: dict[str, dict[str, int]]
    notes: list[str]


def prepared(
    folders: Mapping[str, Folder],
    out: Path,
    preset: Config,
    tokens: int,
    longer: float,
    seeds: Sequence[int],
    threads: int,
) -> Comparison:
    """Choose what every arm trains on and write it below `out`. Raises DataError where arms cannot be compared.

    `folders` has a raw and a curated one, and may have a clean one to measure on. Of the raw one, the random arm of each
    seed is drawn.
    """
    same_tokenizer({CURATED: folders[CURATED], **folders})
    per_step = preset.training.batch_sequences * preset.training.sequence_length
    steps, most = -(-tokens // per_step), -(-round(tokens * longer) // per_step)
    config = settings_for(preset, most)
    wanted = config.training.evaluation_sequences * config.training.sequence_length
    arm_folders = {name: folder for name, folder in folders.items() if name != CLEAN}
    held = _held_out(folders, wanted)
    sets = {name: _measured(folders[name], held[name], wanted) for name in (CLEAN, RAW, CURATED) if name in folders}
    clean = sets.pop(CLEAN if CLEAN in folders else CURATED)
    if not clean["documents"]:
        raise DataError(f"{clean['folder']}: one document a corpus leaves none to hold out and measure")
    reference = folders[CLEAN if CLEAN in folders else CURATED]
    runs = Runs.of(reference.tokens(one) for documents in clean["documents"].values() for one in documents)
    (out / "arms").mkdir(parents=True, exist_ok=True)
    apart, arms = {}, {}
    for name, folder in arm_folders.items():
        copies_D = near_copies(folder, ~held[name], runs)
        apart[name] = held[name] | copies_D
        arms[name] = _about(folder, apart[name], held[name], copies_D)
        if not arms[name].trained_tokens:
            raise DataError(f"{folder.path}: nothing is left to train on once held-out documents and copies are out")
    room = arms[CURATED].trained_tokens
    drawn = {seed: folders[RAW].drawn(room, seed, ~apart[RAW]) for seed in seeds}
    none = np.zeros(len(folders[RAW]), bool)
    arms[RANDOM] = _about(folders[RAW], ~drawn[seeds[0]], none, none)
    jobs = []
    for name in (RAW, CURATED, RANDOM, *(other for other in arms if other not in (RAW, CURATED, RANDOM))):
        folder = folders[RAW if name == RANDOM else name]
        for seed in seeds:
            file = out / "arms" / (f"{name}-{seed}.npy" if name == RANDOM else f"{name}.npy")
            np.save(file, ~drawn[seed] if name == RANDOM else apart[name], allow_pickle=False)
            own = most if name == RAW else steps
            jobs.append(
                Job(name, seed, str(folder.path), str(file), clean, sets, config.to_json(), steps, own, threads)
            )
    counts = {corpus: len(ones) for corpus, ones in clean["documents"].items()}
    others = {name: {corpus: len(ones) for corpus, ones in one["documents"].items()} for name, one in sets.items()}
    return Comparison(jobs, arms, counts, others, _notes(arms, counts, steps * per_step, seeds))


def _held_out(folders: Mapping[str, Folder], tokens: int) -> dict[str, np.ndarray]:
    """Return which documents of each folder are not trained on: all of a clean one, else by their hashes."""
    if CLEAN in folders:
        limit = {corpus: int(HELD_OUT_SHARE * 2**64) for folder in folders.values() for corpus in folder.corpora}
    else:
        limit = limits(folders[CURATED], tokens)
    return {
        name: np.ones(len(folder), bool) if name == CLEAN else held_out(folder, limit)
        for name, folder in folders.items()
    }


def _measured(folder: Folder, held_D: np.ndarray, tokens: int) -> Measured:
    documents = {corpus: ones.tolist() for corpus, ones in measured(folder, held_D, tokens).items()}
    return Measured(folder=str(folder.path), documents=documents)


def _about(folder: Folder, apart_D: np.ndarray, held_D: np.ndarray, copies_D: np.ndarray) -> About:
    tokens = folder.tokens_D
    corpora = {
        corpus: int(tokens[~apart_D & (folder.corpus_D == number)].sum())
        for number, corpus in enumerate(folder.corpora)
    }
    return About(
        folder=str(folder.path),
        documents=len(folder),
        tokens=int(tokens.sum()),
        held_out=int(held_D.sum()),
        near_copies=int(copies_D.sum()),
        near_copy_tokens=int(tokens[copies_D].sum()),
        trained_on=int((~apart_D).sum()),
        trained_tokens=int(tokens[~apart_D].sum()),
        corpora={corpus: count for corpus, count in corpora.items() if count},
    )


def _notes(arms: Mapping[str, About], measured: Mapping[str, int], tokens: int, seeds: Sequence[int]) -> list[str]:
    notes = []
    for name, about in arms.items():
        missing = sorted({*measured} - {*about.corpora})
        if missing:
            notes.append(f"{name} trains on nothing of {', '.join(missing)}, which is measured all the same")
        unmeasured = sorted({*about.corpora} - {*measured})
        if unmeasured:
            notes.append(f"{name} trains on {', '.join(unmeasured)}, of which there is nothing to measure")
        epochs = tokens / about.trained_tokens
        if epochs > MANY_EPOCHS:
            notes.append(f"{name} is read {epochs:.1f} times: more than {MANY_EPOCHS} are worth little")
    if arms[RANDOM].trained_tokens < arms[CURATED].trained_tokens:
        notes.append("raw has fewer tokens than curated: the random subset is all of it")
    few = sorted(corpus for corpus, documents in measured.items() if documents < 4)
    if few:
        notes.append(f"{', '.join(few)}: fewer than 4 documents to measure, too few for a cloze test")
    if len(seeds) < 2:
        notes.append("one seed has no range: what it shows may be chance")
    return notes
