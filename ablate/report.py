"""What a comparison says, as Markdown for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ablate.arms import CURATED, RAW, Comparison
from ablate.compare import OVERALL, Multiplier, Spread, summary
from ablate.plot import drawn

MARKDOWN, JSON, PLOT = "ablation.md", "ablation.json", "ablation.svg"


def write(out: Path, comparison: Comparison, results: Sequence[dict[str, Any]]) -> str:
    """Write the report's files and return the sentences that answer the question."""
    found = summary(results, CURATED, comparison.jobs[0].steps)
    whole = {
        "arms": {name: asdict(about) for name, about in comparison.arms.items()},
        "measured_documents": comparison.measured,
        "other_measured_documents": comparison.others,
        "notes": comparison.notes,
        "steps": comparison.jobs[0].steps,
        "config": comparison.jobs[0].config,
        "summary": found,
        "results": list(results),
    }
    answer = _answer(found)
    (out / JSON).write_text(json.dumps(whole, indent=1, default=asdict) + "\n")
    (out / PLOT).write_text(drawn(results), encoding="utf-8")
    (out / MARKDOWN).write_text("\n".join([*_lines(comparison, found, answer), ""]), encoding="utf-8")
    return answer


def _answer(found: Mapping[str, Any]) -> str:
    raw, curated = (_spread(found[arm]["bits_per_byte"][OVERALL]) for arm in (RAW, CURATED))
    there = multipliers(found[RAW]["to_reference_loss"][OVERALL])
    here = multipliers(found[RAW]["to_own_loss"][OVERALL], most=True)
    return (
        f"After {found[CURATED]['tokens'].mean / 1e6:.2f} M tokens: curated {curated} bits per byte of clean text, raw {raw}. "
        f"For curated's loss, raw needs {there} times the tokens; for raw's loss, {here} times those that curated needs."
    )


def _lines(comparison: Comparison, found: Mapping[str, Any], answer: str) -> list[str]:
    arms = list(found)
    others = [arm for arm in arms if arm != CURATED]
    documents = {OVERALL: sum(comparison.measured.values()), **comparison.measured}
    lines = ["# Does curation help?", "", answer, "", f"![bits per byte over tokens]({PLOT})", ""]
    lines += [f"- Note: {note}." for note in comparison.notes]
    lines += _section("Arms", "", _arms(comparison, found))
    lines += _section(
        "Bits per byte of clean documents",
        "The mean over seeds, and in brackets their range, here as everywhere.",
        _table(
            ["corpus", "documents", *arms],
            ([corpus, f"{many}", *_each(found, arms, "bits_per_byte", corpus)] for corpus, many in documents.items()),
        ),
    )
    lines += _section(
        "Tokens an arm needs, over those that curated needs",
        "For curated's loss (`≥`: not reached with all that was read), and for the arm's own.",
        _table(
            ["corpus", *(f"{arm}, {whose} loss" for arm in others for whose in ("curated's", "its own"))],
            (
                [corpus]
                + [
                    multipliers(found[arm][key][corpus], key == "to_own_loss")
                    for arm in others
                    for key in ("to_reference_loss", "to_own_loss")
                ]
                for corpus in documents
            ),
        ),
    )
    for name, counts in comparison.others.items():
        lines += _section(
            f"Bits per byte of documents held out of {name}",
            "As they are; near-copies of them may be in the arms.",
            _table(
                ["corpus", "documents", *arms],
                (
                    [corpus, f"{many}", *(_spread(found[arm]["others"][name][corpus]) for arm in arms)]
                    for corpus, many in counts.items()
                ),
            ),
        )
    lines += _section(
        "Which of four pieces follows? Right answers",
        "Then the 95 % interval for as many questions. Guessing gives 25 %.",
        _table(
            ["corpus", "questions", *arms],
            (
                [corpus, f"{one['asked']}", *_each(found, arms, "cloze", corpus, _cloze)]
                for corpus, one in found[CURATED]["cloze"].items()
                if one is not None
            ),
        ),
    )
    lines += _section(
        "Recited training text",
        "Of documents that the arm has read, 50 tokens given: the next 50 written exactly, and tokens that are right.",
        _table(
            ["arm", "documents", "exactly", "tokens right"],
            (
                [
                    arm,
                    f"{found[arm]['recited_documents'].mean:.0f}",
                    _percent(found[arm]["recited_exactly"]),
                    _percent(found[arm]["recited_tokens"]),
                ]
                for arm in arms
            ),
        ),
    )
    return lines + ["", "## How", "", _how(comparison)]


def _arms(comparison: Comparison, found: Mapping[str, Any]) -> list[str]:
    head = ["arm", "documents", "held out", "near-copies left out", "trained on", "tokens", "read", "times"]
    return _table(
        [*head, "training loss, nats"],
        (
            [
                name,
                f"{about.documents:,}",
                f"{about.held_out:,}",
                f"{about.near_copies:,}",
                f"{about.trained_on:,}",
                f"{found[name]['arm_tokens'].mean:,.0f}",
                f"{found[name]['tokens'].mean:,.0f}",
                f"{found[name]['epochs'].mean:.2f}",
                _spread(found[name]["training_loss"]),
            ]
            for name, about in comparison.arms.items()
        ),
    )


def _how(comparison: Comparison) -> str:
    config = comparison.jobs[0].config
    model, training = config["model"], config["training"]
    seeds = ", ".join(str(seed) for seed in sorted({job.seed for job in comparison.jobs}))
    return (
        f"Seeds {seeds}, of weights, order and random subset. {comparison.jobs[0].steps} steps of "
        f"{training['batch_sequences']} × {training['sequence_length']} tokens; raw reads on to "
        f"{max(job.longer for job in comparison.jobs)}. {model['num_hidden_layers']} layers of {model['hidden_size']}, "
        f"{model['n_routed_experts']} experts, {model['vocab_size']} words; learning rate {training['learning_rate']:g}, "
        "constant after its warm-up. docs/ablation.md defines every figure."
    )


def multipliers(ones: Sequence[Multiplier], most: bool = False) -> str:
    """Return the mean of multipliers and their range; `most`: an unreached loss bounds them from above, not below."""
    sign = ("≤ " if most else "≥ ") if any(one.at_least for one in ones) else ""
    return f"{sign}{_spread(Spread.of([one.value for one in ones]), 2)}"


def _each(
    found: Mapping[str, Any],
    arms: Sequence[str],
    key: str,
    corpus: str,
    shown: Callable[[Any], str] | None = None,
) -> list[str]:
    return [(shown or _spread)(found[arm][key][corpus]) for arm in arms]


def _spread(spread: Spread, digits: int = 3) -> str:
    return f"{spread.mean:.{digits}f} [{spread.least:.{digits}f}–{spread.largest:.{digits}f}]"


def _percent(spread: Spread) -> str:
    return f"{spread.mean:.1%} [{spread.least:.1%}–{spread.largest:.1%}]"


def _cloze(one: Mapping[str, Any]) -> str:
    return f"{_percent(one['right'])}, {one['low']:.0%} to {one['high']:.0%}"


def _section(title: str, text: str, table: list[str]) -> list[str]:
    return ["", f"## {title}", "", *([text, ""] if text else []), *table]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    clean = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (head, *rows)]
    return [f"| {' | '.join(row)} |" for row in (clean[0], ["---"] * len(head), *clean[1:])]
