"""Every built-in signal by the columns it writes, and signals from a user's own file."""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.util
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, ModuleType

import pyarrow as pa

from filters import c4, code, fineweb, language, quality, repetition, sketch
from filters.signal import Signal, SignalError, collect

WRITERS: Mapping[str, Signal] = collect([c4, code, fineweb, language, quality, repetition, sketch])
"""Column → the signal that writes it."""

TYPES: Mapping[str, pa.DataType] = {column: signal.writes[column] for column, signal in WRITERS.items()}
"""Column → its Arrow type."""


def plugin(path: str, source: str | None = None) -> ModuleType:
    """Run a user's Python file as a module of a private name and return it; collect() finds the signals in it.

    The file is code and is trusted like the command line that names it. Every call runs it anew. `source` is its text,
    where the file itself is not on this machine. Raises SignalError with the file and line of a fault.
    """
    file = Path(path).resolve()
    if not path.endswith(".py"):
        raise SignalError(f"{path}: not a Python file; a plugin's name ends in .py")
    if source is None:
        if not file.is_file():
            raise SignalError(f"{path}: no such file; a plugin is a Python file that defines signals")
        source = file.read_text(encoding="utf-8")
    name = f"corpusmill_plugin_{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_loader(name, _Text(str(file), source), origin=str(file))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and inspect look a class's or function's module up there
    try:
        spec.loader.exec_module(module)
    except Exception as fault:
        del sys.modules[name]
        raise SignalError(f"{path}:{_line(fault, file)}: {type(fault).__name__}: {_message(fault)}") from fault
    return module


class _Text(importlib.abc.InspectLoader):
    """Load a module from its source, which is at hand."""

    def __init__(self, path: str, source: str) -> None:
        self._path, self._source = path, source

    def get_source(self, fullname: str) -> str:
        return self._source

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._source, self._path)

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = self._path
        super().exec_module(module)


def _line(fault: Exception, file: Path) -> int:
    """Return the line of `file` where a fault arose: the deepest of its frames, or where its text cannot be parsed."""
    if isinstance(fault, SyntaxError) and fault.filename == str(file):
        return fault.lineno or 1
    lines = [frame.lineno for frame in traceback.extract_tb(fault.__traceback__) if frame.filename == str(file)]
    return (lines[-1] if lines else None) or 1


def _message(fault: Exception) -> str:
    return fault.msg if isinstance(fault, SyntaxError) else str(fault)
