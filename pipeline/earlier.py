"""Earlier runs that a recipe deduplicates against: their indexes, checked before work starts.

The index of a run holds every document that its deduplication kept, also those that a later stage dropped: id, source,
characters, content hash and band hashes; its text too, unless it is the next one in the same part of `documents/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.kernels.minhash import BANDS
from pipeline.recipe import Recipe
from pipeline.store import Store

INDEX = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("characters", pa.int32()),
        pa.field("content_hash", pa.binary(16)),
        pa.field("bands", pa.binary(8 * BANDS)),
        pa.field("text", pa.large_string()),
    ]
)
SKETCH = b"corpusmill.sketch"
"""Where the metadata of an index says what its hashes were made with."""
VERSION = 2
"""Counts up when the same text gets other hashes."""


class EarlierRunError(ValueError):
    """A folder is no run that can be deduplicated against: says which, what was found, what would be right."""


@dataclass(frozen=True)
class Part:
    """One part of the index of an earlier run: `run` as the recipe names it, `root` where it can be opened."""

    run: str
    root: str
    name: str
    rows: int
    key: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Part:
        return Part(**json.loads(text))

    def read(self, columns: list[str]) -> pa.Table:
        return Store(self.root).read_table(f"index/{self.name}", columns).combine_chunks()

    def text(self) -> pa.Array:
        """Return the texts of all documents of the part."""
        given = self.read(["text"]).column("text").combine_chunks()
        elsewhere = Store(self.root).read_table(f"documents/{self.name}", ["text"]).column("text").combine_chunks()
        return pc.replace_with_mask(given, given.is_null(), elsewhere)


def sketching(recipe: Recipe) -> dict[str, object]:
    """Return what the hashes of a run depend on besides the texts."""
    near = recipe.deduplicate.near if recipe.deduplicate else None
    return {"version": VERSION, "seed": recipe.seed, "normalise": sorted(near.normalise) if near else None}


def index_schema(recipe: Recipe) -> pa.Schema:
    return INDEX.with_metadata({SKETCH: json.dumps(sketching(recipe), sort_keys=True).encode()})


def find(recipe: Recipe) -> tuple[Part, ...]:
    """Return the parts of the indexes of all earlier runs that the recipe names; raise EarlierRunError."""
    settings = recipe.deduplicate
    found: list[Part] = []
    keys: dict[str, str] = {}
    needed: dict[str, str] = {}
    for run in settings.against if settings else ():
        root = recipe.located(run)
        store = Store(root)
        if not store.exists("manifest.json"):
            raise EarlierRunError(
                f"deduplicate.against: {run!r} has no manifest.json: not the folder of a finished run"
            )
        manifest = store.read_json("manifest.json")
        keys[manifest["run"]] = run
        needed |= {
            key: f"{run!r} was deduplicated against {name!r}" for key, name in manifest.get("earlier", {}).items()
        }
        names = [name.removeprefix("index/") for name in store.names("index")]
        if not names:
            raise EarlierRunError(f"deduplicate.against: {run!r} has no index: its recipe deduplicates nothing")
        for name in names:
            with store.open(f"index/{name}") as file:
                footer = pq.ParquetFile(file)
                _compare(run, footer.schema_arrow.metadata or {}, sketching(recipe))
                found.append(Part(run, root, name, footer.metadata.num_rows, manifest["run"]))
    for key, why in needed.items():
        if key not in keys:
            raise EarlierRunError(f"deduplicate.against: {why}, which is not named: what that one kept may come again")
    return tuple(found)


def _compare(run: str, metadata: Mapping[bytes, bytes], ours: Mapping[str, object]) -> None:
    theirs = json.loads(metadata.get(SKETCH, b"{}"))
    for name, value in ours.items():
        if theirs.get(name) != value and not (name == "normalise" and value is None):
            raise EarlierRunError(
                f"deduplicate.against: the hashes of {run!r} were made with {name} {theirs.get(name)!r}, this recipe's "
                f"with {value!r}: they do not meet; give both runs the same"
            )
