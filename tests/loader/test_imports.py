"""The loader serves any trainer: it must not bring torch."""

from __future__ import annotations

import subprocess
import sys


def test_reading_rows_loads_no_torch() -> None:
    program = "import loader.stream, sys; raise SystemExit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
