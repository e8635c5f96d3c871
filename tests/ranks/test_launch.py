"""The launcher: exit codes, and who died. Alone, ranks are as if they were not there."""

from __future__ import annotations

import operator
import os
import signal

import pytest
import torch

from ranks.group import ALONE, ElsewhereError, Ranks, RanksError, join
from ranks.launch import launch


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which launching would set, and leave


@pytest.mark.parametrize("code", [0, 2, 130])
def test_the_exit_code_is_that_of_the_processes(code: int) -> None:
    before = signal.getsignal(signal.SIGINT)
    assert launch(2, operator.index, code) == code
    assert signal.getsignal(signal.SIGINT) is before


def test_processes_meet_by_what_torchrun_would_have_set(capfd: pytest.CaptureFixture[str]) -> None:
    assert launch(2, os.system, "echo $RANK $LOCAL_RANK $WORLD_SIZE") == 0
    assert sorted(capfd.readouterr().out.splitlines()) == ["0 0 2", "1 1 2"]
    assert "RANK" not in os.environ


def test_a_process_that_dies_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(1, signal.raise_signal, signal.SIGKILL) == 1
    assert capsys.readouterr().err == "process 0 of 1 died of SIGKILL; --resume goes on from the last checkpoint\n"


def test_alone_nothing_is_exchanged() -> None:
    ranks = join({}, torch.device("cpu"))
    assert ranks == ALONE
    tensor = torch.ones(2)
    assert ranks.sum(tensor) is tensor
    assert ranks.any(True)
    assert not ranks.any(False)
    with pytest.raises(OSError, match="full"), ranks.together():
        raise OSError("full")
    with pytest.raises(RanksError, match="expert_parallel 2 does not divide 1 processes"):
        join({}, torch.device("cpu"), 2).check(16)


def test_an_error_that_all_have_come_to_is_the_first_ones_to_tell() -> None:
    error = ValueError("the loss is nan")
    assert ALONE.said_once(error) is Ranks(0, 2).said_once(error) is error
    assert isinstance(Ranks(1, 2).said_once(error), ElsewhereError)


def test_a_number_of_processes_without_a_place_to_meet_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(RanksError, match=r"WORLD_SIZE is 2, and the processes do not meet: .* RANK"):
        join({"WORLD_SIZE": "2"}, torch.device("cpu"))


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two': a whole number from 1 on is wanted"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is '': a whole number from 1 on"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0': a whole number from 1 on"),
        ({"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE is '3': a whole number from 1 to 2"),
        ({"WORLD_SIZE": "2", "RANK": "-1"}, "RANK is '-1': a whole number from 0 to 1"),
        ({"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "2"}, "LOCAL_RANK is '2': .* from 0 to 1"),
    ],
)
def test_a_variable_that_is_no_such_number_is_named(said: dict[str, str], wanted: str) -> None:
    with pytest.raises(RanksError, match=wanted):
        join(said, torch.device("cpu"))
