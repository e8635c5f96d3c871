"""The command: `corpusmill run|plan|check|report|why|train|ablate|trace|export|demo`.

Exit codes: 0 done, 2 a recipe, run or input that cannot be used, 3 more records rejected than the budget allows.
Modules are imported by the verb that needs them: help takes no longer than Python's own start.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

USAGE, OVER_BUDGET = 2, 3


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command."""
    from ablate.command import add_arguments as add_ablation
    from train.command import add_arguments

    root = argparse.ArgumentParser(
        prog="corpusmill",
        description="Curate web, books and code into pretraining shards, with a receipt for every document.",
        epilog="Example: corpusmill run recipe.yaml --out run/   then: corpusmill why run/ DOCUMENT",
    )
    verbs = root.add_subparsers(dest="verb", metavar="VERB", required=True)

    run = verbs.add_parser("run", help="curate: run a recipe into a folder")
    run.add_argument("recipe", help="the recipe, a YAML file or its URL")
    run.add_argument(
        "--out", required=True, help="the run folder, local or s3://…; a finished or broken run there is taken up again"
    )
    run.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    run.add_argument("--quiet", action="store_true", help="no progress, only the result")
    run.add_argument("--engine", metavar="dask://HOST:PORT", help="run on the Dask cluster whose scheduler is there")
    run.epilog = "After `--`: options of the Beam runner, such as --runner=…"

    for verb, text in (
        ("plan", "show what a run would read and do"),
        ("check", "check a recipe, and name every fault"),
    ):
        verbs.add_parser(verb, help=text).add_argument("recipe")

    report = verbs.add_parser("report", help="write report.html of a run anew, and say where it is")
    report.add_argument("run")

    why = verbs.add_parser("why", help="say why a document was kept or dropped")
    why.add_argument("run")
    why.add_argument("document", help="its id or url")

    add_arguments(verbs.add_parser("train", help="train a mixture of experts on the shards of a run"))

    add_ablation(verbs.add_parser("ablate", help="train on raw and curated text, and say how much curation helps"))

    trace = verbs.add_parser("trace", help="say what a training step learned from, or which steps read a document")
    trace.add_argument("run")
    trace.add_argument("step", type=int, nargs="?", help="the step, counted from 1")
    trace.add_argument("--document", metavar="ID", help="an id or url: say which steps so far have read it")
    trace.add_argument("--model", help="the folder of the training (default: RUN/model)")
    trace.add_argument("--json", action="store_true", help="the step's stretches of documents, one object a line")

    export = verbs.add_parser("export", help="copy a run's shards into another trainer's format")
    export.add_argument("run", help="a run folder, or a folder of shards")
    export.add_argument(
        "--format",
        required=True,
        choices=("ds", "megatron", "npy", "olmo", "mds"),
        help="ds (datatrove, nanotron), megatron (.bin, .idx), npy (NumPy), olmo (bare ids), mds (MosaicML)",
    )
    export.add_argument("--out", required=True, help="a folder that is empty or not there")

    demo = verbs.add_parser("demo", help="curate and train on what every machine has, offline")
    demo.add_argument("--out", default="demo-run", help="where to put it (default: demo-run)")
    demo.add_argument("--steps", type=int, default=200, help="training steps (default: 200)")
    return root


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    # A user's own pipeline.py or train.py in the current folder must not shadow ours in worker processes.
    os.environ["PYTHONSAFEPATH"] = "1"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # OpenMP threads that wait shall sleep: spinning made a training step five times dearer on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = sys.argv[1:] if arguments is None else arguments
    ours = given[: given.index("--")] if "--" in given else given
    if ours[:2] == ["train", "ablate"]:
        ours = ours[1:]  # a run folder of that name is ./ablate
    chosen = parser().parse_args(ours)
    chosen.options = (
        given[given.index("--") + 1 :] if "--" in given else []
    )  # argparse itself would only take them right behind the recipe
    if chosen.options and chosen.verb != "run":
        return fail(f"corpusmill {chosen.verb} takes no options of a runner: {' '.join(chosen.options)}")
    from pipeline.remote import RemoteError

    try:
        return VERBS[chosen.verb](chosen)
    except RemoteError as error:
        return fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130


def fail(message: str, code: int = USAGE) -> int:
    """Print what is wrong, safely, and return the exit code."""
    from pipeline.terminal import safe

    for line in message.splitlines():
        print(safe(line), file=sys.stderr)
    return code


def _silence_libraries() -> None:
    """Hide what Beam warns of at import, and its account of a failure: what goes wrong is raised, and written down."""
    import logging

    logging.getLogger().setLevel(logging.CRITICAL)


def _leave_when_interrupted() -> None:
    """From now on end at once on Ctrl-C and SIGTERM, as a killed run ends: files appear whole or not at all.

    Beam would first wait for its workers, and a worker that is just starting never answers it. Workers end when their
    driver is gone.
    """
    import signal

    terminal = os.dup(2)  # while a run goes on, stderr may be a file

    def leave(number: int, frame: object) -> None:
        os.write(terminal, b"\ninterrupted; run the same command again to go on\n")
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)


def _run(arguments: argparse.Namespace) -> int:
    from pipeline import starting

    starting.start()  # before numpy is imported

    from pipeline.engine import EngineError, options_of
    from pipeline.manifest import RunError
    from pipeline.recipe import load
    from pipeline.recipe_yaml import RecipeError
    from pipeline.run import run, summary

    _silence_libraries()
    if arguments.workers < 1:
        return fail("--workers: at least 1 is wanted")
    _leave_when_interrupted()
    try:
        options = [*(options_of(arguments.engine) if arguments.engine else []), *arguments.options]
        recipe = load(arguments.recipe)
        if not recipe.plugins:
            starting.do_without_pandas()
        outcome = run(recipe, arguments.out, arguments.workers, options, arguments.quiet)
    except (EngineError, RecipeError, RunError) as error:
        return fail(str(error))
    print(summary(outcome))
    if outcome.over_budget:
        return fail(outcome.budget_message(), OVER_BUDGET)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from pipeline.recipe import load
    from pipeline.recipe_yaml import RecipeError

    try:
        recipe = load(arguments.recipe)
    except RecipeError as error:
        return fail(str(error))
    print(f"{arguments.recipe}: no fault found; corpora: {', '.join(recipe.corpora)}")
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    from pipeline.earlier import EarlierRunError
    from pipeline.plan import make_plan
    from pipeline.read import SourceError
    from pipeline.recipe import load
    from pipeline.recipe_yaml import RecipeError
    from pipeline.run import described

    try:
        print(described(make_plan(load(arguments.recipe), ".")[0]))
    except (RecipeError, SourceError, EarlierRunError) as error:
        return fail(str(error))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from pipeline.manifest import RunError
    from pipeline.report import write_report

    try:
        print(write_report(arguments.run))
    except RunError as error:
        return fail(str(error))
    return 0


def _why(arguments: argparse.Namespace) -> int:
    from pipeline.manifest import RunError
    from pipeline.why import why

    try:
        print(why(arguments.run, arguments.document))
    except RunError as error:
        return fail(str(error))
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from pipeline.buckets import buckets
    from pipeline.manifest import RunError
    from train.command import run

    try:
        return run(arguments, buckets)
    except RunError as error:
        return fail(str(error))


def _ablate(arguments: argparse.Namespace) -> int:
    from ablate.command import run

    return run(arguments)


def _trace(arguments: argparse.Namespace) -> int:
    from pipeline.trace import TraceError, as_json, opened, seen, told

    if (arguments.step is None) == (arguments.document is None):
        return fail("trace wants a step, or --document with an id or url")
    try:
        training = opened(arguments.run, arguments.model)
        if arguments.document is not None:
            lines = seen(training, arguments.document)
        else:
            lines = (as_json if arguments.json else told)(training, arguments.step)
        for line in lines:
            print(line)
    except (TraceError, OSError) as error:
        return fail(str(error))
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from pipeline.convert import convert
    from pipeline.shards import ShardError, Shards

    root = Path(arguments.run)
    try:
        shards = Shards.open(root / "shards" if (root / "shards").is_dir() else root)
        size = convert(shards, arguments.format, Path(arguments.out))
    except ShardError as error:
        return fail(str(error))
    except OSError as error:
        return fail(f"{arguments.out}: cannot be written: {error.strerror or error}")
    documents = sum(info.documents for info in shards.infos)
    print(
        f"{arguments.format}: {documents:,} documents, {shards.total_tokens:,} tokens, {size:,} bytes in {arguments.out}"
    )
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from pipeline.demo import demo

    _silence_libraries()
    return demo(Path(arguments.out), arguments.steps, main)


VERBS = {
    "run": _run,
    "check": _check,
    "plan": _plan,
    "report": _report,
    "why": _why,
    "train": _train,
    "ablate": _ablate,
    "trace": _trace,
    "export": _export,
    "demo": _demo,
}

if __name__ == "__main__":
    sys.exit(main())
