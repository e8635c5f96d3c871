"""How a process of a run starts and ends quickly: most of a small run is imports.

Importing makes a million objects that stay; looking through them for garbage, again and again and once more at the end, cost
a third of a run of 100 documents.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STEPS = (50_000, 20, 20)
"""Objects, and rounds, after which garbage is looked for. Python's own first step, 700, is passed 2,000 times by imports."""
UNUSED = ("pandas", "pymongo", "boto3")
"""Packages that Beam imports where they are there, for readers and types of its own that no graph of ours has."""


def start() -> None:
    """Look for garbage in larger steps from now on, and not when the process ends."""
    gc.set_threshold(*STEPS)
    atexit.register(gc.freeze)


def import_beam() -> None:
    """Import Beam without what its embedded runner does not use, unless the process has that already."""
    with _without(*UNUSED):
        import apache_beam  # noqa: F401
        from apache_beam.runners.portability import fn_api_runner  # noqa: F401


@contextmanager
def _without(*packages: str) -> Iterator[None]:
    """Let an import of these packages fail, as if they were not installed, but for those that are imported already."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is what stops an import
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
