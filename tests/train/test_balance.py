"""Balancing: biases even the loads out, and the sequence loss says how uneven they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from train.balance import bias_speed, expert_layers, loads, max_violation, move_biases, sequence_loss
from train.experts import Routing
from train.model import Decoder


def test_loads_of_parts_add_up(make_decoder: Callable[..., Decoder]) -> None:
    decoder = make_decoder()
    rows = torch.randint(97, (4, 10), generator=torch.Generator().manual_seed(0))
    whole = loads(decoder(rows)[1], 8)
    parts = sum(loads(decoder(row[None])[1], 8) for row in rows)
    assert torch.equal(whole, parts)
    assert whole.sum(dim=-1).tolist() == [4 * 10 * 2] * 2


def test_moving_biases_evens_the_loads(make_decoder: Callable[..., Decoder]) -> None:
    decoder = make_decoder(num_nextn_predict_layers=0)
    rows = torch.randint(97, (8, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = max_violation(loads(decoder(rows)[1], 8))
        for _ in range(150):
            move_biases(decoder, loads(decoder(rows)[1], 8), 0.01)
        after = max_violation(loads(decoder(rows)[1], 8))
    assert before > 0.5
    assert after < 0.15


def test_biases_rise_where_loads_are_low_and_rest_at_the_mean(make_decoder: Callable[..., Decoder]) -> None:
    decoder = make_decoder(num_nextn_predict_layers=0)
    move_biases(decoder, torch.tensor([[0, 8, 4, 4, 4, 4, 4, 4]] * 2), 0.5)
    for layer in expert_layers(decoder):
        assert layer.gate.e_score_correction_bias.tolist() == [0.5, -0.5, 0, 0, 0, 0, 0, 0]


def test_the_sequence_loss_is_one_when_even_and_grows_with_unevenness() -> None:
    even = Routing(torch.full((1, 4, 4), 0.5), torch.tensor([[[0], [1], [2], [3]]]))
    assert float(sequence_loss(even)) == pytest.approx(1.0)
    crowded = Routing(torch.tensor([0.9, 0.1, 0.1, 0.1]).expand(1, 4, 4), torch.zeros(1, 4, 1, dtype=torch.int64))
    assert float(sequence_loss(crowded)) == pytest.approx(4 * 0.75)


def test_the_sequence_loss_of_a_batch_is_the_mean_of_its_rows() -> None:
    scores, chosen = torch.rand(3, 7, 4), torch.rand(3, 7, 4).argsort(dim=-1)[..., :2]
    rows = [sequence_loss(Routing(scores[i : i + 1], chosen[i : i + 1])) for i in range(3)]
    torch.testing.assert_close(sequence_loss(Routing(scores, chosen)), torch.stack(rows).mean())


def test_short_runs_move_biases_faster_and_all_runs_let_them_settle() -> None:
    assert bias_speed(0, 100) == 0.02
    assert bias_speed(0, 100) > bias_speed(0, 1000) > bias_speed(0, 100_000) == 0.001
    assert bias_speed(10, 300) > bias_speed(200, 300) > 0
    assert bias_speed(299, 300) == 0.0


def test_violation_is_the_excess_of_the_busiest() -> None:
    assert max_violation(torch.tensor([[1, 1, 1, 1]])) == 0.0
    assert max_violation(torch.tensor([[4, 0, 0, 0], [1, 1, 1, 1]])) == pytest.approx(1.5)
