"""Small drawings for the report, as SVG text: nothing but numbers of ours and escaped labels goes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from pipeline.statistics import bin_edges

WIDTH, HEIGHT, BASE = 360, 120, 100


def histogram(kept: Mapping[str, int], dropped: Mapping[str, int], bounds: Sequence[tuple[str, float]]) -> str:
    """Draw documents by value, kept below dropped, with a line at each bound (`min` or `max`, value)."""
    bins = sorted({int(b) for counts in (kept, dropped) for b in counts if b != "null"})
    if not bins:
        return ""
    first, last = bins[0], bins[-1]
    for _, bound in bounds:
        number = _bin_of(bound)
        first, last = min(first, number), max(last, number)
    step = WIDTH / (last - first + 1)
    top = max(kept.get(str(b), 0) + dropped.get(str(b), 0) for b in bins)
    parts = [f'<svg viewBox="0 -14 {WIDTH} {HEIGHT + 16}" role="img" class="histogram">']
    for number in bins:
        x, y = (number - first) * step, float(BASE)
        good, bad = kept.get(str(number), 0), dropped.get(str(number), 0)
        low, high = bin_edges(number)
        title = f"<title>{low:.3g} to {high:.3g}: {good:,} kept, {bad:,} dropped</title>"
        for name, count in (("kept", good), ("dropped", bad)):
            tall = count / top * BASE
            y -= tall
            size = f'width="{max(step - 0.5, 0.5):.2f}" height="{tall:.1f}"'
            if count:
                parts.append(f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" {size}>{title}</rect>')
    for kind, bound in bounds:
        low, high = bin_edges(_bin_of(bound))
        x = (_bin_of(bound) - first + (bound - low) / (high - low)) * step
        side, dx = ("start", 3) if x < WIDTH * 0.75 else ("end", -3)
        parts.append(f'<line class="bound" x1="{x:.1f}" x2="{x:.1f}" y1="-2" y2="{BASE}"/>')
        parts.append(
            f'<text class="bound" x="{x + dx:.1f}" y="-4" text-anchor="{side}">{escape(kind)} {bound:g}</text>'
        )
    for x, value, side in ((0, bin_edges(first)[0], "start"), (WIDTH, bin_edges(last)[1], "end")):
        parts.append(f'<text x="{x}" y="{BASE + 14}" text-anchor="{side}">{value:.3g}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{BASE + 14}" text-anchor="middle">most in a bin: {top:,}</text></svg>')
    return "".join(parts)


def _bin_of(value: float) -> int:
    import numpy as np

    from pipeline.statistics import bins_of

    return int(bins_of(np.array([value]))[0])


def funnel(steps: Sequence[tuple[str, int]]) -> str:
    """Draw what is left after each step as bars of one scale, with the count and the share of the first."""
    first = max(steps[0][1], 1)
    row, left, full = 26, 190, 420
    parts = [f'<svg viewBox="0 0 {left + full + 170} {row * len(steps)}" role="img" class="funnel">']
    for index, (label, count) in enumerate(steps):
        y, width = index * row, count / first * full
        parts.append(f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{escape(label)}</text>')
        parts.append(f'<rect class="kept" x="{left}" y="{y + 3}" width="{max(width, 0.5):.1f}" height="{row - 7}"/>')
        parts.append(f'<text x="{left + width + 8:.1f}" y="{y + 17}">{count:,} ({count / first:.1%})</text>')
    return "".join([*parts, "</svg>"])
