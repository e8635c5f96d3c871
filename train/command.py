"""`corpusmill train`: from a run folder to a model, its held-out losses, and a sample of its text.

Nothing here is imported before it is needed: the command's help does not wait for torch.
"""

from __future__ import annotations

import argparse
import os
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranks.launch import launch

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.shards import Shards
    from train.evaluate import Labels
    from train.loop import Trained

FAILED = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command understands to a parser."""
    parser.add_argument("run", help="a run folder, or a folder of shards")
    parser.add_argument("--out", help="where the model goes (default: RUN/model)")
    parser.add_argument("--preset", default="tiny-cpu", help="model and training: tiny-cpu (default), 100m, v3-671b")
    parser.add_argument(
        "--micro-batch",
        type=int,
        dest="micro_batch_sequences",
        metavar="ROWS",
        help="rows of a step computed at once, the less memory the fewer (default: the preset's)",
    )
    parser.add_argument("--steps", type=int, help="training steps (default: the preset's)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order of the data (default: 0)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the model's folder")
    parser.add_argument("--optimiser", help="adamw or muon (default: the preset's, adamw)")
    parser.add_argument("--mixture", default="", metavar="CORPUS=SHARE,…", help="of the rows read (default: by size)")
    parser.add_argument("--epochs", default="", metavar="N,CORPUS=N,…", help="of a corpus, at most (default: 4)")
    parser.add_argument(
        "--exclude",
        nargs="+",
        action="extend",
        default=[],
        metavar="ID",
        help="leave out the documents of this id or url; @FILE names a file with one a line",
    )
    parser.add_argument(
        "--buckets",
        action="append",
        default=[],
        metavar="COLUMN",
        help="show held-out losses by a column of the run's ledger: quarters of a number, or its values",
    )
    parser.add_argument("--processes", type=int, default=1, help="on this machine that train together (default: 1)")
    parser.add_argument(
        "--expert-parallel", type=int, default=1, metavar="N", help="processes that hold a layer's experts between them"
    )
    parser.add_argument("--tensorboard", action="store_true", help="write events for TensorBoard beside metrics.jsonl")
    parser.add_argument("--sample", type=int, default=80, metavar="N", help="tokens to write at the end (default: 80)")


def run(arguments: argparse.Namespace, bucket: Callable[[str, str], Labels] | None = None) -> int:
    """Train as the arguments say; return 0, or 2 after one line that says what is wrong.

    `bucket` says of a run and a column of its ledger which bucket each document of the shards is in.
    """
    from importlib.util import find_spec

    missing = [name for name in ("torch", "safetensors") if find_spec(name) is None]
    if missing:
        return _fail(f"training needs {' and '.join(missing)}: pip install 'corpusmill[train]'")
    if arguments.tensorboard and find_spec("tensorboard") is None:
        return _fail("--tensorboard needs tensorboard: pip install 'corpusmill[tensorboard]'")
    if "://" in arguments.run:
        return _fail(
            f"{arguments.run}: training maps shards into memory, so they must be on a local disk; fetch them first: "
            f"python -c \"import fsspec; files, path = fsspec.url_to_fs('{arguments.run.rstrip('/')}/shards/'); "
            "files.get(path, 'shards/', recursive=True)\", and train on the folder shards"
        )
    folder = Path(arguments.run)
    if not (folder / "shards").is_dir() and not (folder / "manifest.json").is_file():
        return _fail(f"{folder}: no shards there; `corpusmill run RECIPE --out {folder}` makes a run folder")
    if (folder / "over-budget.json").is_file() and not (folder / "manifest.json").is_file():
        return _fail(
            f"{folder}: the run rejected more records than its budget allows, and published no manifest; "
            f"`corpusmill train {folder}/shards` trains on what it kept all the same"
        )
    for option, least, most in (("processes", 1, 2**16), ("seed", -(2**63), 2**64 - 1)):
        if not least <= getattr(arguments, option) <= most:
            return _fail(f"--{option} {getattr(arguments, option)}: it lies between {least} and {most}")
    try:
        if arguments.processes > 1 and "RANK" not in os.environ:
            return launch(arguments.processes, _train, arguments, bucket)
        return _train(arguments, bucket)
    except KeyboardInterrupt:
        print("interrupted; a checkpoint, if there is one, is what --resume goes on from", file=sys.stderr)
        return 130


def _train(arguments: argparse.Namespace, bucket: Callable[[str, str], Labels] | None) -> int:
    """Train as one process of as many as the environment says. The first speaks for all."""
    from dataclasses import replace

    from safetensors import SafetensorError

    from loader.choice import DataError
    from pipeline.shards import ShardError, Shards
    from ranks.group import ALONE, ElsewhereError, RanksError, join, leave, lost
    from train.about import CheckpointError
    from train.config import Config, ConfigError, preset
    from train.export import export
    from train.hardware import best_device
    from train.loop import TrainingError, train

    folder, ranks = Path(arguments.run), ALONE
    shards_folder = folder / "shards" if (folder / "shards").is_dir() else folder
    out = Path(arguments.out) if arguments.out else folder / "model"
    ours = (ShardError, CheckpointError, ConfigError, DataError, TrainingError, RanksError)
    try:
        ranks = join(os.environ, best_device(), arguments.expert_parallel)
        with ranks.together():
            shards = Shards.open(shards_folder)
            config = preset(arguments.preset, shards.vocabulary_size)
            config = Config(config.model, replace(config.training, **_changes(arguments)))
            labels = {column: bucket(str(folder), column) for column in arguments.buckets} if bucket else {}
            given = {"exclude": _names(arguments.exclude), "labels": labels, "tensorboard": arguments.tensorboard}
        trained = train(shards, out, config, arguments.seed, arguments.resume, **given, ranks=ranks)
        leave()
        if ranks.is_first and not trained.interrupted:
            export(trained.decoder, out / "huggingface", shards.tokenizer_json.decode(), shards.end_of_text)
    except ElsewhereError:
        return FAILED
    except (*ours, SafetensorError, OSError) as error:
        return _fail(str(error))
    except RuntimeError as error:
        if ranks.count == 1 or not lost(error):
            raise
        return _fail(f"process {ranks.rank} of {ranks.count} lost another; --resume goes on from the last checkpoint")
    if not ranks.is_first:
        return 130 if trained.interrupted else 0
    if trained.interrupted:
        print(f"interrupted after step {trained.steps}; --resume goes on from there", file=sys.stderr)
        return 130
    _tell(trained, out)
    if arguments.sample > 0:
        print(f"\nsample: {safe(_sample(trained, shards, arguments.sample, arguments.seed))}")
    return 0


def _changes(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of a training that the arguments change."""
    from train.config import ConfigError

    given = {name: getattr(arguments, name) for name in ("steps", "optimiser", "micro_batch_sequences")}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        shares = {name: float(value) for name, value in _pairs(arguments.mixture).items()}
        epochs = {name: int(value) for name, value in _pairs(arguments.epochs).items()}
    except ValueError:
        raise ConfigError("--mixture reads web=0.7,code=0.3, and --epochs reads 4,code=8, no name twice") from None
    bound = {"epochs": epochs.pop("")} if "" in epochs else {}
    return {**changes, "mixture": shares, "corpus_epochs": epochs, **bound}


def _pairs(text: str) -> dict[str, str]:
    """Return the values by name of `name=value,…`, each name once; a value alone has the name ''."""
    pairs = [one.rpartition("=") for one in text.split(",") if one.strip()]
    found = {name.strip(): value for name, _, value in pairs}
    if len(found) < len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _names(given: list[str]) -> set[str]:
    """Return the names given, and those that the files given as @FILE hold, one a line."""
    files = [Path(one[1:]) for one in given if one.startswith("@")]
    lines = [line for file in files for line in file.read_text(encoding="utf-8", errors="replace").split("\n")]
    return {*(one for one in given if not one.startswith("@")), *(line.rstrip("\r") for line in lines)} - {""}


def _tell(trained: Trained, out: Path) -> None:
    print(f"\n{'held out':<28}{'tokens':>10}{'nats/token':>22}{'bits/byte':>22}")
    for corpus, last in trained.last.items():
        first = trained.first[corpus]
        nats = f"{first.nats_per_token:.3f} → {last.nats_per_token:.3f}"
        bits = f"{first.bits_per_byte:.3f} → {last.bits_per_byte:.3f}"
        print(f"{safe(corpus):<28}{last.tokens:>10,}{nats:>22}{bits:>22}")
    print(f"{trained.steps} steps, {trained.tokens_per_second:,.0f} tokens/s; model: {out}")


def _sample(trained: Trained, shards: Shards, most: int, seed: int) -> str:
    from tokenizers import Tokenizer

    from train.generate import generate

    tokens = generate(trained.decoder, [shards.end_of_text], most, 0.7, seed, shards.end_of_text)
    return str(Tokenizer.from_str(shards.tokenizer_json.decode()).decode(tokens))


def safe(text: str) -> str:
    """Return text with everything that could act on a terminal made visible; line feeds stay."""
    acts = ("C", "Zl", "Zp")
    return "".join(f"\\u{{{ord(c):x}}}" if c != "\n" and unicodedata.category(c).startswith(acts) else c for c in text)


def _fail(message: str) -> int:
    print(safe(message).replace("\n", "\\n"), file=sys.stderr)
    return FAILED
