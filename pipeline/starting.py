"""How a process of a run starts and ends quickly: most of a small run is imports.

Importing makes a million objects that stay; looking through them for garbage, again and again and once more at the end, cost
a third of a run of 100 documents.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

STEPS = (50_000, 20, 20)
"""Objects, and rounds, after which garbage is looked for. Python's own first step, 700, is passed 2,000 times by imports."""
UNUSED = ("pandas", "pymongo", "bson", "boto3", "dill", "apache_beam.io.gcp")
"""What Beam imports where it is there, for readers, types and picklers of its own that no graph of ours has."""
OURS = ("filters", "pipeline", "samplers", "loader")
"""Packages that have kernels."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def start() -> None:
    """Look for garbage in larger steps from now on, and not when the process ends; keep to one core.

    To be called before numpy is imported, which else starts a thread for every core: each spins while it waits, and the
    cores are the other workers'.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _keep_memory()
    gc.set_threshold(*STEPS)
    atexit.register(gc.freeze)


def do_without_pandas() -> None:
    """Let pyarrow work without pandas, which it would import for the first array that it makes. Plugins may want it."""
    with _without("pandas"):
        import pyarrow

        pyarrow.array([0])  # it looks for pandas once


def _keep_memory() -> None:
    """Let glibc keep freed memory for the next array: given back, it comes again as pages to be zeroed, half of all."""
    with suppress(AttributeError, OSError):  # another C library
        set_option = ctypes.CDLL(None).mallopt
        set_option(_M_TRIM_THRESHOLD, 1 << 29)
        set_option(_M_MMAP_THRESHOLD, 1 << 25)  # the most that it takes


def import_beam(options: Sequence[str] = ()) -> None:
    """Import Beam without what its embedded runner does not use, unless the process has it already or an option names it.

    Beam looks once what there is: a process that has imported it so does not reach Google's storage through it later.
    """
    with _without(*(name for name in UNUSED if not any(name in option for option in options))):
        import apache_beam  # noqa: F401
        from apache_beam.runners.portability import fn_api_runner  # noqa: F401
    _remember_arguments()
    _end_bundles_soon()


def _end_bundles_soon() -> None:
    """Let Beam look every 2 ms what a bundle is at, not every 200: a bundle does not end before it has looked once more.

    So each stage ended a tenth of a second late, and the stages that hear all pieces, and their workers, waited for it.
    """
    from apache_beam.runners.worker.statesampler import StateSampler

    StateSampler.__init__.__defaults__ = (2,)


def _remember_arguments() -> None:
    """Let Beam look once what arguments a function takes: for a graph of twenty stages it asks 5,000 times."""
    from apache_beam.transforms import core

    look = core.get_function_args_defaults
    if look.__module__ != core.__name__:
        return  # it is ours already
    known: dict[tuple[object, bool], tuple[list[str], list[object]]] = {}

    def remembered(function: Callable[..., object]) -> tuple[list[str], list[object]]:
        key = (getattr(function, "__func__", function), hasattr(function, "__self__"))
        if key not in known:
            known[key] = look(function)
        names, defaults = known[key]
        return list(names), list(defaults)

    core.get_function_args_defaults = remembered


def import_numba() -> None:
    """Import numba, and let it look for BLAS only when a kernel multiplies matrices: it does so by importing SciPy."""
    from numba.np import linalg

    look = linalg.ensure_blas
    linalg.ensure_blas = lambda: None
    try:
        import numba.np.arraymath  # noqa: F401  # looks once, when it is imported
    finally:
        linalg.ensure_blas = look
    _load_kernels_alone()


def _load_kernels_alone() -> None:
    """Let numba load a compiled kernel of ours without all that compiling needs, which it sets up when it compiles."""
    from numba.core.caching import Cache
    from numba.core.runtime import rtsys

    load_with_compiler = Cache.load_overload

    def load_overload(cache: Any, signature: Any, context: Any) -> Any:
        if cache._py_func.__module__.partition(".")[0] not in OURS:
            return load_with_compiler(cache, signature, context)  # a ufunc's asks the compiler what operators it has
        rtsys.initialize(context)
        with cache._guard_against_spurious_io_errors():
            return cache._load_overload(signature, context)

    Cache.load_overload = load_overload


class _Absent:
    """Finds that packages are not there, for the import system; those that are imported already are not looked for."""

    def __init__(self, packages: Collection[str]) -> None:
        self._packages = packages

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in self._packages:
            raise ModuleNotFoundError(f"no {name} here", name=name)


@contextmanager
def _without(*packages: str) -> Iterator[None]:
    """Let an import of these packages fail, as if they were not installed."""
    absent = _Absent(packages)
    sys.meta_path.insert(0, absent)
    try:
        yield
    finally:
        sys.meta_path.remove(absent)
