"""One execution: from a recipe to a published run folder, and what it came to."""

from __future__ import annotations

import errno
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pipeline import manifest, starting
from pipeline.evaluation import write_items
from pipeline.manifest import RunError
from pipeline.plan import Plan, make_plan, sources_table, write_lists
from pipeline.read import SourceError
from pipeline.read.listing import is_listing
from pipeline.recipe import Recipe
from pipeline.remote import RemoteError, is_url
from pipeline.report import write_report
from pipeline.statistics import STEPS
from pipeline.store import Store
from pipeline.workers import Workers, active

LARGE = 64 << 20
"""Bytes of a unit of work from which a plan says that it will be long: units are cut at half of that where they can be."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `already` says that it was finished before, and nothing was done."""

    root: str
    manifest: Mapping[str, Any]
    seconds: float
    already: bool
    over_budget: bool

    def budget_message(self) -> str:
        rejected, read = self.manifest["documents"]["rejected"], self.manifest["documents"]["read"]
        share = manifest.share_rejected(self.manifest)
        allowed = self.manifest["recipe"]["budget"]["rejects"]
        return (
            f"{rejected} of {read + rejected} records were rejected ({share:.2%}); the recipe's budget.rejects allows "
            f"{allowed:.2%}. {self.root}/rejects/ lists them; no {manifest.NAME} was published."
        )


def run(recipe: Recipe, out: str, workers: int = 1, options: Sequence[str] = (), quiet: bool = True) -> Outcome:
    """Run a recipe into the folder `out`; take up a broken run there; do nothing if it is finished already.

    Raises RunError, and pipeline.remote.RemoteError where `out` is on storage that cannot be used.
    """
    from pipeline.earlier import EarlierRunError

    started = time.monotonic()
    try:
        plan, inputs = make_plan(recipe, out if is_url(out) else os.path.abspath(out))
    except (SourceError, EarlierRunError) as error:
        raise RunError(str(error)) from None
    store = Store(out)
    for name in (manifest.NAME, manifest.OVER_BUDGET):
        if store.exists(name):
            found = store.read_json(name)
            if found.get("run") == plan.key:
                return Outcome(out, found, time.monotonic() - started, True, name == manifest.OVER_BUDGET)
    try:
        store.clear_temporary()
        store.write("recipe.yaml", recipe.to_yaml())
        lists = write_lists(plan, inputs, store)
        store.write_table("sources.parquet", sources_table(plan, inputs))
    except RemoteError:
        raise  # it says where and what itself
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror or error}") from None
    if plan.evaluations:
        try:
            write_items(recipe, plan.evaluations, store, plan.evaluation_items)
        except SourceError as error:
            raise RunError(str(error)) from None
    if not quiet:
        for note in notes(recipe):
            print(note, file=sys.stderr, flush=True)
    seen = {unit.corpus: unit for unit in inputs.units if not is_listing(unit)}
    sources = {unit.path: unit.version for unit in seen.values()}
    with _workers(plan, store, workers, options):
        from pipeline import engine

        if not _named_runner(options) or engine.address_of(options):
            starting.import_beam(options)  # it takes long: workers import the stages meanwhile
        if not _named_runner(options) and not active():
            starting.import_numba()
        from pipeline import graph
        from pipeline.progress import Progress

        with Progress(plan, quiet):
            try:
                with engine.prepared(options, plan.root, sources):
                    graph.run(plan, lists, list(options))
            except engine.EngineError as error:
                raise RunError(str(error)) from None
            except Exception as error:
                raise RunError(_failure(store, error)) from error
    over = not store.exists(manifest.NAME)
    published = store.read_json(manifest.OVER_BUDGET if over else manifest.NAME)
    write_report(out)
    return Outcome(out, published, time.monotonic() - started, False, over)


def _failure(store: Store, error: Exception) -> str:
    """Return what ended a run as one line, and write all that is known of it to `work/failure.log`."""
    # a runner wraps what a stage raised, each in its own way: the last line of its message says it
    lines = [line for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    with suppress(OSError):  # the disk may be full
        store.write("work/failure.log", "".join(traceback.format_exception(error)).encode("utf-8", "replace"))
        last += f" (all of it: {store.root}/work/failure.log)"
    full = re.search(r"\[Errno (\d+)\]", last)
    if full and int(full[1]) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        last += "; make room and run the same command again: what is finished is kept"
    return f"{store.root}: the run failed: {last}"


@contextmanager
def _workers(plan: Plan, store: Store, count: int, options: Sequence[str]) -> Iterator[None]:
    """Give worker processes, which write to `work/workers.log`; none where one is enough or another runner is named."""
    if count == 1 or _named_runner(options):
        yield
        return
    with ExitStack() as stack:
        log = None
        if store.local:
            os.makedirs(store.path("work"), exist_ok=True)
            log = stack.enter_context(open(store.path("work/workers.log"), "wb"))
        stack.enter_context(Workers(count, log, plugins=bool(plan.plugins)))
        yield


def _named_runner(options: Sequence[str]) -> bool:
    """Tell whether options of Beam name a runner, instead of the embedded one."""
    return any(option.startswith("--runner") for option in options)


def summary(outcome: Outcome) -> str:
    """Return what a run came to, as a few lines for a terminal."""
    if outcome.already:
        return f"{outcome.root}: finished already, nothing to do (the recipe, the sources and the code are the same)"
    lines = [f"{'corpus':<14}{'read':>10}{'kept':>10}{'rejected':>10}  dropped"]
    corpora = outcome.manifest["corpora"]
    for name, corpus in [*((n, c["documents"]) for n, c in corpora.items()), ("all", outcome.manifest["documents"])]:
        stages = _by_stage(corpus["dropped"])
        dropped = ", ".join(f"{stage} {count:,}" for stage, count in stages.items() if count)
        lines.append(f"{name:<14}{corpus['read']:>10,}{corpus['kept']:>10,}{corpus['rejected']:>10,}  {dropped or '–'}")
    for name, corpus in corpora.items():
        documents = corpus["documents"]
        if documents["read"] and not documents["kept"]:
            lines.append(
                f"note: nothing of {name!r} was kept; `corpusmill report {outcome.root}` shows which rules failed"
            )
    for alarm in outcome.manifest["alarms"]:
        lines.append("alarm: " + manifest.alarm_message(alarm))
    cut = sum(corpus["characters"]["cut"] for corpus in corpora.values())
    if cut:
        lines.append(f"{cut:,} characters of repeated text were cut out of documents")
    tokens = sum(corpus["tokens"]["kept"] for corpus in corpora.values())
    lines.append(f"{tokens:,} tokens in {len(outcome.manifest['shards'])} shard(s), {outcome.seconds:.0f} s")
    lines.append(f"report: {outcome.root}/report.html")
    return "\n".join(lines)


def _by_stage(dropped: Mapping[str, int]) -> dict[str, int]:
    """Return dropped documents by stage: all rules as one."""
    stages = dict.fromkeys(("rules", *STEPS), 0)
    for reason, count in dropped.items():
        stages[reason if reason in stages else "rules"] += count
    return stages


def described(plan: Plan) -> str:
    """Return what a plan would read and do, as lines for a terminal."""
    from filters.repeats import UNITS

    lines = []
    for name, source in sorted(plan.sources.items()):
        size = f"{source['bytes'] / 1e6:,.1f} MB"
        lines.append(f"{name}: {source['files']} file(s) in {source['units']} unit(s) of work, {size}")
        if source["largest"] > LARGE:
            lines.append(
                f"  the largest unit, {source['largest'] / 1e6:,.1f} MB, is read by one worker: packed JSONL and tar "
                "archives have one way in, Parquet is cut between row groups; several smaller files are read faster"
            )
        lines.append(f"  edits: {', '.join(plan.corpus(name).edits) or 'none'}")
        lines.append(f"  signals: {', '.join(signal.name for signal in plan.signals(name))}")
        lines += [f"  rule {rule.name}: {rule}" for rule in plan.rules(name)]
    for one in plan.evaluations:
        unsought = f", {one.unsought:,} of them too short or too common to be looked for" if one.unsought else ""
        lines.append(f"decontaminate {one.name}: {one.items:,} items in {one.files} file(s){unsought}")
    near = plan.near
    if plan.deduplicates:
        keep = plan.recipe.deduplicate.keep if plan.recipe.deduplicate else None
        stays = f", {keep.by if keep.column is None else f'{keep.by} by {keep.column}'} stays" if keep else ""
        lines.append("deduplicate: exact" + (f", near at {near:g}" if near is not None else "") + stays)
    if plan.recipe.deduplicate and plan.recipe.deduplicate.repositories:
        lines.append(f"deduplicate: repositories, near at {plan.recipe.deduplicate.repositories.threshold:g}")
    for name, run in plan.earlier.items():
        lines.append(f"  against {name}: {run['rows']:,} documents")
    for repeat in plan.repeats:
        least = f"{repeat.size} {'characters' if repeat.unit in UNITS else repeat.unit}"
        what = f"{repeat.unit} of {least}" if repeat.unit in UNITS else f"run of {least}"
        where = f" in {', '.join(repeat.corpora)}" if repeat.corpora else ""
        lines.append(f"cut: every {what} or more{where} but the first {repeat.occurrences}")
    semantic = plan.recipe.sample.semantic
    if semantic:
        lines.append(
            f"sample: {semantic.clusters} clusters of {semantic.model!r} embeddings, similarity {semantic.similarity:g}"
        )
    if plan.recipe.sample.mixture:
        lines.append("mixture: " + ", ".join(f"{name} {share:g}" for name, share in plan.recipe.sample.mixture.items()))
    tokenizer = plan.recipe.shards.tokenizer
    named = tokenizer if isinstance(tokenizer, str) else f"trained, {tokenizer.train:,} tokens"
    return "\n".join([*lines, f"tokenizer: {named}", *notes(plan.recipe)])


def notes(recipe: Recipe) -> list[str]:
    """Return what a user should know of a recipe that is no fault."""
    if isinstance(recipe.shards.tokenizer, str):
        from pipeline.tokens import Tokenizer, given_tokenizer

        because = Tokenizer.from_json(given_tokenizer(recipe.named(recipe.shards.tokenizer))).slow_because
        if because:
            return [f"note: the tokenizer is encoded by the library, about ten times as slow as by ours: {because}"]
    return []
