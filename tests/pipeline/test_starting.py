"""A process that starts lightly has all that it would have otherwise."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.starting import UNUSED

pytest.importorskip("pandas")


def said(script: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(folder or "")])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_beam_comes_without_what_no_graph_of_ours_uses_and_that_can_be_imported_afterwards():
    script = f"""
import sys
from pipeline.starting import import_beam
import_beam()
print([name for name in {UNUSED} if name in sys.modules])
import pandas, pyarrow
print(pyarrow.array([1, 2]).to_pandas().sum())
import apache_beam.io.gcp
"""
    assert said(script).split("\n") == ["[]", "3"]


def test_beam_comes_with_what_an_option_names():
    script = """
import sys
from pipeline.starting import import_beam
import_beam(["--pickle_library=dill"])
from apache_beam.internal import dill_pickler
print("dill" in sys.modules, "pandas" in sys.modules)
"""
    assert said(script) == "True False"


def test_a_ufunc_of_a_plugin_is_loaded_from_its_cache(tmp_path):
    """numba asks the compiler for the operators of a ufunc, which a kernel of ours can do without."""
    (tmp_path / "ufuncs.py").write_text(
        "import numba\n@numba.vectorize(['float64(float64)'], cache=True)\ndef squared(x): return x ** 2\n"
    )
    script = "from pipeline.starting import import_numba\nimport_numba()\nimport ufuncs\nprint(ufuncs.squared(3.0))"
    for _ in ("compiled", "loaded"):
        assert said(script, tmp_path) == "9.0"
    assert list(tmp_path.glob("__pycache__/*.nbc"))


def test_a_command_starts_before_it_imports_numpy(tmp_path):
    script = """
import sys
from pipeline import cli, starting
starting.start = lambda: print("numpy" in sys.modules)
cli.main(["run", "no.yaml", "--out", "out"])
"""
    assert said(script, tmp_path) == "False"


def test_a_process_of_a_run_keeps_to_one_core():
    script = """
from pipeline.starting import start
start()
import numpy, os
print(len(os.listdir("/proc/self/task")))
"""
    assert not Path("/proc/self/task").exists() or said(script) == "1"


def test_what_is_imported_already_stays_for_beam():
    script = (
        "import pandas, sys\nfrom pipeline.starting import import_beam\nimport_beam()\nprint('pandas' in sys.modules)"
    )
    assert said(script) == "True"


def test_matrices_can_be_multiplied_in_a_kernel_although_blas_is_looked_for_late():
    pytest.importorskip("scipy")
    script = """
import sys
from pipeline.starting import import_numba
import_numba()
import pyarrow
from filters.sketch import bands
bands(pyarrow.array(["A text loads what numba loads late."], pyarrow.large_string()))
print("scipy.linalg" in sys.modules)
import numba, numpy
print(numba.njit(lambda a: (a @ a).sum())(numpy.eye(3)))
"""
    assert said(script).split("\n") == ["False", "3.0"]


def test_a_run_ends_without_looking_for_garbage_once_more():
    assert (
        said("import gc\nfrom pipeline.starting import start\nstart()\nprint(gc.get_threshold()[0] > 10_000)") == "True"
    )


def test_beam_is_told_the_same_arguments_the_second_time():
    script = """
from pipeline.starting import import_beam
import_beam()
import_beam()
from apache_beam import DoFn
from apache_beam.transforms import core
class One(DoFn):
    def process(self, element, more=DoFn.TimestampParam): pass
for one in (One().process, One().process, One.process):
    print(core.get_function_args_defaults(one)[0])
"""
    assert said(script).split("\n") == ["['element', 'more']"] * 2 + ["['self', 'element', 'more']"]


def test_beam_does_not_wait_long_for_the_end_of_a_bundle():
    """It waits until the thread that samples what a bundle is at has slept for the last time."""
    script = """
from pipeline.starting import import_beam
import_beam()
from apache_beam.runners.worker.statesampler import StateSampler
from apache_beam.utils.counters import CounterFactory
print(StateSampler("one", CounterFactory()).sampling_period_ms)
"""
    assert said(script) == "2"


def test_views_of_options_are_made_once_and_share_what_is_set():
    from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

    from pipeline.graph import Options

    given = ["--runner=FnApiRunner", "--direct_num_workers=3"]
    options = Options(given)
    assert options.view_as(DirectOptions) is options.view_as(DirectOptions)
    for one in (options, copy.deepcopy(options)):
        one.view_as(DirectOptions).direct_num_workers += 1
        assert one.view_as(StandardOptions).view_as(DirectOptions).direct_num_workers == 4
        assert one.get_all_options() == {**PipelineOptions(given).get_all_options(), "direct_num_workers": 4}
        one.view_as(DirectOptions).direct_num_workers = 3
    assert "_views" not in options.__getstate__()


def test_to_plan_does_not_import_what_stages_compile(tmp_path):
    """The driver imports Beam while the process that workers are forked from imports the stages."""
    script = """
import sys
from pipeline.recipe import parse
from pipeline.plan import make_plan
open("a.txt", "w").write("A text.")
recipe = parse({"corpora": {"a": {"read": {"format": "text", "paths": "a.txt"}}}, "deduplicate": {"near": {"threshold": 0.8}}})
make_plan(recipe, "run")
print("numba" in sys.modules)
"""
    assert said(script, tmp_path) == "False"
