"""Generation: the cache changes nothing, drafts change nothing, chance is a seed's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from train.generate import Drafted, generate, generate_with_drafts
from train.model import Decoder

MakeDecoder = Callable[..., Decoder]


def plain(decoder: Decoder, prompt: list[int], most: int) -> list[int]:
    """The naive twin: the whole text goes through the model for every token."""
    text = list(prompt)
    for _ in range(most):
        with torch.no_grad():
            text.append(int(decoder.lm_head(decoder(torch.tensor([text]))[0])[0, -1].argmax()))
    return text[len(prompt) :]


@pytest.mark.parametrize("prompt", [[5], [1, 2, 3, 4, 5, 6, 7]])
def test_remembering_latents_gives_the_tokens_of_reading_everything_again(
    prompt: list[int], make_decoder: MakeDecoder
) -> None:
    decoder = make_decoder()
    assert generate(decoder, prompt, 20, 0.0, 1) == plain(decoder, prompt, 20)


@pytest.mark.parametrize("modules", [1, 2, 3])
@pytest.mark.parametrize("prompt", [[4], [4, 8, 15]])
def test_drafting_gives_the_very_text_of_greedy_decoding(
    modules: int, prompt: list[int], make_decoder: MakeDecoder
) -> None:
    decoder = make_decoder(num_nextn_predict_layers=modules)
    drafted = generate_with_drafts(decoder, prompt, 40)
    assert drafted.tokens == generate(decoder, prompt, 40, 0.0, 1)
    assert drafted.forwards <= 40


def sequence_model(make_decoder: MakeDecoder, modules: int) -> Decoder:
    """A decoder, trained for a moment on counting upwards, so that its drafts are worth something."""
    decoder = make_decoder(1, num_nextn_predict_layers=modules, initializer_range=0.02)
    moves = torch.optim.AdamW(decoder.parameters(), lr=1e-2)
    rows = (torch.arange(25) + torch.arange(8)[:, None] * 11) % 97
    for _ in range(80):
        moves.zero_grad()
        hidden, _ = decoder(rows[:, :-1])
        states, _ = decoder.further(hidden, rows[:, :-1])
        loss = torch.zeros(())
        for depth, state in enumerate([hidden, *states]):
            logits = decoder.lm_head(state).flatten(0, 1)
            loss = loss + torch.nn.functional.cross_entropy(logits, rows[:, depth + 1 :].flatten())
        torch.autograd.backward(loss)
        moves.step()
    return decoder


@pytest.mark.parametrize("modules", [1, 2])
def test_good_drafts_save_forward_passes(modules: int, make_decoder: MakeDecoder) -> None:
    decoder = sequence_model(make_decoder, modules)
    drafted = generate_with_drafts(decoder, [7, 8, 9], 14)
    assert drafted.tokens == generate(decoder, [7, 8, 9], 14, 0.0, 1)
    assert drafted.tokens[:5] == [10, 11, 12, 13, 14]
    assert drafted.acceptance > 0.5
    assert drafted.forwards < 14


def test_drafts_end_where_greedy_decoding_ends(make_decoder: MakeDecoder) -> None:
    decoder = sequence_model(make_decoder, 2)
    whole = generate(decoder, [7, 8, 9], 14, 0.0, 1)
    end = whole[6]
    assert generate_with_drafts(decoder, [7, 8, 9], 14, end).tokens == generate(decoder, [7, 8, 9], 14, 0.0, 1, end)


def test_a_model_without_prediction_modules_drafts_nothing(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(num_nextn_predict_layers=0)
    drafted = generate_with_drafts(decoder, [3], 6)
    assert drafted == Drafted(generate(decoder, [3], 6, 0.0, 1), 6, 0, 0)


def test_the_same_seed_gives_the_same_text_and_another_another(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder()
    one, same, other = (generate(decoder, [5], 30, 1.0, seed) for seed in (1, 1, 2))
    assert one == same != other


def test_the_end_of_text_ends_it_and_positions_run_out(make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(max_position_embeddings=12)
    text = generate(decoder, [5, 6], 100, 0.0, 1)
    assert len(text) == 10
    assert generate(decoder, [5, 6], 100, 0.0, 1, end_of_text=text[4]) == text[: text.index(text[4])]
    assert generate(decoder, [5, 6], 0, 0.0, 1) == []
