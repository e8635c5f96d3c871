"""The plan: what a recipe comes to on the files that are there now: work units, signals, rules, and the keys of stages.

A plan is a plain value; workers get it as JSON. Its key changes when the code, the recipe or a source changes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata, resources

from filters.kernels.shingles import Hashing, hashing
from filters.presets import PRESETS, SETS
from filters.rule import Rule
from filters.signal import Signal, needed
from filters.sketch import sketches
from pipeline.earlier import Part, find, runs
from pipeline.plugins import GIVEN, writers
from pipeline.read import Source, Unit, units
from pipeline.recipe import Corpus, Near, Recipe
from pipeline.store import digest

ALWAYS = ("characters", "words", "language", "language_score")
"""Columns measured for every document whatever the rules: the report counts by them."""
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
    """One recipe, the units of its sources in canonical order, and the run folder they go to."""

    root: str
    recipe: Recipe
    units: tuple[Unit, ...]
    earlier: tuple[Part, ...] = ()

    @functools.cached_property
    def key(self) -> str:
        """Digest of everything the run's results depend on."""
        plugins = [self._plugin_bytes(path) for path in self.recipe.plugins]
        units = [self.unit_key(unit) for unit in self.units]
        return digest(code(), self.recipe.to_json(), *plugins, units, sorted(runs(self.earlier)))

    def unit_key(self, unit: Unit) -> list[object]:
        return [unit.corpus, unit.format, self.name_of(unit.path), unit.start, unit.stop, unit.columns, unit.version]

    def name_of(self, path: str) -> str:
        """Return a source's path as the recipe would write it: relative to the recipe's folder where it lies below."""
        return path.removeprefix(self.recipe.base.rstrip("/") + "/")

    def corpus(self, name: str) -> Corpus:
        return self.recipe.corpora[name]

    @functools.cached_property
    def writers(self) -> Mapping[str, Signal]:
        return writers(self.recipe.located(path) for path in self.recipe.plugins) | sketches(self.hashing)

    @functools.cached_property
    def plugin_digest(self) -> str:
        return digest(*(self._plugin_bytes(path) for path in self.recipe.plugins))

    def _plugin_bytes(self, path: str) -> bytes:
        with open(self.recipe.located(path), "rb") as file:
            return file.read()

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
        columns = [rule.column for rule in self.rules(corpus) if rule.column not in GIVEN]
        settings = self.recipe.deduplicate
        if settings and settings.keep.column is not None and settings.keep.column not in GIVEN:
            columns.append(settings.keep.column)
        wanted = [*ALWAYS, *columns, "content_hash", *(["bands"] if self.near is not None else [])]
        return needed(wanted, self.writers, GIVEN)

    @functools.cached_property
    def hashing(self) -> Hashing:
        """How texts are hashed: keyed by the seed, and as the recipe normalises them."""
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
        return sum(unit.size for unit in self.units) + sum(part.rows * EARLIER_BYTES for part in self.earlier)

    @property
    def near(self) -> float | None:
        """The similarity at which documents are near duplicates; None: they are not looked for."""
        settings = self.recipe.deduplicate
        return settings.near.threshold if settings and settings.near else None

    @property
    def deduplicates(self) -> bool:
        settings = self.recipe.deduplicate
        return settings is not None and (settings.exact is not None or settings.near is not None)

    def priority(self, corpus: str) -> int:
        """Return the rank of a corpus where duplicates meet: those named first survive, the others by name."""
        named = self.recipe.deduplicate.priority if self.recipe.deduplicate else ()
        order = [*named, *sorted(set(self.recipe.corpora) - set(named))]
        return order.index(corpus)

    def to_json(self) -> str:
        value = {
            "root": self.root,
            "recipe": json.loads(self.recipe.to_json()),
            "base": self.recipe.base,
            "units": [unit.to_json() for unit in self.units],
            "earlier": [part.to_json() for part in self.earlier],
        }
        return json.dumps(value, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Plan:
        value = json.loads(text)
        recipe = Recipe.model_validate({**value["recipe"], "base": value["base"]})
        units = tuple(Unit.from_json(unit) for unit in value["units"])
        return Plan(value["root"], recipe, units, tuple(Part.from_json(part) for part in value["earlier"]))


def make_plan(recipe: Recipe, root: str) -> Plan:
    """Find the sources of a recipe and split them into units, and the earlier runs.

    Raises pipeline.read.SourceError where there are no sources, pipeline.earlier.EarlierRunError where a run is none.
    """
    found: list[Unit] = []
    for name in sorted(recipe.corpora):
        read = recipe.corpora[name].read
        paths = tuple(recipe.located(path) for path in read.paths)
        found += units(Source(name, read.format, paths, tuple(recipe.corpora[name].columns.items())))
    return Plan(root, recipe, tuple(found), find(recipe))
