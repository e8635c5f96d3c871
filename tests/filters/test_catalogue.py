"""The catalogue of signals, and a user's signals from a file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from filters.catalogue import TYPES, WRITERS, plugin
from filters.presets import PRESETS
from filters.signal import SignalError, collect, measure, needed

GIVEN = ("text", "programming_language")
PAGE = (Path(__file__).parents[2] / "docs" / "signals.md").read_text()
EXAMPLE, BAD_WORDS = (block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "@signal" in block)


def batch(*texts: str) -> pa.RecordBatch:
    columns = {"text": pa.array(texts, pa.large_string()), "programming_language": pa.nulls(len(texts), pa.string())}
    return pa.RecordBatch.from_pydict(columns)


def test_every_column_of_every_preset_has_a_signal():
    columns = {rule.column for preset in PRESETS.values() for rule in preset.rules}
    assert columns <= set(WRITERS)


def test_every_column_has_the_type_its_signal_declares():
    assert set(TYPES) == set(WRITERS)
    assert all(WRITERS[column].writes[column] == kind for column, kind in TYPES.items())


def test_every_signal_measures_no_texts_odd_texts_and_slices():
    texts = ["", " ", "\n", "a", "😀", "개념 증명이다.", "One line.\nAnother line, too.\n" * 20]
    signals = needed(WRITERS, WRITERS, GIVEN)
    whole = measure(batch(*texts), signals)
    assert set(whole.schema.names) == set(WRITERS)
    assert measure(batch(), signals).num_rows == 0
    assert measure(batch(*texts).slice(2, 3), signals).equals(whole.slice(2, 3))


def test_importing_the_catalogue_loads_no_model_and_compiles_nothing():
    program = (
        "import sys, numba.core.dispatcher as d\n"
        "def refuse(*_): raise AssertionError('a kernel is compiled')\n"
        "d._FunctionCompiler.compile = refuse\n"
        "import filters.catalogue\n"
        "assert not {'fasttext', 'torch', 'apache_beam'} & set(sys.modules), 'a heavy module is imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_page_on_signals_has_every_column_with_its_type():
    tables = [part.splitlines() for part in PAGE.split("\n\n") if part.startswith("| column | type |")]
    rows = [line.split("|") for table in tables for line in table[2:]]
    named = {column: cells[2].strip() for cells in rows for column in re.findall(r"`(\w+)`", cells[1])}
    assert named == {column: "float32" if kind == pa.float32() else str(kind) for column, kind in TYPES.items()}


def test_the_pages_example_of_a_users_signal_is_short_and_is_found_ordered_and_measured(tmp_path):
    file = tmp_path / "my signals.py"
    file.write_text(EXAMPLE)
    assert len(EXAMPLE.strip().splitlines()) <= 12
    own = collect([plugin(str(file))])
    signals = needed(["exclamation_marks", "newlines"], {**WRITERS, **own}, GIVEN)
    assert measure(batch("Buy! Buy!\n", "", "그래!"), signals).to_pydict()["exclamation_marks"] == [2, 0, 1]


def test_the_pages_signal_for_a_list_of_words_counts_them(tmp_path):
    (tmp_path / "words.py").write_text(BAD_WORDS.replace("no good", "no good\n나쁜"))
    own = collect([plugin(str(tmp_path / "words.py"))])
    texts = ("Darn, a no good day.", "darned", "", "나쁜 말", "fine")
    assert measure(batch(*texts), own.values()).to_pydict()["bad_words"] == [2, 0, 0, 1, 0]


def test_a_users_signal_may_read_what_another_signal_writes(tmp_path):
    file = tmp_path / "more.py"
    file.write_text(
        "import pyarrow as pa, pyarrow.compute as pc\nfrom filters.signal import signal\n"
        "@signal(lines=pa.int32())\ndef lines(newlines: pa.Int32Array) -> pa.Array:\n    return pc.add(newlines, 1)\n"
    )
    own = collect([plugin(str(file))])
    signals = needed(["lines"], {**WRITERS, **own}, GIVEN)
    assert measure(batch("a\nb", ""), signals).to_pydict()["lines"] == [2, 1]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import pyarrow\n\ndef f(:\n    pass\n", r"bad\.py:3: SyntaxError: "),
        ("import pyarrow\nx = 1\nx.y\n", r"bad\.py:3: AttributeError: "),
        ("import no_such_module\n", r"bad\.py:1: ModuleNotFoundError: "),
        ("from filters.signal import signal\n\n@signal()\ndef f(text): ...\n", r"bad\.py:3: SignalError: f: a signal"),
    ],
)
def test_a_faulty_file_is_named_with_the_line_of_the_fault(tmp_path, source, complaint):
    file = tmp_path / "bad.py"
    file.write_text(source)
    with pytest.raises(SignalError, match=complaint):
        plugin(str(file))
    assert not [
        name for name in sys.modules if name.startswith("corpusmill_plugin") and "bad" in str(sys.modules[name])
    ]


def test_a_missing_file_and_another_kind_of_file_are_named(tmp_path):
    with pytest.raises(SignalError, match=r"nowhere\.py: no such file"):
        plugin(str(tmp_path / "nowhere.py"))
    (tmp_path / "signals.txt").write_text("")
    with pytest.raises(SignalError, match=r"signals\.txt: not a Python file"):
        plugin(str(tmp_path / "signals.txt"))


def test_two_files_of_one_name_do_not_replace_each_other(tmp_path):
    modules = []
    for folder, value in (("one", 1), ("two", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "signals.py").write_text(f"value = {value}\n")
        modules.append(plugin(str(tmp_path / folder / "signals.py")))
    assert [module.value for module in modules] == [1, 2]
    assert len({module.__name__ for module in modules}) == 2
