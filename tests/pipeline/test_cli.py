"""The command line: where options of a runner may stand, and what is said of those that are not wanted."""

from __future__ import annotations

import json

import pytest

from pipeline.cli import main
from tests.pipeline.corpora import documents, write_jsonl


@pytest.fixture
def recipe(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", documents(5))
    corpora = {"a": {"read": {"format": "jsonl", "paths": "a.jsonl"}}}
    (tmp_path / "r.yaml").write_text(json.dumps({"corpora": corpora, "shards": {"tokenizer": {"train": 300}}}))
    return str(tmp_path / "r.yaml")


@pytest.mark.parametrize("before", [True, False])
def test_options_of_a_runner_stand_after_two_dashes_whatever_comes_before(recipe, tmp_path, before, capsys):
    out = ["--out", str(tmp_path / "run"), "--quiet"]
    beam = ["--", "--runner=FnApiRunner", "--direct_running_mode=in_memory"]
    assert main(["run", *([*out, recipe] if before else [recipe, *out]), *beam]) == 0
    assert "5" in capsys.readouterr().out


def test_verbs_that_run_nothing_take_no_options_of_a_runner(recipe, capsys):
    assert main(["check", recipe, "--", "--runner=x"]) == 2
    assert "takes no options of a runner: --runner=x" in capsys.readouterr().err
