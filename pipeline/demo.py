"""The demonstration: make corpora, curate, report, train, sample; offline, on any machine."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.demo_corpora import make
from pipeline.manifest import RunError
from pipeline.recipe import load
from pipeline.run import run, summary
from pipeline.why import why

RECIPE = """\
# What the demonstration runs: Python's documentation as web pages, books and code.
seed: 7
corpora:
  web:
    read: {format: warc, paths: sources/web.warc.gz}
    edits: [main_text, repair_text]
    presets: [gopher_repetition]
    rules:
      language: {in: [en]}
      words: {min: 50}
  books:
    read: {format: jsonl, paths: sources/books.jsonl.gz}
    rules: {words: {min: 100}}
  code:
    read: {format: code, paths: sources/code.tar.gz}
    presets: [starcoder]
deduplicate:
  priority: [books, web, code]           # who survives across corpora
  exact: {unit: document}
  near: {threshold: 0.8}
sample:
  semantic: {model: bundled, clusters: 32, similarity: 0.98}
shards: {tokenizer: {train: 4096}}
budget: {rejects: 0.02}
"""


def demo(out: Path, steps: int, command: Callable[[list[str]], int]) -> int:
    """Run the demonstration into a folder, training through the `command` itself; return an exit code."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    planted = make(out / "sources")
    recipe = out / "demo.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    folder = out / "run"
    print(f"$ corpusmill run {recipe} --out {folder}", flush=True)
    try:
        outcome = run(load(recipe), str(folder), os.cpu_count() or 1, quiet=False)
        print(summary(outcome))
        print(f"\n$ corpusmill why {folder} {planted.near_duplicate_page}")
        print(why(str(folder), planted.near_duplicate_page))
    except RunError as error:
        print(error, file=sys.stderr)
        return 2
    rejected = outcome.manifest["documents"]["rejected"]
    print(f"\nplanted: {planted.broken_records} broken records; rejected: {rejected}")
    if rejected != planted.broken_records:
        print("the broken records that were planted are not the rejected ones", file=sys.stderr)
        return 1
    print(f"\n$ corpusmill train {folder} --steps {steps}", flush=True)
    code = command(["train", str(folder), "--steps", str(steps)])
    print(f"\nreport: {folder}/report.html   ({time.monotonic() - started:.0f} s in all)")
    return code
