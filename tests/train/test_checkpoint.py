"""A checkpoint is whole or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from train.about import CheckpointError, checkpoints, read_about
from train.checkpoint import load_model, load_optimiser, save_checkpoint
from train.config import preset
from train.model import Decoder
from train.optim import optimiser

MakeDecoder = Callable[..., Decoder]


def saved(decoder: Decoder, folder: Path, step: int = 3) -> Path:
    moves = optimiser(decoder, preset("tiny-cpu").training)
    draw = torch.Generator().manual_seed(step)
    for weight in decoder.parameters():
        weight.grad = torch.randn(weight.shape, generator=draw)
    moves.step()
    return save_checkpoint(folder, step, decoder, moves, {"seed": 1})


def test_weights_and_the_optimisers_state_come_back_to_the_bit(make_decoder: MakeDecoder, tmp_path: Path) -> None:
    first = make_decoder(1)
    moves = optimiser(first, preset("tiny-cpu").training)
    for weight in first.parameters():
        weight.grad = torch.ones_like(weight)
    moves.step()
    path = save_checkpoint(tmp_path, 7, first, moves, {})
    second = make_decoder(2)
    again = optimiser(second, preset("tiny-cpu").training)
    assert load_model(path, second)["step"] == 7
    load_optimiser(path, second, again)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
        for name, value in moves.state[one].items():
            assert torch.equal(value, again.state[other][name])


@pytest.mark.parametrize("part", ["model", "optimiser"])
def test_one_changed_byte_is_refused_and_its_tensor_named(part: str, make_decoder: MakeDecoder, tmp_path: Path) -> None:
    decoder = make_decoder()
    path = saved(decoder, tmp_path)
    file = path / f"{part}.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    load = (
        load_model if part == "model" else lambda p, d: load_optimiser(p, d, optimiser(d, preset("tiny-cpu").training))
    )
    with pytest.raises(CheckpointError, match=rf"{part}\.safetensors: damaged: the tensor 'model\..*' differs"):
        load(path, decoder)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-100], lambda data: data[:4], lambda data: b"", lambda data: b"\xff" * len(data)]
)
def test_a_file_cut_short_is_refused(
    damage: Callable[[bytes], bytes], make_decoder: MakeDecoder, tmp_path: Path
) -> None:
    decoder = make_decoder()
    path = saved(decoder, tmp_path)
    file = path / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CheckpointError, match="cut short"):
        load_model(path, decoder)


def test_a_file_that_is_gone_is_named_with_what_to_do(make_decoder: MakeDecoder, tmp_path: Path) -> None:
    decoder = make_decoder()
    path = saved(decoder, tmp_path)
    (path / "model.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors: cannot be read: No such file .*; remove its folder"
    ):
        load_model(path, decoder)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b'{"step": 3, "sha256": "00"}'])
def test_a_damaged_description_is_refused(content: bytes, make_decoder: MakeDecoder, tmp_path: Path) -> None:
    path = saved(make_decoder(), tmp_path)
    (path / "checkpoint.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.json: .*remove its folder"):
        read_about(path)


def test_a_checkpoint_of_another_model_is_refused(make_decoder: MakeDecoder, tmp_path: Path) -> None:
    path = saved(make_decoder(), tmp_path)
    with pytest.raises(CheckpointError, match="not those of this model"):
        load_model(path, make_decoder(kv_lora_rank=24))


def test_the_last_two_are_kept_and_an_unfinished_one_does_not_count(make_decoder: MakeDecoder, tmp_path: Path) -> None:
    decoder = make_decoder()
    for step in (1, 2, 10):
        saved(decoder, tmp_path, step)
    unfinished = tmp_path / "step-00000011"
    unfinished.mkdir()
    (unfinished / "model.safetensors").write_bytes(b"half")
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000002", "step-00000010"]


def test_what_a_killed_run_had_begun_to_write_is_removed(make_decoder: MakeDecoder, tmp_path: Path) -> None:
    (tmp_path / ".step-00000002").mkdir()
    (tmp_path / ".step-00000002" / "model.safetensors").write_bytes(b"half")
    saved(make_decoder(), tmp_path, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]
