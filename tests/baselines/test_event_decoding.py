"""Writing token by token gives what reading the whole window gives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fractal_live.baselines.event_decoding import Decoder, latest
from fractal_live.baselines.events import tokens_from_bars, vocabulary
from tests.baselines.small import SMALL, needs_miditok, random_bars, small_transformer

needs_miditok()


@pytest.mark.parametrize("first", [1, 2, 40])
def test_cached_equals_uncached(first: int) -> None:
    model = small_transformer(1)
    tokens = tokens_from_bars(random_bars(1, 5)).tolist()
    whole = model(torch.tensor([[vocabulary().begin, *tokens]]))[0]
    decoder = Decoder(model)
    with torch.inference_mode():
        scores = [decoder.start(tokens[:first], SMALL.context)]
        scores += [decoder.follow(token) for token in tokens[first:]]
    assert torch.allclose(torch.stack(scores), whole[first:], atol=1e-4)


def test_a_decoder_that_starts_again_remembers_nothing() -> None:
    model = small_transformer(2)
    tokens = tokens_from_bars(random_bars(2, 4)).tolist()
    used, fresh = Decoder(model), Decoder(model)
    with torch.inference_mode():
        used.start(tokens, SMALL.context)
        assert torch.equal(used.start(tokens[:30], SMALL.context), fresh.start(tokens[:30], SMALL.context))


def test_a_full_window_moves_on_to_its_newer_half_and_begins_with_a_bar() -> None:
    model = small_transformer(3, replace(SMALL, context=64))
    words = vocabulary()
    tokens = tokens_from_bars(random_bars(3, 7)).tolist()
    assert len(tokens) > 100
    decoder = Decoder(model)
    with torch.inference_mode():
        decoder.start(tokens[:1], 64)
        for place, token in enumerate(tokens[1:], start=1):
            scores = decoder.follow(token)
            kept = len(decoder.window) - 1
            assert decoder.window == [words.begin, *tokens[place + 1 - kept : place + 1]]
            assert len(decoder.window) <= 64
            if words.bar in tokens[max(0, place - 30) : place + 1]:
                assert decoder.window[1] == words.bar
            uncached = model(torch.tensor([decoder.window]))[0, -1]
            assert torch.allclose(scores, uncached, atol=1e-4)


def test_the_latest_tokens_begin_with_a_bar_where_one_is_near() -> None:
    assert latest([2, 9, 8, 2, 7], 5, bar=2) == [2, 9, 8, 2, 7]
    assert latest([2, 9, 8, 2, 7], 4, bar=2) == [2, 7]
    assert latest([2, 9, 8, 7], 2, bar=2) == [8, 7]
