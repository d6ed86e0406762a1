"""The yardstick sees the past alone, says a distribution, and counts what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fractal_live.baselines.event_transformer import EventBatch, EventConfig
from fractal_live.baselines.events import tokens_from_bars, vocabulary
from fractal_live.model.config import ConfigError
from tests.baselines.small import SMALL, needs_miditok, random_bars, small_transformer
from tests.baselines.test_event_grammar import rows

needs_miditok()


def test_a_token_moves_nothing_before_it() -> None:
    """Other music from a place on: scores up to that place are the same to the last bit that matters."""
    model = small_transformer(1)
    words = vocabulary()
    start = tokens_from_bars(random_bars(1, 3)).tolist()
    one = start + tokens_from_bars(random_bars(2, 3)).tolist()[1:]
    other = start + tokens_from_bars(random_bars(3, 3)).tolist()[1:]
    length = min(len(one), len(other))
    pair = torch.tensor([[words.begin, *one[:length]], [words.begin, *other[:length]]])
    scores = model(pair)
    shared = 1 + len(start)
    assert torch.allclose(scores[0, :shared], scores[1, :shared], atol=1e-5)
    assert not torch.allclose(scores[0, shared + 1 :], scores[1, shared + 1 :], atol=1e-3)


def test_every_token_before_it_matters() -> None:
    model = small_transformer(2)
    row = rows(range(1))
    last = model(row)[0, -1].softmax(-1)
    words = vocabulary()
    velocities = torch.nonzero((row[0] >= words.velocity) & (row[0] < words.duration))[:, 0]
    for place in velocities.tolist():
        changed = row.clone()
        changed[0, place] = words.velocity + (row[0, place] - words.velocity + 16) % 32
        assert not torch.allclose(model(changed)[0, -1].softmax(-1), last, atol=1e-6), place


def test_the_losses_are_what_every_token_costs_by_kind() -> None:
    model = small_transformer(3)
    words = vocabulary()
    tokens = rows(range(3))
    share = model(tokens[:, :-1]).log_softmax(-1)
    wanted = dict.fromkeys(("pitch", "velocity", "duration", "position"), 0.0)
    notes = 0
    for row in range(len(tokens)):
        for place, token in enumerate(tokens[row, 1:].tolist()):
            if token == words.pad:
                continue
            kind = "position" if token == words.bar or token >= words.position else "pitch"
            kind = "velocity" if words.velocity <= token < words.duration else kind
            kind = "duration" if words.duration <= token < words.position else kind
            notes += kind == "duration"
            wanted[kind] -= float(share[row, place, token])
    found = model.losses(EventBatch(tokens))
    assert {name: float(found[name]) for name in wanted} == pytest.approx(wanted, rel=1e-4)
    assert {int(value) for name, value in found.items() if name.endswith("_count")} == {notes}


def test_padding_costs_nothing() -> None:
    model = small_transformer(4)
    tokens = rows(range(1))
    padded = torch.nn.functional.pad(tokens, (0, 7), value=vocabulary().pad)
    bare, full = model.losses(EventBatch(tokens)), model.losses(EventBatch(padded))
    assert {name: float(value) for name, value in full.items()} == pytest.approx(
        {name: float(value) for name, value in bare.items()}, rel=1e-5
    )


def test_gradients_are_finite_where_the_grammar_forbids_almost_everything() -> None:
    model = small_transformer(5).requires_grad_(True)
    tokens = torch.nn.functional.pad(rows(range(2)), (0, 3), value=vocabulary().pad)
    found = model.losses(EventBatch(tokens))
    (found["pitch"] + found["position"] + found["velocity"] + found["duration"]).backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_more_tokens_than_the_context_are_refused() -> None:
    model = small_transformer(6, replace(SMALL, context=16))
    with pytest.raises(ValueError, match="17 tokens do not fit a context of 16"):
        model(torch.zeros(1, 17, dtype=torch.int64))


def test_shapes_that_cannot_be_built_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple"):
        EventConfig(dim=20, heads=2)
    with pytest.raises(ConfigError, match="dropout"):
        EventConfig(dropout=1.0)
    with pytest.raises(ConfigError, match="flavour"):
        EventConfig.from_dict({"flavour": 1})
    assert EventConfig.from_dict(SMALL.as_dict()) == SMALL
