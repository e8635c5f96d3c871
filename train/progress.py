"""What a training says of itself: a line per step in a file, events for TensorBoard, and one line on the terminal."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

METRICS = "metrics.jsonl"
EARLIER = "earlier-metrics.jsonl"  # of the run whose checkpoints are there, while one that began anew has none


class Metrics:
    """Numbers of every step, in `metrics.jsonl` and, if asked for, as TensorBoard's events beside it."""

    def __init__(self, out: Path, done: int, tensorboard: bool) -> None:
        """Go on after step `done`: what was written of later steps is about to be computed again."""
        path = out / METRICS
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[:done] if done and path.exists() else []
        unfinished = path.with_suffix(".part")
        unfinished.write_text("".join(lines), encoding="utf-8")
        os.replace(unfinished, path)
        self._file = path.open("a", encoding="utf-8")
        self._events: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(out / "tensorboard"), purge_step=done + 1)

    def write(self, line: dict[str, Any]) -> None:
        """Add a step's numbers, nested ones under joined names."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if self._events is not None:
            for name, value in flat(line).items():
                if value is not None:
                    self._events.add_scalar(name.replace(".", "/"), value, line["step"])
            self._events.flush()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()


def flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested values under joined names, such as `config.training.steps`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
    return found


def show(step: int, steps: int, loss: float, rate: float, share_of_peak: float | None, seconds_per_step: float) -> None:
    """Show where a run is: on a terminal as one line that changes, else as twenty lines in all."""
    left = round(seconds_per_step * (steps - step))
    time_left = f"{left} s" if left < 600 else f"{left // 3600}:{left // 60 % 60:02} h"
    used = "" if share_of_peak is None else f"  MFU {share_of_peak:.1%}"
    line = f"step {step}/{steps}  loss {loss:.3f}  {rate:,.0f} tokens/s{used}  {time_left} left"
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if step == steps else ""))
    elif step % max(1, steps // 20) == 0 or step == steps:
        sys.stderr.write(line + "\n")
    sys.stderr.flush()
