"""The plan: what a recipe comes to on the files that are there now: work units, signals, rules, and the keys of stages.

A plan is a plain value; workers get it as JSON, without its units: each of those travels to the worker that reads it. Its
key changes when the code, the recipe or a source changes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from filters.presets import PRESETS, SETS
from filters.rule import Rule
from filters.signal import Signal, needed
from pipeline.evaluation import EvaluationSet, find_sets
from pipeline.read import Source, Unit, units
from pipeline.recipe import Corpus, Near, Recipe
from pipeline.store import Store, digest

if TYPE_CHECKING:  # signals are compiled code; who only asks why a document was dropped does not wait for them
    from filters.kernels.shingles import Hashing
    from filters.repeats import Repeat
    from pipeline.earlier import Part

ALWAYS = ("characters", "words", "language", "language_score")
"""Columns measured for every document whatever the rules: the report counts by them."""
LISTED = 1024
"""Units of work that one list names."""
SOURCES = pa.schema(
    [
        pa.field("corpus", pa.string()),
        pa.field("source", pa.string()),
        pa.field("start", pa.int64()),
        pa.field("stop", pa.int64()),
        pa.field("bytes", pa.int64()),
    ]
)
"""What `sources.parquet` says of each unit of work."""
HASHES = ("content_hash", "bands")
"""Columns that only the deduplication reads: not part of the ledger."""
EARLIER_BYTES = 4000
"""What a document of an earlier run is taken to be long."""


@functools.cache
def code() -> str:
    """Return a digest of our own sources: a stage file made by other code is not found."""
    sources = []
    for package in ("filters", "samplers", "pipeline"):
        for path in sorted(_python_files(resources.files(package)), key=str):
            sources.append(path.read_bytes())
    return digest(metadata.version("corpusmill"), *sources)


def _python_files(folder: resources.abc.Traversable) -> Iterable[resources.abc.Traversable]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _python_files(path)
        elif path.name.endswith(".py"):
            yield path


@dataclass(frozen=True)
class Plan:
    """One recipe, the run folder it goes to, and what there is to read.

    It brings the sources of the recipe's plugins: the files themselves may lie on another machine.
    """

    root: str
    recipe: Recipe
    key: str = ""
    """Digest of everything the run's results depend on."""
    sources: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Of each corpus its files, units of work, and bytes."""
    earlier: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of each earlier run, as the recipe names it, its key, parts and documents."""
    evaluations: tuple[EvaluationSet, ...] = ()
    plugins: Sequence[tuple[str, str]] = ()
    """Of each plugin its path and its source code."""

    def unit_key(self, unit: Unit) -> list[object]:
        return [unit.corpus, unit.format, self.name_of(unit.path), unit.start, unit.stop, unit.columns, unit.version]

    def name_of(self, path: str) -> str:
        """Return a source's path as the recipe would write it: relative to the recipe's folder where it lies below."""
        return self.recipe.name_of(path)

    def corpus(self, name: str) -> Corpus:
        return self.recipe.corpora[name]

    @functools.cached_property
    def writers(self) -> Mapping[str, Signal]:
        from filters.sketch import sketches
        from pipeline.plugins import writers

        return writers(self.plugins) | sketches(self.hashing)

    @functools.cached_property
    def plugin_digest(self) -> str:
        return digest(*(source for _, source in self.plugins))

    @property
    def models(self) -> list[str]:
        """Digests of the files that the recipe names as its tokenizer and its embedding model."""
        tokenizer, semantic = self.recipe.shards.tokenizer, self.recipe.sample.semantic
        found = []
        if isinstance(tokenizer, str):
            from pipeline.tokens import given_tokenizer

            found.append(digest(given_tokenizer(self.recipe.named(tokenizer))))
        if semantic is not None:
            from samplers.embed import resolve

            found.append(resolve(self.recipe.named(semantic.model)).digest)
        return found

    def rules(self, corpus: str) -> tuple[Rule, ...]:
        """Return the rules of a corpus in the order in which a first failing one is named."""
        settings = self.corpus(corpus)
        own = []
        for column, bound in settings.rules.items():
            among = bound.among
            if among is not None and len(among) == 1 and among[0] in SETS:
                among = tuple(SETS[among[0]])
            own.append(Rule(f"rules.{column}", column, bound.min, bound.max, frozenset(among) if among else None))
        return (*own, *(rule for preset in settings.presets for rule in PRESETS[preset].rules))

    def signals(self, corpus: str) -> tuple[Signal, ...]:
        """Return the signals that the rules of a corpus, the report and the deduplication need, in order."""
        from pipeline.plugins import GIVEN

        columns = [rule.column for rule in self.rules(corpus) if rule.column not in GIVEN]
        settings = self.recipe.deduplicate
        if settings and settings.keep.column is not None and settings.keep.column not in GIVEN:
            columns.append(settings.keep.column)
        wanted = [*ALWAYS, *columns, "content_hash", *(["bands"] if self.near is not None else [])]
        return needed(wanted, self.writers, GIVEN)

    @functools.cached_property
    def hashing(self) -> Hashing:
        """How texts are hashed: keyed by the seed, and as the recipe normalises them."""
        from filters.kernels.shingles import hashing

        settings = self.recipe.deduplicate
        near = settings.near if settings and settings.near else Near()
        return hashing(
            self.recipe.seed,
            fold_case="case" in near.normalise,
            zero_digits="digits" in near.normalise,
            split_marks="punctuation" not in near.normalise,
        )

    @property
    def source_bytes(self) -> int:
        """Bytes of all sources, those of earlier runs by their documents: what buckets are counted by."""
        read = sum(source["bytes"] for source in self.sources.values())
        return int(read + sum(run["rows"] * EARLIER_BYTES for run in self.earlier.values()))

    @property
    def near(self) -> float | None:
        """The similarity at which documents are near duplicates; None: they are not looked for."""
        settings = self.recipe.deduplicate
        return settings.near.threshold if settings and settings.near else None

    @property
    def deduplicates(self) -> bool:
        settings = self.recipe.deduplicate
        whole = settings is not None and any(exact.unit == "document" for exact in settings.exact)
        return whole or self.near is not None

    @functools.cached_property
    def repeats(self) -> tuple[Repeat, ...]:
        """What counts as repeated text, to be cut out of the documents that are left when duplicates are gone."""
        from filters.repeats import Repeat

        settings = self.recipe.deduplicate
        if settings is None:
            return ()
        found = [Repeat(e.unit, e.characters, e.occurrences, e.corpora) for e in settings.exact if e.unit != "document"]
        if (one := settings.substring) is not None:
            if one.words is not None:
                found.append(Repeat("words", one.words, 1, one.corpora))
            if one.bytes is not None:
                found.append(Repeat("bytes", one.bytes, 1, one.corpora))
        return tuple(found)

    def priority(self, corpus: str) -> int:
        """Return the rank of a corpus where duplicates meet: those named first survive, the others by name."""
        named = self.recipe.deduplicate.priority if self.recipe.deduplicate else ()
        order = [*named, *sorted(set(self.recipe.corpora) - set(named))]
        return order.index(corpus)

    @property
    def evaluation_items(self) -> str:
        """The name of the stored file of evaluation items: it depends on the code and on every item."""
        return f"work/evaluation/{digest(code(), [[one.name, one.version] for one in self.evaluations])}.parquet"

    def to_json(self) -> str:
        recipe = json.loads(self.recipe.to_json())
        value = {
            "root": self.root,
            "recipe": recipe,
            "base": self.recipe.base,
            "key": self.key,
            "sources": self.sources,
            "earlier": self.earlier,
            "evaluations": [asdict(one) for one in self.evaluations],
            "plugins": self.plugins,
        }
        return json.dumps(value, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Plan:
        value = json.loads(text)
        recipe = Recipe.model_validate({**value["recipe"], "base": value["base"]})
        evaluations = tuple(EvaluationSet(**one) for one in value["evaluations"])
        plugins = tuple((path, source) for path, source in value["plugins"])
        return Plan(value["root"], recipe, value["key"], value["sources"], value["earlier"], evaluations, plugins)


@dataclass(frozen=True)
class Inputs:
    """What a run reads, in canonical order: units of its sources, and parts of earlier runs' indexes."""

    units: tuple[Unit, ...]
    parts: tuple[Part, ...]


def make_plan(recipe: Recipe, root: str) -> tuple[Plan, Inputs]:
    """Find the sources of a recipe and split them into units, the earlier runs, and the evaluation sets.

    Raises pipeline.read.SourceError where sources or evaluation sets are not there or not what the recipe says,
    pipeline.earlier.EarlierRunError where a run is none.
    """
    plugins: tuple[tuple[str, str], ...] = ()
    if recipe.plugins:
        from pipeline.plugins import plugin_source

        plugins = tuple((path, plugin_source(path)) for path in map(recipe.located, recipe.plugins))
    plan, found = Plan(root, recipe, plugins=plugins), []
    sources = {}
    for name in sorted(recipe.corpora):
        read = recipe.corpora[name].read
        paths = tuple(recipe.located(path) for path in read.paths)
        own = units(Source(name, read.format, paths, tuple(recipe.corpora[name].columns.items())))
        files = len({unit.path for unit in own})
        sizes = [unit.size for unit in own]
        sources[name] = {"files": files, "units": len(own), "bytes": sum(sizes), "largest": max(sizes, default=0)}
        found += own
    parts: tuple[Part, ...] = ()
    if recipe.deduplicate and recipe.deduplicate.against:
        from pipeline.earlier import find

        parts = find(recipe)
    earlier: dict[str, dict[str, Any]] = {}
    for part in parts:
        run = earlier.setdefault(part.run, {"key": part.key, "parts": 0, "rows": 0})
        run |= {"parts": run["parts"] + 1, "rows": run["rows"] + part.rows}
    evaluations = find_sets(recipe)
    versions = [one.version for one in evaluations]
    depends = [plan.plugin_digest, plan.models, sorted(run["key"] for run in earlier.values()), versions]
    key = digest(code(), recipe.to_json(), depends, *(digest(plan.unit_key(unit)) for unit in found))
    return Plan(root, recipe, key, sources, earlier, evaluations, plugins), Inputs(tuple(found), parts)


@dataclass(frozen=True)
class Lists:
    """Names of files that list what a run reads, so that an engine need not be given all of it at once."""

    units: tuple[str, ...]
    parts: tuple[str, ...]


def write_lists(plan: Plan, inputs: Inputs, store: Store) -> Lists:
    """List the inputs, each with its number: the largest units first, so that none starts when all others are done."""
    order = sorted(enumerate(inputs.units), key=lambda entry: (-entry[1].size, entry[0]))
    parts = [(number - len(inputs.parts), asdict(part)) for number, part in enumerate(inputs.parts)]

    def written(kind: str, entries: Sequence[tuple[int, dict[str, Any]]]) -> tuple[str, ...]:
        names = []
        for start in range(0, len(entries), LISTED):
            names.append(f"work/lists/{plan.key}-{kind}-{start // LISTED:05}.json")
            store.write(names[-1], json.dumps(entries[start : start + LISTED]).encode())
        return tuple(names)

    return Lists(written("units", [(number, asdict(unit)) for number, unit in order]), written("parts", parts))


def sources_table(plan: Plan, inputs: Inputs) -> pa.Table:
    """Return what was read: a row per unit of work, in canonical order."""
    columns = {
        "corpus": [unit.corpus for unit in inputs.units],
        "source": [plan.name_of(unit.path) for unit in inputs.units],
        "start": [unit.start for unit in inputs.units],
        "stop": [unit.stop for unit in inputs.units],
        "bytes": [unit.size for unit in inputs.units],
    }
    return pa.table([pa.array(columns[f.name], f.type) for f in SOURCES], schema=SOURCES)
