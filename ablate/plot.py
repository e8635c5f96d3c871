"""The curves of a comparison as SVG: bits per byte over tokens, a panel per corpus, the range over seeds as a band."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from ablate.compare import OVERALL, bits

COLOURS = ("#0072b2", "#d55e00", "#7a7a7a", "#009e73", "#cc79a7", "#e69f00")  # told apart by the colour-blind too
WIDTH, HEIGHT, LEFT, TOP, GAP = 300, 180, 46, 34, 62
PANELS = 3  # a row


def drawn(results: Sequence[dict[str, Any]]) -> str:
    """Return a drawing of all arms: one panel for the mean of all corpora, then one for each."""
    arms = list(dict.fromkeys(result["arm"] for result in results))
    corpora = [OVERALL, *results[0]["curve"][0]["bits_per_byte"]]
    rows = -(-len(corpora) // PANELS)
    wide = LEFT + min(PANELS, len(corpora)) * (WIDTH + GAP)
    tall = TOP + rows * (HEIGHT + GAP) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" font-family="sans-serif" font-size="11">',
        f'<rect width="{wide}" height="{tall}" fill="#fff"/>',
    ]
    for number, arm in enumerate(arms):
        x, colour = LEFT + number * 110, COLOURS[number % len(COLOURS)]
        parts.append(f'<line x1="{x}" x2="{x + 18}" y1="12" y2="12" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 23}" y="16">{escape(arm)}</text>')
    for number, corpus in enumerate(corpora):
        x, y = LEFT + number % PANELS * (WIDTH + GAP), TOP + number // PANELS * (HEIGHT + GAP)
        parts.append(f'<g transform="translate({x} {y})">{_panel(results, arms, corpus)}</g>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(results: Sequence[dict[str, Any]], arms: Sequence[str], corpus: str) -> str:
    """Draw one corpus. The first eighth of the curves, which all arms fall through alike, is left out."""
    furthest = max(result["curve"][-1]["tokens"] for result in results)
    shown = min(result["curve"][-1]["tokens"] for result in results) / 8
    curves: dict[str, list[list[tuple[float, float]]]] = {arm: [] for arm in arms}
    for one in results:
        points = [(point["tokens"], bits(point, corpus)) for point in one["curve"] if point["tokens"] >= shown]
        curves[one["arm"]].append(points)
    values = [value for ones in curves.values() for one in ones for _, value in one]
    low, high = min(values), max(values)
    reach = max(high - low, 1e-6)

    def at(tokens: float, value: float) -> str:
        return f"{tokens / furthest * WIDTH:.1f},{HEIGHT - (value - low) / reach * HEIGHT:.1f}"

    title = "mean of all corpora" if corpus == OVERALL else corpus
    parts = [f'<text x="0" y="-5" font-weight="bold">{escape(title)}</text>']
    for share in (0.0, 0.5, 1.0):
        y = HEIGHT - share * HEIGHT
        parts.append(f'<line x1="0" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="-5" y="{y + 4:.1f}" text-anchor="end">{low + share * reach:.2f}</text>')
        side = ("start", "middle", "end")[round(share * 2)]
        x = share * WIDTH
        parts.append(
            f'<text x="{x:.0f}" y="{HEIGHT + 15}" text-anchor="{side}">{share * furthest / 1e6:.3g} M tokens</text>'
        )
    for number, arm in enumerate(arms):
        colour, ones = COLOURS[number % len(COLOURS)], curves[arm]
        steps = list(zip(*ones, strict=False))  # the same of every seed
        tokens = [sum(place for place, _ in seeds) / len(seeds) for seeds in steps]
        values_at = [[value for _, value in seeds] for seeds in steps]
        upper = [at(place, max(seeds)) for place, seeds in zip(tokens, values_at, strict=True)]
        lower = [at(place, min(seeds)) for place, seeds in zip(tokens, values_at, strict=True)]
        mean = [at(place, sum(seeds) / len(seeds)) for place, seeds in zip(tokens, values_at, strict=True)]
        parts.append(f'<polygon points="{" ".join(upper + lower[::-1])}" fill="{colour}" opacity="0.2"/>')
        parts.append(f'<polyline points="{" ".join(mean)}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
    return "".join(parts)
