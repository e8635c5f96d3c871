"""The recipe: what the user writes, as validated values.

`load` reads YAML 1.2 (so `no` is Norwegian, not false) and `parse` the same object from Python. Both report every
fault at once, each as `file:line: path: what was found, what would be right`; neither touches data.
Relative paths in a recipe are relative to the recipe's own folder, which may be a URL.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pipeline.recipe_yaml import RecipeError, read_yaml
from pipeline.remote import is_url, located, parent

OURS = ("id", "text", "url", "date", "licence", "repository", "programming_language")
"""Columns of a document that a source's own column may fill."""


NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
"""What a corpus or an evaluation set may be called."""


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _one_or_more(value: object) -> object:
    return [] if value is None else [value] if isinstance(value, (Mapping, BaseModel)) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class Part(BaseModel):
    """A part of a recipe: immutable, and no key goes unnoticed."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def no_truth_value_is_a_number(cls, value: object, info: ValidationInfo) -> object:
        """Python would take `true` for 1."""
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError(f"{str(value).lower()} has no meaning here")
        return value


class Read(Part):
    format: Literal["warc", "wet", "jsonl", "parquet", "text", "code"]
    paths: Names = Field(min_length=1)


class Bound(Part):
    """`min` ≤ value ≤ `max`, or value `in` a list (or a set that we name, such as `permissive`)."""

    min: float | None = None
    max: float | None = None
    among: Annotated[Names, Field(min_length=1)] | None = Field(default=None, alias="in")

    @model_validator(mode="after")
    def bounded(self) -> Bound:
        if self.min is None and self.max is None and self.among is None:
            raise ValueError("a rule needs min, max or in")
        if self.among is not None and not (self.min is None and self.max is None):
            raise ValueError("a rule has either in, or min and max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}: nothing could pass")
        return self


class Corpus(Part):
    read: Read
    columns: dict[Literal["id", "text", "url", "date", "licence", "repository", "programming_language"], str] = {}
    edits: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    rules: dict[str, Bound] = {}


class Evaluation(Part):
    """An evaluation set: `fields` are keys (with dots into objects and lists), or numbers of columns without a header."""

    paths: Names = Field(min_length=1)
    fields: Annotated[tuple[str | int, ...], BeforeValidator(_listed)] = ()
    records: str | None = None  # where in a JSON file the records are, if it holds more than one list


class Exact(Part):
    """Whole documents, or units of text of which the first `occurrences` stay, if they have `characters` and more."""

    unit: Literal["document", "line", "paragraph", "sentence"] = "document"
    occurrences: int = Field(default=1, ge=1, le=1 << 30)
    characters: int = Field(default=20, ge=1)
    corpora: Names = ()

    @model_validator(mode="after")
    def of_units(self) -> Exact:
        meant = sorted(self.model_fields_set & {"occurrences", "characters", "corpora"})
        if self.unit == "document" and any(getattr(self, key) != type(self).model_fields[key].default for key in meant):
            raise ValueError(f"{' and '.join(meant)} is for line, paragraph and sentence: of a document one copy stays")
        return self


class Substring(Part):
    """Runs of words of a least length, in words or in bytes, of which the first stays."""

    words: int | None = Field(default=None, ge=8, le=1 << 20)
    bytes: int | None = Field(default=None, ge=32, le=1 << 20)
    corpora: Names = ()

    @model_validator(mode="after")
    def measured(self) -> Substring:
        if (self.words is None) == (self.bytes is None):
            raise ValueError("give the least length of a repeat either in words or in bytes: {words: 50}, {bytes: 500}")
        return self


class Near(Part):
    """`normalise` names what makes no difference between two texts."""

    threshold: float = Field(default=0.8, gt=0, le=1)
    normalise: tuple[Literal["case", "punctuation", "digits"], ...] = ("case", "punctuation")


class Repositories(Part):
    threshold: float = Field(default=0.8, gt=0, le=1)


class Keep(Part):
    """Which of several duplicates stays: written as one word, or as `{quality: column}`."""

    by: Literal["priority", "longest", "newest", "quality"] = "priority"
    column: str | None = None  # of which the largest value stays

    @model_validator(mode="after")
    def named(self) -> Keep:
        if (self.by == "quality") != (self.column is not None):
            raise ValueError("the best stays by a column: keep: {quality: <column>}")
        return self


def _keep(value: object) -> object:
    if isinstance(value, str):
        return {"by": value}
    return {"by": "quality", "column": value["quality"]} if isinstance(value, Mapping) and "quality" in value else value


class Deduplicate(Part):
    priority: tuple[str, ...] = ()
    keep: Annotated[Keep, BeforeValidator(_keep)] = Keep()
    exact: Annotated[tuple[Exact, ...], BeforeValidator(_one_or_more)] = ()
    near: Near | None = None
    repositories: Repositories | None = None
    substring: Substring | None = None
    against: Names = ()  # folders of earlier runs
    alarm: float = Field(default=0.9, gt=0, le=1)  # share of a corpus or a file whose loss is told

    @model_validator(mode="after")
    def each_unit_once(self) -> Deduplicate:
        units = [exact.unit for exact in self.exact]
        for unit in units:
            if units.count(unit) > 1:
                raise ValueError(f"exact names the unit {unit!r} twice")
        return self


class Semantic(Part):
    model: str = "bundled"
    clusters: int = Field(default=64, ge=1, le=65_536)
    similarity: float = Field(default=0.95, gt=0, le=1)


class Sample(Part):
    semantic: Semantic | None = None
    mixture: dict[str, Annotated[float, Field(ge=0)]] = {}


class Train(Part):
    train: int = Field(ge=260, le=1 << 20)


class Shards(Part):
    tokenizer: Train | str = Train(train=32_768)
    tokens: int = Field(default=64_000_000, ge=1)  # in a shard, at most (one document may exceed it)


class Budget(Part):
    rejects: float = Field(default=0.01, ge=0, le=1)


class Recipe(Part):
    """A whole recipe. `base` is the folder that its relative paths start from."""

    seed: int = Field(default=0, ge=0, lt=1 << 63)
    corpora: dict[Annotated[str, Field(pattern=NAME)], Corpus] = Field(min_length=1)
    decontaminate: dict[Annotated[str, Field(pattern=NAME)], Evaluation] = {}
    deduplicate: Deduplicate | None = None
    sample: Sample = Sample()
    shards: Shards = Shards()
    plugins: Names = ()
    budget: Budget = Budget()
    base: str = Field(default=".", exclude=True)

    def to_json(self) -> str:
        """Return the recipe as canonical JSON, all defaults filled in, without `base`."""
        return json.dumps(self.model_dump(by_alias=True), sort_keys=True, ensure_ascii=False)

    def to_yaml(self) -> bytes:
        """Return the recipe as a file that means the same wherever it lies, all defaults filled in; JSON is YAML."""
        base = self.base if is_url(self.base) else os.path.abspath(self.base)
        return json.dumps({"base": base, **json.loads(self.to_json())}, indent=1, ensure_ascii=False).encode() + b"\n"

    def located(self, path: str) -> str:
        """Return a path of the recipe as one that can be opened: relative ones start at `base`."""
        return located(self.base, path)

    def name_of(self, path: str) -> str:
        """Return a file's path as the recipe would write it: relative to `base` where it lies below."""
        return path.removeprefix(self.base.rstrip("/") + "/")

    def named(self, name: str) -> str:
        """Return the name of a model or tokenizer, `path:…` as a path that can be opened, any other as it is."""
        kind, _, path = name.partition(":")
        return f"path:{self.located(os.path.expanduser(path))}" if kind == "path" else name


def load(path: str | Path) -> Recipe:
    """Read, validate and check a recipe, a file or a URL; raise RecipeError with every fault in it."""
    data, lines = read_yaml(str(path))
    base = parent(str(path)) if is_url(str(path)) else str(Path(path).resolve().parent)
    return parse(data, base=base, name=str(path), lines=lines)


def parse(
    data: Mapping[str, Any],
    base: str = ".",
    name: str = "recipe",
    lines: Mapping[tuple[str | int, ...], int] | None = None,
) -> Recipe:
    """Validate and check a recipe given as an object; `lines` maps a path inside it to its line in the file `name`.

    Where it has no `base` of its own, its relative paths start at the one given; its own may be relative to that.
    """
    from pipeline.recipe_check import check, explain

    own = data.get("base")
    if isinstance(own, str):
        base = located(base, own) if is_url(base) or is_url(own) else os.path.normpath(located(base, own))
    faults: list[tuple[tuple[str | int, ...], str]] = []
    recipe = None
    try:
        recipe = Recipe.model_validate({**data, "base": base if own is None or isinstance(own, str) else own})
    except ValidationError as error:
        faults += [fault for one in error.errors() if (fault := explain(one, Recipe, data)) is not None]
    faults += check(data, base)
    if faults or recipe is None:
        told = sorted({(_line(path, lines), ".".join(map(str, path)), message) for path, message in faults})
        raise RecipeError(
            [
                f"{name}:{line}: {path + ': ' if path else ''}{message}" if line else f"{name}: {path}: {message}"
                for line, path, message in told
            ]
        )
    return recipe


def _line(path: tuple[str | int, ...], lines: Mapping[tuple[str | int, ...], int] | None) -> int:
    """Return the line of a path, or of the nearest part around it that has one; 0 when there are no lines."""
    while lines and path not in lines and path:
        path = path[:-1]
    return lines.get(path, 1) if lines else 0
