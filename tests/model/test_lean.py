"""The lean arithmetic and the modules whose weights it reads say the same, of the shapes that a bar has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fractal_live.model import compiled, lean
from fractal_live.model.cache import PlaceCache, Slots
from fractal_live.model.config import ECHOES, PLAN_BINS, ModelConfig
from fractal_live.model.echo import GRADE_OF, SOURCE_OF, STRENGTH_OF, source_of, strength_index, strength_of
from fractal_live.model.fractal import Level
from fractal_live.model.layers import KEPT_HALVES, Guides, StepCodes, Texture, Trunk
from fractal_live.model.lean import MOST, is_lean, pack
from fractal_live.model.pitch import (
    FADING,
    PITCHES,
    RECALL_LAGS,
    RECALL_MAPS,
    RECALL_STEPS,
    Memories,
    recall_maps,
    remembered,
)
from fractal_live.model.sampling import draw, drawn, guided, mixed
from fractal_live.model.structure import Wish
from fractal_live.model.unfold import unfold_bar
from fractal_live.model.unfolding import Unfolding
from fractal_live.model.voice import LeanLeaf, LeanVoice, PlainVoice, Voices
from fractal_live.music.request import BarRequest, Sampling
from tests.model.material import dense, played
from tests.model.tiny import CONFIGS, TINY, lively

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
    cache = PlaceCache(TINY.levels[2], rows, places + 3, torch.device("cpu"))
    with torch.inference_mode():
        assert is_lean(trunk, x, rows * places)
        trunk(x[:, :3], cond[:, :3], index[:3], mask[:, :, :3, :3], Slots(cache, index[:3], 0, 3, True))
        slots = Slots(cache, index[3:], 0, places + 3, True)
        found = trunk(x[:, 3:], cond[:, 3:], index[3:], mask[:, :, 3:], slots)
    assert close(found, whole[:, 3:])


@SHAPES
def test_a_lean_trunk_is_asked_as_the_trunk_is(rows: int, places: int) -> None:
    """Places that are not kept see the three before them and one another."""
    level = lively(1).levels[1]
    assert isinstance(level, Level)
    trunk, chance = level.generator.trunk, torch.Generator().manual_seed(0)
    dim, width = trunk.norm.modulation.out_features // 2, trunk.norm.modulation.in_features
    x, cond = torch.randn(rows, places, dim, generator=chance), torch.randn(rows, places, width, generator=chance)
    index, mask = torch.arange(3, 3 + places), torch.rand(1, 1, places, 3 + places, generator=chance) < 0.7
    mask[0, 0, :, 3:] |= torch.eye(places, dtype=torch.bool)
    said = []
    for is_inference in (False, True):
        cache = PlaceCache(TINY.levels[2], rows, 3, torch.device("cpu"))
        for kept in (*cache.keys, *cache.values):
            kept.copy_(torch.randn(kept.shape, generator=torch.Generator().manual_seed(1)))
        with torch.inference_mode(is_inference):
            said.append(trunk(x, cond, index, mask, Slots(cache, index, 0, 3, False)))
    assert close(said[1], said[0])


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


@pytest.mark.parametrize("is_given", [[True], [True, False]], ids=str)
@pytest.mark.parametrize("places", [1, 5])
def test_lean_guides_are_the_guides(is_given: list[bool], places: int) -> None:
    model, rng, rows = lively(2), np.random.default_rng(3), len(is_given)
    plan = rng.random((places, 6)).astype(np.float32)
    plan[0, 2] = np.nan
    texture = (rng.integers(0, 4, (places, 12)), *(rng.integers(0, most, places) for most in (40, 9, 30)))

    def for_rows(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values)[None].expand(rows, *values.shape)

    given = torch.tensor(is_given)
    guides = Guides(for_rows(plan), Texture(*(for_rows(values) for values in texture)), given, given)
    for encoder, told in ((model.leaf_guide, texture), (model.levels[0].guide, None)):
        expected = encoder(guides if told is not None else replace(guides, texture=None))
        parent = rng.random((rows, places, 7)).astype(np.float32)
        found = encoder.lean.conditions(parent, plan, told, np.array(is_given)).reshape(rows, places, -1)
        assert (found[..., :7] == parent).all() and close(torch.from_numpy(found[..., 7:]), expected)


@pytest.mark.parametrize("steps", [1, 5])
def test_lean_sweeps_are_the_convolutions(steps: int) -> None:
    model, chance = lively(4), torch.Generator().manual_seed(0)
    content = torch.rand(1, steps, 3, PITCHES, generator=chance)
    maps = torch.rand(1, steps, RECALL_MAPS, PITCHES, generator=chance)
    grade = torch.ones(1, steps, dtype=torch.int64)
    expected, recall = model.steps(content), model.leaf.recall(maps, content, grade)
    with torch.inference_mode():
        assert close(model.steps(content), expected)
    assert close(torch.from_numpy(compiled.recalled(maps[0].numpy(), *LeanLeaf(model.leaf).sweep)), recall.features)


@pytest.mark.parametrize("cells", [1, 3])
@pytest.mark.parametrize("config", [TINY, replace(TINY, pitch_low=21, pitch_high=108)], ids=["128", "88"])
def test_a_lean_voice_says_what_the_plain_one_says(config: ModelConfig, cells: int) -> None:
    """Of a chord of three notes and its stop."""
    leaf, rng = lively(5, config).leaf, np.random.default_rng(cells)
    cond = torch.from_numpy(rng.standard_normal((cells, leaf.start.in_features)).astype(np.float32))
    maps = (rng.random((1, cells, RECALL_MAPS, PITCHES)) < 0.1).astype(np.float32)
    source = (rng.random((1, cells, 3, PITCHES)) < 0.05).astype(np.float32)
    told = Memories(maps, source, rng.integers(0, 4, (1, cells)))
    ends = np.full(cells, config.pitch_low), np.full(cells, config.pitch_high)
    plain = Voices(leaf).of(cond, told, *ends)
    with torch.inference_mode():
        few = Voices(leaf).of(cond, told, *ends)
        assert isinstance(few, LeanVoice) and isinstance(plain, PlainVoice)
        for pitch in (40, 47, 90):
            chosen = np.full(cells, pitch) + np.arange(cells)
            velocity, duration = rng.integers(0, 32, cells), rng.integers(0, 20, cells)
            for found, expected in (
                (few.pitch_scores(), plain.pitch_scores()),
                (few.velocity_scores(chosen), plain.velocity_scores(chosen)),
                (few.duration_scores(chosen, velocity), plain.duration_scores(chosen, velocity)),
            ):
                assert np.allclose(found, expected, atol=2e-5, rtol=1e-4)
            few.tell(chosen, velocity, duration)
            plain.tell(chosen, velocity, duration)
        assert np.allclose(few.pitch_scores(), plain.pitch_scores(), atol=2e-5, rtol=1e-4)


def test_many_tokens_go_the_way_of_the_modules() -> None:
    trunk, x = lively(1).structure.trunk, torch.zeros(1, MOST + 1, 4)
    with torch.inference_mode():
        assert not is_lean(trunk, x, MOST + 1) and is_lean(trunk, x, MOST)
        assert not is_lean(trunk.train(), x, 1)
    assert not is_lean(trunk.eval(), x, 1), "gradients need the modules"


# What a bar takes apart for the sake of speed, beside what it is taken from.


def test_the_tables_of_echo_classes_are_the_functions() -> None:
    each = torch.arange(ECHOES)
    assert SOURCE_OF.tolist() == source_of(each).tolist()
    assert STRENGTH_OF.tolist() == strength_of(each).tolist()
    assert GRADE_OF.tolist() == strength_index(each).tolist()


@pytest.mark.parametrize("step", [0, 1, 7, 33, 150])
def test_what_is_remembered_in_numpy_is_what_the_maps_say(step: int) -> None:
    """Of a step that echoes and one that does not, where a third of the steps is not known; the second branch is not
    given what is echoed."""
    rng, T = np.random.default_rng(step), 160
    content = (rng.random((T, 3, PITCHES)) * (rng.random((T, 3, PITCHES)) < 0.1)).astype(np.float32)
    is_known = rng.random(T) < 0.7
    there, onsets = torch.arange(T), torch.from_numpy(content[None, :, 0])
    seen, distance = torch.from_numpy(is_known)[None, None], (step - there)[None]
    before = torch.from_numpy(content[max(0, step - 1), 2] - np.float32(1 / 16)).clamp(min=0)
    held, struck = before * bool(step and is_known[step - 1]), torch.from_numpy(content[5, 0]) * 0.5
    nothing = torch.zeros(PITCHES)
    steps, orders, source = np.array([step, step]), np.array([1, 1]), np.array([5, 9])
    strength, given = np.array([0.5, 0.0], dtype=np.float32), np.array([True, False])
    last = np.where(is_known, 0, 1)
    maps, echoed = remembered(content, last, steps, orders, source, strength, given, FADING, RECALL_LAGS)
    for branch, cell, echo in ((0, 0, struck), (0, 1, nothing), (1, 0, nothing), (1, 1, nothing)):
        told = seen & (distance <= RECALL_STEPS), distance, onsets, held[None, None], echo[None, None]
        assert close(torch.from_numpy(maps[branch, cell]), recall_maps(*told)[0, 0])
    assert (echoed[0, 0] == content[5]).all() and not echoed[0, 1].any() and not echoed[1].any()


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.4), Sampling(top_p=0.8), Sampling(mask_k=1)], ids=str)
def test_what_is_drawn_in_numpy_is_what_torch_draws(sampling: Sampling) -> None:
    rng = np.random.default_rng(0)
    here, there = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    for _ in range(50):
        scores = rng.normal(0, 2, (2, 3, 30)).astype(np.float32)
        scores[:, rng.random((3, 30)) < 0.3] = -np.inf
        scores[:, :, 0] = 0
        wanted = guided(torch.from_numpy(scores), 2.5)[0]
        found = mixed(scores, 2.5)
        assert close(torch.from_numpy(found), wanted) and np.array_equal(mixed(scores[:1], 2.5), scores[0])
        assert drawn(found, sampling, here).tolist() == draw(wanted, sampling, there).tolist()


@pytest.mark.parametrize("is_inference", [False, True])
def test_a_trunk_that_is_asked_for_some_tokens_says_of_them_what_it_says_of_all(is_inference: bool) -> None:
    trunk, chance = lively(1).structure.trunk, torch.Generator().manual_seed(0)
    x = torch.randn(2, 40, trunk.norm.modulation.out_features // 2, generator=chance)
    mask, asked = torch.rand(2, 1, 1, 40, generator=chance) < 0.8, torch.tensor([3, 39])
    for places in (1, 40):
        cond = torch.randn(2, places, trunk.norm.modulation.in_features, generator=chance)
        whole = trunk(x, cond, torch.arange(40), mask)
        with torch.inference_mode(is_inference):
            assert close(trunk.asked(x, cond, mask, asked), whole[:, asked])


@pytest.mark.parametrize("is_inference", [False, True])
def test_what_no_longer_matters_is_not_missed(is_inference: bool) -> None:
    """Thirty places with a window of four, of which the last two are wanted; two blocks reach eight places back."""
    level = lively(1).levels[1]
    assert isinstance(level, Level)
    trunk, chance, P, window = level.generator.trunk, torch.Generator().manual_seed(0), 30, 4
    x = torch.randn(2, P, trunk.norm.modulation.out_features // 2, generator=chance)
    cond = torch.randn(2, P, trunk.norm.modulation.in_features, generator=chance)
    place = torch.arange(P)
    mask = ((place[:, None] >= place) & (place[:, None] - place <= window))[None, None]
    whole, part = (PlaceCache(TINY.levels[2], 2, P, torch.device("cpu")) for _ in range(2))
    expected = trunk(x, cond, place, mask, Slots(whole, place, 0, P, True))
    rest = [torch.arange(P - 2 - window, P), torch.arange(window, window + 2)]
    with torch.inference_mode(is_inference):
        found = trunk.remember(x, cond, mask, Slots(part, place, 0, P, True), rest)
    assert close(found, expected[:, -2:])
    for block, first in enumerate((0, P - 2 - window)):
        assert close(part.keys[block][:, :, first:], whole.keys[block][:, :, first:])
        assert close(part.values[block][:, :, first:], whole.values[block][:, :, first:])
    with torch.inference_mode(is_inference):
        nothing = trunk.remember(x, cond, mask, Slots(part, place, 0, P, True), [torch.arange(P), place[:0]])
    assert nothing.shape[1] == 0 and close(part.keys[1], whole.keys[1])


@pytest.mark.parametrize("cfg_scale", [1.0, 2.0])
@pytest.mark.parametrize("name", ["live", "all-mar", "five-levels", "bands-row"])
def test_a_bar_is_the_same_without_the_lean_arithmetic(
    name: str, cfg_scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a seed of which no draw falls so near a border that the last bit decides."""
    model, sampling = lively(3, CONFIGS[name]), Sampling(cfg_scale=cfg_scale)
    request, made = BarRequest(5, played(5), dense(9), sampling=sampling), []
    for most in (MOST, 0):
        monkeypatch.setattr(lean, "MOST", most)
        with torch.inference_mode():
            made.append(unfold_bar(model, request, torch.Generator().manual_seed(5)))
    assert made[0].bars == made[1].bars and np.array_equal(made[0].chroma, made[1].chroma)
    assert made[0].log_likelihood == pytest.approx(made[1].log_likelihood, abs=1e-3)


@pytest.mark.parametrize("name", ["live", "all-mar", "five-levels", "bands-row", "bands-column-mar"])
def test_what_is_left_of_a_half_bar_is_passed_over_as_if_it_were_opened(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six notes in a bar, beside an unfolding that opens cell after cell to the end."""
    model, request, made = lively(7, CONFIGS[name]), BarRequest(3, played(3), dense(6)), []
    for _ in range(2):
        with torch.inference_mode():
            made.append(unfold_bar(model, request, torch.Generator().manual_seed(0)))
        monkeypatch.setattr(Unfolding, "_have_all", lambda self, cells: False)
    assert made[0].bars == made[1].bars
    assert made[0].log_likelihood == pytest.approx(made[1].log_likelihood, abs=1e-3)


@pytest.mark.parametrize("cfg_scale", [1.0, 2.0])
def test_a_packed_model_makes_the_same_bar(cfg_scale: float) -> None:
    request, made = BarRequest(5, played(5), dense(9), sampling=Sampling(cfg_scale=cfg_scale)), []
    for is_packed in (False, True):
        model = lively(3)
        if is_packed:
            pack(model)
        with torch.inference_mode():
            made.append(unfold_bar(model, request, torch.Generator().manual_seed(4)))
    assert made[0].bars == made[1].bars
    assert made[0].log_likelihood == pytest.approx(made[1].log_likelihood, abs=2e-2)


def test_half_bars_that_are_known_are_not_encoded_again_and_are_the_same() -> None:
    model, rng = lively(2), np.random.default_rng(0)
    content = (rng.random((32, 3, PITCHES)) * (rng.random((32, 3, PITCHES)) < 0.05)).astype(np.float32)
    content[8:16] = content[:8]
    asked: list[int] = []
    model.steps.register_forward_hook(lambda module, told, said: asked.append(told[0].shape[1]))
    with torch.inference_mode():
        codes = StepCodes(model.steps)
        first, again = codes(content), codes(content[8:])
        assert asked == [8, 8, 8] and torch.equal(again, first[8:])
        assert close(first, model.steps(torch.from_numpy(content)[None])[0])
        for number in range(KEPT_HALVES):
            codes(np.full((8, 3, PITCHES), number / 1000, dtype=np.float32))
        codes(content[:8])
    assert asked == [8, 8, 8, 32, *[8] * KEPT_HALVES, 8], "what was not asked for so long is forgotten"


@pytest.mark.parametrize("generator", ["mar", "ar"])
def test_rows_that_return_are_scored_as_the_modules_score_them(generator: str) -> None:
    """Two plans of bins that are often alike, a third of them unknown, the first bars absent."""
    levels = (replace(TINY.levels[0], generator=generator), *TINY.levels[1:])
    structure, chance = lively(3, replace(TINY, levels=levels)).structure, torch.Generator().manual_seed(0)
    structure.returned.data = torch.randn(structure.returned.shape, generator=chance)
    rows = TINY.past_bars + TINY.plan_bars
    full = torch.randint(3, (2, rows, 6), generator=chance) / (PLAN_BINS - 1)
    known = full.masked_fill(torch.rand(full.shape, generator=chance) < 0.3, float("nan"))
    is_present = torch.arange(rows)[None].expand(2, rows) >= 2
    z, gain = torch.randn(2, TINY.latent_dims, generator=chance), torch.tensor([0.0, 1.0])
    wish = Wish(z, torch.rand(2, TINY.plan_bars, 6, generator=chance), gain)
    for asked in (None, torch.tensor([TINY.past_bars, rows - 1])):
        said = []
        for is_inference in (False, True):
            with torch.inference_mode(is_inference):
                said.append(structure.scores(known, full, is_present, wish, asked))
        assert close(said[1], said[0])
