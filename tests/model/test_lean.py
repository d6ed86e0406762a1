"""The lean arithmetic and the modules whose weights it reads say the same, of the shapes that a bar has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fractal_live.model.cache import KVCache
from fractal_live.model.config import ModelConfig
from fractal_live.model.fractal import Level
from fractal_live.model.layers import Guides, Texture, Trunk
from fractal_live.model.lean import FEW, is_lean
from fractal_live.model.pitch import PITCHES, RECALL_MAPS, PitchRange, Recall
from fractal_live.model.voice import LeanVoice, PlainVoice, Voices
from tests.model.tiny import TINY, lively

SHAPES = pytest.mark.parametrize(("rows", "places"), [(1, 1), (2, 1), (1, 5), (2, 4)])


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return torch.allclose(found, expected, atol=2e-5, rtol=1e-4)


@SHAPES
def test_a_lean_trunk_is_the_trunk(rows: int, places: int) -> None:
    """With a memory of three places before, under a condition of its own for every place."""
    level = lively(1).levels[1]
    assert isinstance(level, Level)
    trunk, chance = level.generator.trunk, torch.Generator().manual_seed(0)
    dim, width = trunk.norm.modulation.out_features // 2, trunk.norm.modulation.in_features
    x = torch.randn(rows, places + 3, dim, generator=chance)
    cond = torch.randn(rows, places + 3, width, generator=chance)
    index = torch.arange(places + 3)
    mask = (index[:, None] >= index)[None, None]
    whole = trunk(x, cond, index, mask)
    memory = KVCache()
    with torch.inference_mode():
        assert is_lean(trunk, x, rows * places)
        trunk(x[:, :3], cond[:, :3], index[:3], mask[:, :, :3, :3], memory)
        found = trunk(x[:, 3:], cond[:, 3:], index[3:], mask[:, :, 3:], memory)
    assert close(found, whole[:, 3:])


def test_a_lean_trunk_has_the_weights_as_they_are_now() -> None:
    trunk = lively(1).structure.trunk
    assert isinstance(trunk, Trunk)
    x, cond, index = torch.randn(1, 4, 16), torch.randn(1, 1, trunk.norm.modulation.in_features), torch.arange(4)
    x = torch.randn(1, 4, trunk.norm.modulation.out_features // 2)
    with torch.inference_mode():
        before = trunk(x, cond, index)
    trunk.blocks[0].mlp_in.weight *= 2
    trunk.norm.modulation.weight.data = trunk.norm.modulation.weight * 3
    with torch.inference_mode():
        after = trunk(x, cond, index)
    assert not close(after, before) and close(after, trunk(x, cond, index))


@SHAPES
def test_lean_guides_are_the_guides(rows: int, places: int) -> None:
    model, rng = lively(2), np.random.default_rng(3)
    plan = torch.from_numpy(rng.random((rows, places, 6)).astype(np.float32))
    plan[:, 0, 2] = float("nan")

    def some(most: int, *more: int) -> torch.Tensor:
        return torch.from_numpy(rng.integers(0, most, (rows, places, *more)))

    texture, given = Texture(some(4, 12), some(40), some(9), some(30)), torch.tensor([True, False][:rows])
    guides = Guides(plan, texture, given, given)
    for encoder, asked in ((model.leaf_guide, guides), (model.levels[0].guide, replace(guides, texture=None))):
        expected = encoder(asked)
        with torch.inference_mode():
            assert close(encoder(asked), expected)


@pytest.mark.parametrize("steps", [1, 5])
def test_lean_sweeps_are_the_convolutions(steps: int) -> None:
    model, chance = lively(4), torch.Generator().manual_seed(0)
    content = torch.rand(1, steps, 3, PITCHES, generator=chance)
    maps = torch.rand(1, steps, RECALL_MAPS, PITCHES, generator=chance)
    grade = torch.ones(1, steps, dtype=torch.int64)
    expected, remembered = model.steps(content), model.leaf.recall(maps, content, grade)
    with torch.inference_mode():
        assert close(model.steps(content), expected)
        found = model.leaf.recall(maps, content, grade)
    assert close(found.features, remembered.features) and close(found.rhythm, remembered.rhythm)


@pytest.mark.parametrize("cells", [1, 3])
@pytest.mark.parametrize("config", [TINY, replace(TINY, pitch_low=21, pitch_high=108)], ids=["128", "88"])
def test_a_lean_voice_says_what_the_plain_one_says(config: ModelConfig, cells: int) -> None:
    """Of a chord of three notes and its stop."""
    leaf, rng = lively(5, config).leaf, np.random.default_rng(cells)
    cond = torch.from_numpy(rng.standard_normal((cells, leaf.start.in_features)).astype(np.float32))
    maps = torch.from_numpy((rng.random((1, cells, RECALL_MAPS, PITCHES)) < 0.1).astype(np.float32))
    source = torch.from_numpy((rng.random((1, cells, 3, PITCHES)) < 0.05).astype(np.float32))
    grade = torch.from_numpy(rng.integers(0, 4, (1, cells)))
    within = PitchRange(torch.full((cells,), config.pitch_low), torch.full((cells,), config.pitch_high))
    with torch.inference_mode():
        recall: Recall = leaf.recall(maps, source, grade)
        lean, plain = Voices(leaf).of(cond, recall, within), PlainVoice(leaf, cond, recall, within)
        assert isinstance(lean, LeanVoice)
        for pitch in (40, 47, 90):
            chosen = np.full(cells, pitch) + np.arange(cells)
            velocity, duration = rng.integers(0, 32, cells), rng.integers(0, 20, cells)
            for found, expected in (
                (lean.pitch_scores(), plain.pitch_scores()),
                (lean.velocity_scores(chosen), plain.velocity_scores(chosen)),
                (lean.duration_scores(chosen, velocity), plain.duration_scores(chosen, velocity)),
            ):
                assert np.allclose(found, expected, atol=2e-5, rtol=1e-4)
            lean.tell(chosen, velocity, duration)
            plain.tell(chosen, velocity, duration)
        assert np.allclose(lean.pitch_scores(), plain.pitch_scores(), atol=2e-5, rtol=1e-4)


def test_many_tokens_go_the_way_of_the_modules() -> None:
    trunk, x = lively(1).structure.trunk, torch.zeros(1, FEW + 1, 4)
    with torch.inference_mode():
        assert not is_lean(trunk, x, FEW + 1) and is_lean(trunk, x, FEW)
        assert not is_lean(trunk.train(), x, 1)
    assert not is_lean(trunk.eval(), x, 1), "gradients need the modules"
