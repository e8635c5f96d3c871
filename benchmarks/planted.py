"""Documents with a planted evaluation item, decoys and clean ones, rebuilt from the vectors as their README says."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import zstandard

LLM_FOUNDRY = "eval/llm-foundry/scripts__eval__local_data__"
SETS: dict[str, dict[str, Any]] = {
    "bbh": {"paths": "eval/BIG-Bench-Hard/*.json.zst", "fields": "input"},
    "gsm8k": {"paths": "eval/grade-school-math/*.jsonl.zst", "fields": "question"},
    "humaneval": {"paths": "eval/human-eval/*.jsonl.gz", "fields": "prompt"},
    "lambada": {"paths": f"{LLM_FOUNDRY}language_understanding__lambada_openai.jsonl.zst", "fields": "context"},
    "boolq": {"paths": f"{LLM_FOUNDRY}reading_comprehension__boolq.jsonl.zst", "fields": "query"},
    "svamp": {"paths": f"{LLM_FOUNDRY}symbolic_problem_solving__svamp.jsonl.zst", "fields": "context"},
    "arc": {"paths": f"{LLM_FOUNDRY}world_knowledge__arc_*.jsonl.zst", "fields": "query"},
    "xcopa": {"paths": "eval/xcopa/data__*__test.*.jsonl.zst", "fields": ["premise", "choice1", "choice2"]},
}
"""The evaluation files that items were planted from, as a recipe would name them: 21,369 items."""


def unpacked(path: Path) -> str:
    """Return a packed file as text, without a byte order mark."""
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes()).decode().removeprefix("\ufeff")
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return stream.read().decode().removeprefix("\ufeff")


def records(path: Path) -> Any:
    """Return an evaluation file as the vectors count its records."""
    text, name = unpacked(path), path.stem
    if name.endswith(".json"):
        return json.loads(text)
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in text.split("\n") if line]
    delimiter = "\t" if name.endswith(".tsv") else ","
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


def planted(data: Path, vectors: Path) -> list[dict[str, Any]]:
    """Return the vectors' documents, each with its `text`, verified by its digest."""
    documents = [json.loads(line) for line in unpacked(vectors / "decontam_planted.jsonl.zst").split("\n") if line]
    wanted = {document["host"]["file"] for document in documents}
    hosts = {
        record.get("record_id"): record
        for file in wanted
        for record in (json.loads(line) for line in unpacked(data / file).split("\n") if line)
    }
    files: dict[str, Any] = {}
    for document in documents:
        host, at = hosts[document["host"]["id"]][document["host"]["field"]], document.get("insert_at")
        if document["type"] == "plant":
            file = document["item"]["file"]
            record = files.setdefault(file, records(data / file))
            block = document["before"] + _item(document, record) + document["after"]
        else:
            block = document.get("insert", "")
        document["text"] = host[:at] + block + (host[at:] if at is not None else "")
        if hashlib.sha256(document["text"].encode()).hexdigest() != document["sha256"]:
            raise ValueError(f"{document['id']}: the data are not those that the vectors were made from")
    return documents


def _item(document: dict[str, Any], record: Any) -> str:
    """Return the planted item: edited, with its answer behind it if it has one."""
    for key in document["item"]["at"]:
        record = record[key]
    text = " ".join(str(record[field]).removeprefix("\ufeff") for field in document["item"]["fields"])
    pieces, done = [], 0
    for start, end, new in document["ops"]:
        pieces += [text[done:start], new]
        done = end
    edited = "".join(pieces) + text[done:]
    if document["answer"] is None:
        return edited
    answer = record["choices"][record["gold"]] if document["answer"] == "choices[gold]" else record[document["answer"]]
    return f"{edited}{document['answer_after']}{answer}"
