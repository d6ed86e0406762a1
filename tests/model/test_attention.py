"""Attention and caches: the fast way and the slow way agree."""

from __future__ import annotations

import math

import pytest
import torch

from fractal_live.model.ar import SequentialGenerator, visible
from fractal_live.model.attention import attend, has_flash_attn, rotate, rotation
from fractal_live.model.layers import KVCache
from fractal_live.model.mar import MaskedGenerator, two_stream_mask
from tests.model.tiny import TINY, lively


def test_attention_is_the_softmax_of_the_products() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 7, 8).unbind(0)
    mask = torch.rand(2, 1, 7, 7) > 0.3
    mask |= torch.eye(7, dtype=torch.bool)
    scores = (q @ k.transpose(-1, -2) / math.sqrt(8)).masked_fill(~mask, float("-inf"))
    assert torch.allclose(attend(q, k, v, mask), scores.softmax(-1) @ v, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available() or not has_flash_attn(), reason="no CUDA device with flash-attn")
def test_flash_attention_agrees_with_torch() -> None:
    q, k, v = torch.randn(3, 2, 4, 64, 32, device="cuda", dtype=torch.float16).unbind(0)
    assert torch.allclose(attend(q, k, v, use_flash=True), attend(q, k, v, use_flash=False), atol=2e-3)


def test_rotary_attention_depends_on_distances_only() -> None:
    q, k = torch.randn(2, 1, 1, 5, 16).unbind(0)
    here, there = torch.arange(5), torch.arange(5) + 1000
    near = rotate(q, rotation(here, 16)) @ rotate(k, rotation(here, 16)).transpose(-1, -2)
    far = rotate(q, rotation(there, 16)) @ rotate(k, rotation(there, 16)).transpose(-1, -2)
    assert torch.allclose(near, far, atol=1e-3)


def test_in_the_two_streams_a_query_never_sees_what_is_opened_with_it_or_later() -> None:
    order = torch.tensor([[2, 0, 1, 1]])
    mask = two_stream_mask(order)[0, 0]
    query_sees = mask[4:, :4]
    assert query_sees.tolist() == [
        [False, True, True, True],
        [False, False, False, False],
        [False, True, False, False],
        [False, True, False, False],
    ]
    assert mask[:4, 4:].any().item() is False
    assert mask[4:, 4:].tolist() == [
        [True, False, False, False],
        [False, True, False, False],
        [False, False, True, True],
        [False, False, True, True],
    ]


def test_what_is_visible_in_order_of_time_is_the_window_before() -> None:
    seen = visible(torch.arange(3)[None], places_per_half=2, window=3)[0]
    assert seen.tolist() == [[0 < t - s <= 3 for s in range(6)] for t in range(6)]


@pytest.mark.parametrize("chunks", [(6,), (1, 5), (2, 2, 2), (1,) * 6])
def test_the_masked_generator_asked_with_a_cache_is_the_one_without(chunks: tuple[int, ...]) -> None:
    generator: MaskedGenerator = lively(1).phrase
    torch.manual_seed(1)
    content, cond = torch.randn(2, 6, 8 * TINY.step_dim), torch.randn(2, 6, 128)
    place = generator.place(torch.arange(6) * 8 % 16, torch.full((6,), 16)).expand(2, -1, -1)
    whole = generator(content, cond, place, torch.arange(6).expand(2, -1))
    cache, parts, start = KVCache(), [], 0
    for size in chunks:
        for index in range(start, start + size):
            parts.append(generator.ask(cond[:, index : index + 1], place[:, index : index + 1], index, cache))
            if size == 1:
                generator.append(
                    content[:, index : index + 1], cond[:, index : index + 1], place[:, index : index + 1], index, cache
                )
        if size > 1:
            parts = parts[:start]
            span = slice(start, start + size)
            generator.append(content[:, span], cond[:, span], place[:, span], start, cache)
            parts += list(generator.ask(cond[:, span], place[:, span], start, cache).split(1, dim=1))
        start += size
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-5)


@pytest.mark.parametrize("chunks", [(16,), (8, 8), (1,) * 16, (5, 1, 1, 9)])
def test_the_sequential_generator_with_a_cache_is_the_one_without(chunks: tuple[int, ...]) -> None:
    generator: SequentialGenerator = lively(2).content
    torch.manual_seed(2)
    content, cond = torch.randn(1, 16, TINY.step_dim), torch.randn(1, 16, 128)
    place = generator.place(torch.arange(16), torch.full((16,), 16))[None]
    whole = generator(content, cond, place, torch.arange(2)[None])
    previous = torch.cat([torch.zeros(1, 1, TINY.step_dim), content[:, :-1]], dim=1)
    cache, parts, start = KVCache(), [], 0
    for size in chunks:
        span = slice(start, start + size)
        known = torch.arange(start, start + size)[None] > 0
        parts.append(generator.step(previous[:, span], known, cond[:, span], place[:, span], start, cache))
        start += size
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-5)
