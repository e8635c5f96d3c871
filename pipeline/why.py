"""Why a document was kept or dropped: its row of the ledger, in words.

The answer needs the ledger and the manifest only: no text is read again, and neither Beam nor torch is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from pipeline import lookup
from pipeline.ledger import GIVEN, OUTCOME, REPEATED_TEXT, more_fields
from pipeline.manifest import RunError, open_manifest
from pipeline.numbering import part_name
from pipeline.plan import Plan
from pipeline.recipe import Recipe
from pipeline.store import Store
from pipeline.terminal import safe

MOST = 20
"""Documents shown at most: ids may repeat."""

SENTENCES = {
    "exact_duplicate": "its text is the same, byte for byte, as that of",
    "near_duplicate": "it is a near duplicate of",
    "near_duplicate_repository": "its repository is a near duplicate of the repository",
    "semantic_duplicate": "it says much the same as",
}


def rows_of(run: str, document: str) -> tuple[list[dict[str, Any]], int]:
    """Return the ledger's rows whose id or url is `document`, MOST at most, in canonical order, and how many there are."""
    store = Store(run)
    found: list[dict[str, Any]] = []
    first, count = lookup.places(store, document, MOST)
    for part, places in groupby(first, key=lambda place: place[0]):
        table = store.read_table(part_name("ledger", part))
        rows = [table.slice(row, 1).to_pylist()[0] for _, row in places]
        found += [row for row in rows if document in (row["id"], row["url"])]
    return found, count


def why(run: str, document: str) -> str:
    """Return why a document was kept or dropped: every rule with its value and bound, and what it duplicates.

    Raises RunError where there is no run, and where no document of it has that id or url.
    """
    manifest = open_manifest(run)
    plan = Plan(run, Recipe.model_validate(manifest["recipe"]))
    rows, count = rows_of(run, document)
    if not rows:
        raise RunError(
            f"{run}: no document has the id or url {document!r} (rejected records are listed in {run}/rejects/)"
        )
    answers = [explained(plan, row) for row in rows]
    if count > MOST:
        answers.append(f"… and {count - MOST:,} more documents with this id or url")
    return "\n\n".join(answers)


def explained(plan: Plan, row: Mapping[str, Any]) -> str:
    """Return one document's row of the ledger in words."""
    lines = [f"{safe(row['id'])}  ({row['corpus']}, {safe(row['source'])} at {row['offset']})"]
    if row["url"] and row["url"] != row["id"]:
        lines.append(f"  {safe(row['url'])}")
    rules = plan.rules(row["corpus"])
    failed = [rule for rule in rules if row[rule.name] is False]
    reason = row["reason"]
    if reason is None:
        lines.append(f"kept: it passes all {len(rules)} rules" if rules else "kept: its corpus has no rules")
    elif reason == "mixture":
        share = plan.recipe.sample.mixture[row["corpus"]]
        lines.append(f"dropped: beyond the share {share:g} of its corpus in the mixture (its draw: {row['draw']:.6f})")
    elif reason == "contaminated":
        sets = sorted({one["set"] for one in row["contamination"]})
        lines.append(f"dropped: it holds what evaluation would ask: {', '.join(sets)}")
    elif reason == REPEATED_TEXT:
        lines.append("dropped: all its text repeats what earlier documents say")
    elif reason in SENTENCES:
        where = f" ({safe(row['survivor_source'])})" if row["survivor_source"] else ""
        lines.append(f"dropped: {SENTENCES[reason]} {safe(row['survivor'])}{where}")
        if reason != "exact_duplicate":
            bound = _threshold(plan, reason)
            lines[-1] += f": similarity {row['similarity']:.3f}, threshold {bound:g}"
        if row["survivor_run"]:
            lines[-1] += f", kept by the earlier run {safe(row['survivor_run'])}"
    else:
        names = ", ".join(rule.name for rule in failed)
        lines.append(f"dropped: it fails {len(failed)} of {len(rules)} rules: {names}")
    lines += _items(row.get("contamination") or [])
    for rule in rules:
        mark = "fails " if row[rule.name] is False else "passes"
        lines.append(f"  {mark}  {rule.name:<44} {_value(row[rule.column]):>12}   {safe(str(rule), 60)}")
    bounded = {rule.column for rule in rules} | {rule.name for rule in rules}
    skipped = bounded | {f.name for f in (*GIVEN, *OUTCOME, *more_fields(plan))}
    shown = [
        f"{n} {_value(v)}" for n, v in row.items() if n not in skipped and v is not None and not isinstance(v, bool)
    ]
    if row["copies"]:
        lines.append(f"  it stands for {row['copies']:,} documents, itself among them")
    if row["edits"]:
        lines.append(f"  edits: {', '.join(row['edits'])}")
    if row["removed"]:
        lines += _removed(row["removed"], row["characters_removed"])
    if shown:
        lines.append(f"  also measured: {', '.join(shown)}")
    if row["tokens"] is not None:
        lines.append(f"  tokens: {row['tokens']:,}")
    return "\n".join(lines)


def _threshold(plan: Plan, reason: str) -> float:
    deduplicate, semantic = plan.recipe.deduplicate, plan.recipe.sample.semantic
    settings = {
        "near_duplicate": deduplicate and deduplicate.near,
        "near_duplicate_repository": deduplicate and deduplicate.repositories,
    }
    found = settings.get(reason)
    return found.threshold if found else semantic.similarity if semantic else 1.0


def _removed(spans: list[dict[str, Any]], characters: int) -> list[str]:
    """Return what was cut out of a document, and who keeps it."""
    lines = [f"  cut: {len(spans):,} spans, {characters:,} characters of repeated text"]
    for span in spans[:MOST]:
        keeper = f"{safe(span['survivor'])} ({safe(span['survivor_source'])})"
        lines.append(f"    characters {span['start']:,} to {span['end']:,}, by {span['unit']}: kept by {keeper}")
    if len(spans) > MOST:
        lines.append(f"    … and {len(spans) - MOST:,} more")
    return lines


def _items(found: list[dict[str, Any]]) -> list[str]:
    """Return which evaluation items a document holds, and where."""
    lines = []
    for one in found[:MOST]:
        where = f"characters {one['start']:,} to {one['end']:,}"
        name, words = f"{one['set']}: {safe(one['item'])}", f"{one['words']} of its {one['item_words']} words"
        lines.append(f"  holds {name}, {words}, {where}")
    if len(found) > MOST:
        lines.append(f"    … and {len(found) - MOST:,} more")
    return lines


def _value(value: object) -> str:
    if value is None:
        return "undefined"
    return f"{value:.4g}" if isinstance(value, float) else safe(str(value), 60)
