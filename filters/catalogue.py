"""Every built-in signal by the columns it writes, and signals from a user's own file."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pyarrow as pa

from filters import c4, code, fineweb, language, quality, repetition, sketch
from filters.signal import Signal, SignalError, collect

WRITERS: Mapping[str, Signal] = collect([c4, code, fineweb, language, quality, repetition, sketch])
"""Column → the signal that writes it."""

TYPES: Mapping[str, pa.DataType] = {column: signal.writes[column] for column, signal in WRITERS.items()}
"""Column → its Arrow type."""


def plugin(path: str) -> ModuleType:
    """Run a user's Python file as a module of a private name and return it; collect() finds the signals in it.

    The file is code and is trusted like the command line that names it. Every call runs it anew. Raises SignalError
    with the file and line of a fault.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise SignalError(f"{path}: no such file; a plugin is a Python file that defines signals")
    name = f"corpusmill_plugin_{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise SignalError(f"{path}: not a Python file; a plugin's name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and inspect look a class's or function's module up there
    try:
        spec.loader.exec_module(module)
    except Exception as fault:
        del sys.modules[name]
        raise SignalError(f"{path}:{_line(fault, file)}: {type(fault).__name__}: {_message(fault)}") from fault
    return module


def _line(fault: Exception, file: Path) -> int:
    """Return the line of `file` where a fault arose: the deepest of its frames, or where its text cannot be parsed."""
    if isinstance(fault, SyntaxError) and fault.filename == str(file):
        return fault.lineno or 1
    lines = [frame.lineno for frame in traceback.extract_tb(fault.__traceback__) if frame.filename == str(file)]
    return (lines[-1] if lines else None) or 1


def _message(fault: Exception) -> str:
    return fault.msg if isinstance(fault, SyntaxError) else str(fault)
