"""What every test may ask for: the real data, and the vectors, or a skip that says why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)  # a busy machine is no failure
settings.load_profile("house")

SHARED = Path(os.environ.get("CORPUSMILL_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def _folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder (set CORPUSMILL_SHARED)")
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real corpora."""
    return _folder("data")


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of peers' results and planted truth."""
    return _folder("vectors")
