"""The report of a run: one HTML file without scripts, made from the manifest and the examples.

Text of web pages and names of files reach it: the template escapes everything, control characters are made visible, and
the page's own policy allows neither scripts nor requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from filters.presets import PRESETS
from pipeline.ledger import REPEATED_TEXT
from pipeline.manifest import alarm_message, open_manifest
from pipeline.plan import Plan
from pipeline.recipe import Recipe
from pipeline.rejects import Kind, kinds
from pipeline.statistics import KEPT, STEPS
from pipeline.store import Store
from pipeline.svg import funnel, histogram
from pipeline.terminal import safe

NAME = "report.html"
EXAMPLES = "examples.json"
LANGUAGES = 25


def write_report(run: str) -> str:
    """Write the report of a run folder and return its path; raise RunError where there is no run."""
    store = Store(run)
    store.write(NAME, render(open_manifest(run), store.read_json(EXAMPLES), kinds(store)).encode())
    return f"{run}/{NAME}"


def render(
    manifest: Mapping[str, Any], examples: Mapping[str, Any], rejects: Mapping[str, Sequence[Kind]] | None = None
) -> str:
    """Return the report as HTML; `rejects` says of each corpus why records could not be read."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("pipeline"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"n": lambda value: f"{value:,}", "safe_text": safe, "percent": lambda value: f"{value:.1%}"}
    plan = Plan("", Recipe.model_validate(manifest["recipe"]))
    statistics = manifest["statistics"]
    cut = {"characters": sum(corpus["characters"]["cut"] for corpus in manifest["corpora"].values())}
    units = ("documents", "characters", "tokens")
    total = {unit: _steps(statistics["outcomes"], unit, cut.get(unit, 0)) for unit in units}
    corpora = [
        {
            "name": name,
            **corpus,
            "funnel": Markup(funnel(_steps({name: statistics["outcomes"].get(name, {})}, "documents"))),
            "rules": _rules(plan, name, statistics),
            "examples": examples.get(name, {}),
            "rejects": (rejects or {}).get(name, ()),
            "edits": sorted(statistics["edits"].get(name, {}).items()),
            "removed": sorted(statistics["removed"].get(name, {}).items()),
        }
        for name, corpus in manifest["corpora"].items()
    ]
    return environment.get_template("report.html.j2").render(
        manifest=manifest,
        corpora=corpora,
        funnels=[(unit, Markup(funnel(steps))) for unit, steps in total.items()],
        languages=_languages(statistics["outcomes"]),
        presets={name: PRESETS[name].citation for c in plan.recipe.corpora.values() for name in c.presets},
        rejected=manifest["documents"]["rejected"],
        alarms=[alarm_message(alarm) for alarm in manifest["alarms"]],
        evaluations=_evaluations(manifest),
        dropped=sum(manifest["documents"]["dropped"].values()),
    )


def _steps(outcomes: Mapping[str, Any], unit: str, cut: int = 0) -> list[tuple[str, int]]:
    """Return what is left after each step: read, the rules, each kind of duplicate, the mixture.

    `cut` is what was cut out of documents that repeated others' text, without dropping them.
    """
    by_outcome: dict[str, int] = {}
    for languages in outcomes.values():
        for counts in languages.values():
            for outcome, count in counts.items():
                step = outcome if outcome in (*STEPS, KEPT) else "rules"
                by_outcome[step] = by_outcome.get(step, 0) + count[unit]
    if cut:
        by_outcome[REPEATED_TEXT] = by_outcome.get(REPEATED_TEXT, 0) + cut
    left = sum(by_outcome.values())
    steps = [(f"{unit} read", left)]
    for step in ("rules", *STEPS):
        if step in by_outcome:
            left -= by_outcome[step]
            steps.append((f"after {_plural(step)}", left))
    return [*steps, ("kept", left)] if len(steps) == 1 else steps


def _plural(step: str) -> str:
    return {
        "contaminated": "decontamination",
        "near_duplicate_repository": "near duplicate repositories",
        "rules": "rules",
        "mixture": "mixture",
        REPEATED_TEXT: "repeated text",
    }.get(step, f"{step.replace('_', ' ')}s")


def _rules(plan: Plan, corpus: str, statistics: Mapping[str, Any]) -> list[dict[str, Any]]:
    from markupsafe import Markup

    counts, histograms = statistics["rules"].get(corpus, {}), statistics["histograms"].get(corpus, {})
    rules = []
    for rule in plan.rules(corpus):
        bins = histograms.get(rule.column, {})
        bounds = [(k, b) for k, b in (("min", rule.minimum), ("max", rule.maximum)) if b is not None]
        drawing = histogram(bins.get(KEPT, {}), bins.get("dropped", {}), bounds) if bins else ""
        nulls = sum(bins.get(outcome, {}).get("null", 0) for outcome in (KEPT, "dropped"))
        count = counts.get(rule.name, {"failed": 0, "failed_alone": 0})
        rules.append({"name": rule.name, "bound": str(rule), "drawing": Markup(drawing), "nulls": nulls, **count})
    return rules


def _evaluations(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the evaluation sets with, for each corpus, how many documents hold an item of it."""
    found = manifest["statistics"].get("contamination", {})
    return [
        {**one, "found": [(corpus, found.get(corpus, {}).get(one["name"], 0)) for corpus in manifest["corpora"]]}
        for one in manifest.get("evaluations", [])
    ]


def _languages(outcomes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return documents, characters and tokens by language, read and kept; the smallest languages as one row."""
    rows: dict[str, dict[str, Any]] = {}
    for languages in outcomes.values():
        for language, counts in languages.items():
            row = rows.setdefault(language, {"language": language, "read": 0, "kept": 0, "characters": 0, "tokens": 0})
            for outcome, count in counts.items():
                row["read"] += count["documents"]
                if outcome == KEPT:
                    row["kept"] += count["documents"]
                    row["characters"] += count["characters"]
                    row["tokens"] += count["tokens"]
    ordered = sorted(rows.values(), key=lambda row: (-row["kept"], -row["read"], row["language"]))
    shown, rest = ordered[:LANGUAGES], ordered[LANGUAGES:]
    if rest:
        shown.append(
            {"language": f"{len(rest)} others"}
            | {k: sum(r[k] for r in rest) for k in ("read", "kept", "characters", "tokens")}
        )
    return shown
