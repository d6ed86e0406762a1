"""Attention and caches: the fast way and the slow way agree."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fractal_live.model.ar import SequentialGenerator
from fractal_live.model.attention import attend, has_flash_attn, rotate, rotation
from fractal_live.model.cache import KVCache, PlaceCache, Slots
from fractal_live.model.mar import MaskedGenerator
from fractal_live.model.order import Opening, is_previous_known, near, sees_earlier, sees_held, sees_known
from fractal_live.model.pitch import ChordTokens, PitchRange, Recall
from tests.model.tiny import CONFIGS, TINY, lively


def test_attention_is_the_softmax_of_the_products() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 7, 8, generator=generator).unbind(0)
    mask = torch.rand(2, 1, 7, 7, generator=generator) > 0.3
    mask |= torch.eye(7, dtype=torch.bool)
    scores = (q @ k.transpose(-1, -2) / math.sqrt(8)).masked_fill(~mask, float("-inf"))
    assert torch.allclose(attend(q, k, v, mask), scores.softmax(-1) @ v, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available() or not has_flash_attn(), reason="no CUDA device with flash-attn")
def test_flash_attention_agrees_with_torch() -> None:
    q, k, v = torch.randn(3, 2, 4, 64, 32, device="cuda", dtype=torch.float16).unbind(0)
    assert torch.allclose(attend(q, k, v, use_flash=True), attend(q, k, v, use_flash=False), atol=2e-3)


def test_rotary_attention_depends_on_distances_only() -> None:
    q, k = torch.randn(2, 1, 1, 5, 16, generator=torch.Generator().manual_seed(0)).unbind(0)
    here, there = torch.arange(5), torch.arange(5) + 1000
    near_by = rotate(q, rotation(here, 16)) @ rotate(k, rotation(here, 16)).transpose(-1, -2)
    far = rotate(q, rotation(there, 16)) @ rotate(k, rotation(there, 16)).transpose(-1, -2)
    assert torch.allclose(near_by, far, atol=1e-3)


def test_what_is_visible_in_order_of_time_is_the_window_before() -> None:
    order = torch.arange(12)[None]
    places = Opening(order, order)
    index = torch.arange(12)
    for sees in (sees_known, sees_earlier):
        seen = (sees(places, places) & near(index, index, 3))[0]
        assert seen.tolist() == [[0 < t - s <= 3 for s in range(12)] for t in range(12)]


def test_a_place_of_several_cells_is_asked_with_its_first_and_known_with_its_last() -> None:
    """Two places of two cells each, opened crosswise: neither knows the other, the later had been asked later."""
    places = Opening(torch.tensor([[0, 1]]), torch.tensor([[2, 3]]))
    assert sees_known(places, places)[0].tolist() == [[False, False], [False, False]]
    assert sees_earlier(places, places)[0].tolist() == [[False, False], [True, False]]
    assert sees_held(places, places)[0].tolist() == [[True, False], [True, True]]
    assert is_previous_known(places)[0].tolist() == [False, False]


P = 12
ORDERS = {
    "time": list(range(P)),
    "random": [7, 2, 9, 0, 11, 4, 1, 10, 3, 6, 8, 5],
    "rounds": [1, 0, 2, 2, 0, 1, 0, 2, 1, 1, 0, 2],
}


def told(generator: MaskedGenerator | SequentialGenerator, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Content, condition, place and hint of P places of two samples."""
    chance = torch.Generator().manual_seed(1)
    content = torch.randn(2, P, dim, generator=chance)
    cond = torch.randn(2, P, generator.trunk.norm.modulation.in_features, generator=chance)
    place = generator.place(torch.arange(P) % 8, torch.full((P,), 16)).expand(2, -1, -1)
    return content, cond, place, torch.randn(2, P, 32, generator=chance)


def in_both_samples(order: Tensor) -> Opening:
    """Each place is a cell of its own, so that it begins and ends to be known at one time."""
    return Opening(order[None].expand(2, -1), order[None].expand(2, -1))


def turns(order: Tensor) -> list[tuple[int, Tensor]]:
    """One turn after another, with the places that are opened in it."""
    return [(turn, torch.nonzero(order == turn)[:, 0]) for turn in sorted(set(order.tolist()))]


@pytest.mark.parametrize("window", [0, 3])
@pytest.mark.parametrize("order_name", ORDERS)
def test_a_sequential_level_opened_place_by_place_is_the_one_that_has_all_at_once(order_name: str, window: int) -> None:
    level = lively(2).levels[1]
    generator = level.generator
    assert isinstance(generator, SequentialGenerator)
    generator.window = window
    order = torch.tensor(ORDERS[order_name])
    content, cond, place, hint = told(generator, 4 * TINY.step_dim)
    whole = generator(content, cond, place, hint, in_both_samples(order))
    cache, found = PlaceCache(TINY.levels[2], 2, P, torch.device("cpu")), torch.zeros_like(whole)
    previous = torch.cat([torch.zeros_like(content[:, :1]), content[:, :-1]], 1)
    index = torch.arange(P)
    for turn, now in turns(order):
        is_known = (now > 0) & (order[(now - 1).clamp(min=0)] < turn)
        mask = (order[None] < turn) & near(now, index, window) | (now[:, None] == index)
        slots = Slots(cache, now, 0, P, is_kept=True)
        found[:, now] = generator.open(
            previous[:, now], is_known[None].expand(2, -1), cond[:, now], place[:, now], hint[:, now], mask, slots
        )
    assert torch.allclose(found, whole, atol=1e-4)


@pytest.mark.parametrize("window", [0, 3])
@pytest.mark.parametrize("order_name", ORDERS)
def test_a_masked_level_asked_and_closed_place_by_place_is_the_one_that_has_all_at_once(
    order_name: str, window: int
) -> None:
    level = lively(3, CONFIGS["all-mar"]).levels[1]
    generator = level.generator
    assert isinstance(generator, MaskedGenerator)
    generator.window = window
    order = torch.tensor(ORDERS[order_name])
    content, cond, place, hint = told(generator, 4 * TINY.step_dim)
    whole = generator(content, cond, place, hint, in_both_samples(order))
    cache, found = PlaceCache(TINY.levels[2], 2, P, torch.device("cpu")), torch.zeros_like(whole)
    index = torch.arange(P)
    for turn, now in turns(order):
        close = near(now, index, window)
        asked = Slots(cache, now, 0, P, is_kept=False)
        mask = (order[None] < turn) & close
        found[:, now] = generator.ask(cond[:, now], place[:, now], hint[:, now], mask, asked)
        mask = (order[None] <= turn) & close
        generator.close(content[:, now], cond[:, now], place[:, now], mask, Slots(cache, now, 0, P, is_kept=True))
    assert torch.allclose(found, whole, atol=1e-4)


@pytest.mark.parametrize("kind", ["live", "lstm-leaf"])
@pytest.mark.parametrize("chunks", [(6,), (1, 5), (2, 2, 2), (1,) * 6], ids=str)
def test_a_leaf_that_remembers_is_the_one_that_reads_the_chord_anew(kind: str, chunks: tuple[int, ...]) -> None:
    leaf = lively(4, CONFIGS[kind]).leaf
    chance = torch.Generator().manual_seed(2)
    tokens = torch.randn(3, 6, 32, generator=chance)
    cond = torch.randn(3, leaf.start.in_features, generator=chance)
    whole = leaf.hidden(tokens, cond)
    memory, start, parts = leaf.new_memory(), 0, []
    for size in chunks:
        parts.append(leaf.hidden(tokens[:, start : start + size], cond, start, memory))
        start += size
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-5)
    assert not isinstance(memory, KVCache) or len(memory) == 6


@pytest.mark.parametrize("kind", ["live", "lstm-leaf"])
def test_a_chord_costs_the_same_whatever_it_is_padded_with(kind: str) -> None:
    config = CONFIGS[kind]
    leaf = lively(5, config).leaf
    chance = torch.Generator().manual_seed(3)
    cond = torch.randn(1, leaf.start.in_features, generator=chance)
    recall = Recall(
        torch.randn(1, 6, 128, generator=chance), torch.randn(1, 10), torch.rand(1, 3, 128), torch.tensor([2])
    )
    within = PitchRange(torch.tensor([0]), torch.tensor([127]))
    short = ChordTokens(*torch.tensor([[[40, 52]], [[3, 9]], [[0, 5]]]))
    padded = ChordTokens(*torch.tensor([[[40, 52, 99, 1]], [[3, 9, 7, 7]], [[0, 5, 3, 3]]]))
    for name, value in leaf.nll(short, torch.tensor([2]), cond, recall, within).items():
        again = leaf.nll(padded, torch.tensor([2]), cond, recall, within)[name]
        assert torch.allclose(value, again, atol=1e-5) and value.item() > 0, name
