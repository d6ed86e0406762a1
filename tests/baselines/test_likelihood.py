"""Bits are paid once for every token, with enough of the past in sight."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from fractal_live.baselines.event_transformer import EventBatch
from fractal_live.baselines.events import tokens_from_bars, vocabulary
from fractal_live.baselines.likelihood import (
    NoteBits,
    Window,
    bits_of_crops,
    comparable_bits,
    sliding_windows,
    surprise,
)
from tests.baselines.small import SMALL, needs_miditok, random_bars, small_transformer

needs_miditok()


@pytest.mark.parametrize(("context", "least"), [(64, 32), (64, 48), (96, 1), (200, 150)])
def test_windows_pay_for_every_token_once_and_never_with_too_little_past(context: int, least: int) -> None:
    for seed in range(5):
        tokens = tokens_from_bars(random_bars(seed, 12))
        windows = sliding_windows(tokens, context, least)
        assert [window.paid for window in windows] == [0, *(window.high for window in windows[:-1])]
        assert windows[-1].high == len(tokens)
        for window in windows:
            assert window.paid == 0 or window.paid - window.low >= least
            assert window.paid < window.high <= window.low + context
        assert windows[0] == Window(0, 0, min(context, len(tokens)))


def test_a_crop_within_the_context_costs_its_losses() -> None:
    model = small_transformer(1, replace(SMALL, context=512))
    tokens = tokens_from_bars(random_bars(1, 8))
    losses = model.losses(EventBatch(torch.tensor([[vocabulary().begin, *tokens.tolist()]])))
    bits = comparable_bits(model, tokens)
    for kind in ("position", "pitch", "velocity", "duration"):
        assert getattr(bits, kind) == pytest.approx(float(losses[kind]) / math.log(2), rel=1e-4)
    assert bits.notes == int(losses["notes_count"])


def test_what_is_paid_in_a_later_window_is_what_that_window_alone_says() -> None:
    model = small_transformer(2, replace(SMALL, context=64))
    tokens = tokens_from_bars(random_bars(2, 12))
    nats = surprise(model, tokens, least=32)
    for window in sliding_windows(tokens, 64, 32):
        fed = torch.tensor([[vocabulary().begin, *tokens[window.low : window.high].tolist()]])
        alone = model.surprise(fed)[0, 1 + window.paid - window.low :]
        assert torch.allclose(nats[window.paid : window.high], alone, atol=1e-5)


def test_the_first_bar_is_free_and_the_closing_one_is_not() -> None:
    nats = surprise(small_transformer(3), tokens_from_bars(random_bars(3, 4)))
    assert nats[0] == 0
    assert (nats[1:] > 0).all()


def test_bits_of_crops_add_up() -> None:
    model = small_transformer(4)
    crops = [tokens_from_bars(random_bars(seed, 4)) for seed in range(3)]
    parts = [comparable_bits(model, crop) for crop in crops]
    together = bits_of_crops(model, crops)
    assert together == parts[0] + parts[1] + parts[2]
    assert together.per_note == pytest.approx(
        sum(part.per_note * part.notes for part in parts) / sum(part.notes for part in parts)
    )
    assert NoteBits(2, 1.0, 2.0, 3.0, 4.0).per_note == 5.0
