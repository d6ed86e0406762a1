"""What always holds of bars: same seed, locked is locked, density by the number, a latent off is off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fractal_live.model.checkpoint import save
from fractal_live.model.config import ModelConfig
from fractal_live.model.engine import Engine
from fractal_live.model.fractal import Fractal
from fractal_live.model.imagine import imagine_plan
from fractal_live.model.latent import ALIGNED, LatentGate, plan_summary
from fractal_live.model.unfold import Unfolded, unfold_bar, unfold_missing, unfold_piece
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar, Note
from fractal_live.music.plan import COLUMN, unknown_plan
from fractal_live.music.request import BarRequest, InfillRequest, Sampling
from tests.model.material import dense, played
from tests.model.teacher import watched
from tests.model.tiny import CONFIGS, TINY_BARS, lively

EVERY_CONFIG = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
METERS = (FOUR_FOUR, Meter(3, 4), Meter(6, 8), Meter(7, 8), Meter(5, 8), Meter(5, 4))
LATENT = (1.0, -0.5) * 8


def sampled(model: Fractal, request: BarRequest, seed: int = 0) -> Unfolded:
    with torch.inference_mode():
        return unfold_bar(model, request, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Engine]:
    """Engines of small checkpoints on disk."""
    found = {}
    for name in ("live", "all-mar", "bands-row", "88-keys"):
        path = tmp_path_factory.mktemp("engines") / f"{name}.safetensors"
        save(lively(3, CONFIGS[name]), path, {}, dtype=torch.float32)
        found[name] = Engine(path, "cpu")
    return found


# Density.


@EVERY_CONFIG
def test_a_density_is_met_by_the_number_in_every_meter(config: ModelConfig) -> None:
    model = lively(13, config)
    own = list(CONFIGS.values()).index(config)
    for place, meter in enumerate((METERS[own % 6], METERS[(own + 3) % 6])):
        density = ((0, 30, 3), (47, 14, 1))[place][own % 3]
        result = sampled(model, BarRequest(2, played(2, meter, count=5), dense(density), meter=meter), place)
        assert len(result.bars[0]) == sum(result.onsets) == density, meter


@EVERY_CONFIG
def test_the_first_bar_of_a_piece_begins_on_its_first_step_and_keeps_its_density(config: ModelConfig) -> None:
    model = lively(13, config)
    model.heads.count.bias[0] += 50.0  # the first half bar would have none
    model.leaf.stop.bias += 5.0
    for seed, density in enumerate((1, 2, 20)):
        notes = sampled(model, BarRequest(0, plan=dense(density), meter=METERS[seed]), seed).bars[0]
        assert min(note.onset_tick for note in notes) == 0 and len(notes) == density
    assert not sampled(model, BarRequest(0, plan=dense(0))).bars[0]


def test_a_later_bar_begins_where_it_likes() -> None:
    model = lively(13)
    model.heads.count.bias[0] += 50.0
    notes = sampled(model, BarRequest(2, played(2), dense(3))).bars[0]
    assert min(note.onset_tick for note in notes) >= 960


@pytest.mark.parametrize(
    "sampling",
    [Sampling(2.0), Sampling(0.1), Sampling(cfg_scale=0.0), Sampling(cfg_scale=5.0, top_k=1), Sampling(mask_p=0.9)],
    ids=str,
)
def test_a_density_is_met_however_wild_the_draw(sampling: Sampling) -> None:
    model = lively(14)
    for seed, density in enumerate((0, 14, 40)):
        result = sampled(model, BarRequest(2, played(2), dense(density), sampling=sampling), seed)
        assert len(result.bars[0]) == density


@EVERY_CONFIG
def test_in_rounds_and_in_gaps_every_bar_has_its_density(config: ModelConfig) -> None:
    model, density = lively(15, config), np.array([0, 5, 2, 21], dtype=np.float32)
    plan = dense(0, 4)
    plan[:, COLUMN["density"]] = density
    with torch.inference_mode():
        chance = torch.Generator().manual_seed(1)
        piece = unfold_piece(model, plan, Sampling(iterations=3), chance, LATENT, 1.0, Meter(3, 4))
        request = InfillRequest(played(4), (False, True, True, True), plan, Sampling(iterations=2))
        gap = unfold_missing(model, request, chance)
    assert [len(bar) for bar in piece.bars] == density.tolist()
    assert [len(bar) for bar in gap.bars] == density[1:].tolist()


def test_a_short_last_half_bar_is_never_given_more_than_its_steps_hold() -> None:
    """Five eighths are eight steps and two; ten notes a step are the most."""
    model = lively(16)
    model.heads.count.bias[:11] += 50.0  # the first half bar would have few
    result = sampled(model, BarRequest(0, (), dense(30), meter=Meter(5, 8)))
    assert result.onsets == (10, 20) and len(result.bars[0]) == 30


def test_pitches_in_a_narrow_range_meet_the_density_as_far_as_they_can() -> None:
    model = lively(17)
    bars = tuple(Bar(index, (), FOUR_FOUR) for index in range(2))
    for density, expected in ((20, 20), (47, 32)):
        request = InfillRequest(bars, (False, True), dense(density, 2), low=60, high=61)
        with torch.inference_mode():
            result = unfold_missing(model, request, torch.Generator().manual_seed(0))
        assert len(result.bars[0]) == expected
        assert {note.pitch for note in result.bars[0]} <= {60, 61}


@EVERY_CONFIG
def test_notes_lie_in_the_models_range_on_the_grid_and_in_the_bar(config: ModelConfig) -> None:
    notes = sampled(lively(18, config), BarRequest(0, plan=dense(24), meter=Meter(7, 8))).bars[0]
    assert all(config.pitch_low <= note.pitch <= config.pitch_high for note in notes)
    assert all(note.onset_tick % 120 == note.duration_ticks % 120 == 0 for note in notes)
    assert all(note.onset_tick < Meter(7, 8).ticks_per_bar for note in notes)


# The same request is the same bar.


@pytest.mark.parametrize("config", [CONFIGS[name] for name in ("live", "all-mar", "bands-row")])
def test_the_same_seed_is_the_same_music_and_another_seed_another(config: ModelConfig) -> None:
    model, past = lively(5, config), played(2)
    sampling = Sampling(1.2, cfg_scale=1.5, iterations=2, refine=0.5)

    def asked(seed: int) -> list[object]:
        chance = torch.Generator().manual_seed(seed)
        with torch.inference_mode():
            plan = dense(6)
            plan[:2, 1:3] = np.nan
            bar = unfold_bar(model, BarRequest(2, past, plan, latent=LATENT, latent_gain=1.0), chance)
            gap = unfold_missing(model, InfillRequest(past, (False, True), dense(4, 2), sampling), chance)
            piece = unfold_piece(model, dense(4, 2), sampling, chance, LATENT, 0.5)
        return [(each.plan.tolist(), each.echo, each.chroma.tolist(), each.bars) for each in (bar, gap, piece)]

    state = torch.get_rng_state()
    np_state = np.random.get_state()[1].copy()  # type: ignore[index]
    first = asked(1)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is left alone"
    assert np.array_equal(np.random.get_state()[1], np_state)  # type: ignore[index]
    torch.manual_seed(99)
    again, other = asked(1), asked(2)
    torch.set_rng_state(state)
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_an_engine_answers_by_seed_and_index_alone(engines: dict[str, Engine]) -> None:
    for name, engine in engines.items():
        request = BarRequest(4, played(4), dense(9), seed=7)
        first = engine.bar(request)
        engine.bar(replace(request, seed=8))
        again = engine.bar(request)
        assert first.bar == again.bar and np.array_equal(first.plan, again.plan), name
        assert np.array_equal(engine.imagine(request), first.plan), name
        assert engine.bar(replace(request, seed=8)).bar.notes != first.bar.notes, name


def test_warming_up_changes_no_answer(engines: dict[str, Engine]) -> None:
    request = BarRequest(1, played(1), dense(9), seed=3)
    before = engines["live"].bar(request).bar
    engines["live"].warm_up()
    assert engines["live"].bar(request).bar == before


# Locked is locked.


def off_grid(bars: tuple[Bar, ...]) -> tuple[Bar, ...]:
    """The bars with every onset a little late and every note a little long."""
    return tuple(
        replace(
            bar, notes=tuple(sorted(replace(n, onset_tick=n.onset_tick + 7, duration_ticks=200) for n in bar.notes))
        )
        for bar in bars
    )


@pytest.mark.parametrize("is_late", [False, True], ids=["on the grid", "off the grid"])
@pytest.mark.parametrize("name", ["live", "all-mar", "bands-row", "88-keys"])
def test_an_infill_hands_back_what_is_known_itself(engines: dict[str, Engine], name: str, is_late: bool) -> None:
    bars = off_grid(played(5)) if is_late else played(5)
    is_missing = (False, True, True, False, True)
    request = InfillRequest(bars, is_missing, dense(5, 5), Sampling(iterations=2, refine=0.5 if is_late else 0.0))
    made = engines[name].infill(request)
    for old, new, missing in zip(bars, made, is_missing, strict=True):
        assert (new is old) != missing
        assert not missing or (new.notes != old.notes and len(new.notes) == 5)


@pytest.mark.parametrize("is_late", [False, True], ids=["on the grid", "off the grid"])
@pytest.mark.parametrize("name", ["live", "all-mar", "bands-row", "88-keys"])
def test_an_infill_of_some_pitches_keeps_all_others_bit_for_bit(
    engines: dict[str, Engine], name: str, is_late: bool
) -> None:
    bars = off_grid(played(4)) if is_late else played(4)
    request = InfillRequest(bars, (False, True, True, True), dense(16, 4), low=40, high=90)
    made = engines[name].infill(request)
    for old, new in zip(bars[1:], made[1:], strict=True):
        outside = [note for note in old.notes if not 40 <= note.pitch <= 90]
        assert [note for note in new.notes if not 40 <= note.pitch <= 90] == outside
        inside = [note for note in new.notes if 40 <= note.pitch <= 90]
        assert inside and inside != [note for note in old.notes if 40 <= note.pitch <= 90]
    assert made[0] is bars[0]


def test_given_cells_of_the_plan_come_back_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    for name in ("live", "all-ar"):
        plan = unknown_plan()
        given = rng.random(plan.shape) < 0.5
        plan[given] = np.broadcast_to(rng.uniform(37, 47, plan.shape).astype(np.float32), plan.shape)[given]
        asked = plan.copy()
        result = sampled(lively(8, CONFIGS[name]), BarRequest(0, (), plan))
        assert np.array_equal(result.plan[given], plan[given])
        assert not np.isnan(result.plan).any()
        assert np.array_equal(plan, asked, equal_nan=True), "a request is not written into"


def test_what_is_drawn_again_leaves_the_rest() -> None:
    """Of eight half bars two are drawn again; without refinement the same seed makes the others alike."""
    model, bars = lively(9), tuple(Bar(index) for index in range(4))
    found = []
    for refine in (0.0, 0.25):
        request = InfillRequest(bars, (True,) * 4, dense(12, 4), Sampling(iterations=2, refine=refine))
        with torch.inference_mode():
            result = unfold_missing(model, request, torch.Generator().manual_seed(0))
        halves = [
            [note.pitch for note in bar if note.onset_tick // 960 == half] for bar in result.bars for half in (0, 1)
        ]
        found.append((halves, [len(bar) for bar in result.bars]))
    differing = [half for half, (a, b) in enumerate(zip(found[0][0], found[1][0], strict=True)) if a != b]
    assert 1 <= len(differing) <= 2
    assert found[0][1] == found[1][1] == [12] * 4


def test_what_is_drawn_again_is_what_the_model_was_least_sure_of() -> None:
    model, bars = lively(9), tuple(Bar(index) for index in range(4))
    request = InfillRequest(bars, (True,) * 4, dense(12, 4), Sampling(iterations=2, refine=0.25))
    with watched() as begun, torch.inference_mode():
        unfold_missing(model, request, torch.Generator().manual_seed(0))
    first, again = begun
    sure = first.log_likelihood / np.maximum(first.canvas.onsets, 1)
    assert set(np.flatnonzero(again.page.group >= again.page.first_group)) == set(np.argsort(sure)[:2])


def test_a_bar_carries_the_tempo_of_its_plan(engines: dict[str, Engine]) -> None:
    plan = unknown_plan()
    plan[:, COLUMN["tempo"]] = np.linspace(93, 124, 32)
    assert engines["live"].bar(BarRequest(0, plan=plan)).bar.tempo_bpm == 93
    piece = engines["live"].piece(plan[:4], Sampling(), 0, LATENT, 0.0)
    assert [bar.tempo_bpm for bar in piece] == pytest.approx([93, 94, 95, 96])
    imagined = [engines["live"].bar(BarRequest(0, seed=seed)).bar.tempo_bpm for seed in range(3)]
    assert all(40 <= tempo <= 200 for tempo in imagined)


def test_given_harmony_is_what_the_bar_carries() -> None:
    chroma = np.zeros((2, 12), dtype=np.float32)
    chroma[:, [0, 4, 7]] = 1
    chroma[1, 3] = np.nan
    result = sampled(lively(11), BarRequest(2, played(2), dense(9), chroma=chroma))
    known = ~np.isnan(chroma)
    assert np.array_equal(result.chroma[known], chroma[known])


def test_more_wish_for_echoes_is_more_echoes() -> None:
    """Of 16 half bars with a past; that many more by chance has odds below 1 in 1000."""
    model, past = lively(12), played(4)
    model.heads.echo.weight *= 0.2
    share = {}
    for wish in (-6.0, 0.0, 6.0):
        made = [
            sampled(model, BarRequest(4, past, dense(9), sampling=Sampling(echo=wish)), seed).echo for seed in range(8)
        ]
        share[wish] = np.mean(np.array(made) > 0)
    assert share[-6.0] + 0.5 < share[6.0] and share[-6.0] <= share[0.0] <= share[6.0], share


# The latent.


@pytest.mark.parametrize("name", ["live", "all-ar"])
def test_a_latent_of_gain_zero_changes_nothing_and_of_gain_one_changes_the_plan(name: str) -> None:
    model = lively(10, CONFIGS[name])
    plain = sampled(model, BarRequest(0))
    off = sampled(model, BarRequest(0, latent=(3.0,) * 16, latent_gain=0.0))
    on = sampled(model, BarRequest(0, latent=(3.0,) * 16, latent_gain=1.0))
    assert np.array_equal(plain.plan, off.plan) and plain.bars == off.bars
    assert not np.array_equal(plain.plan, on.plan)


def test_the_gate_at_gain_zero_is_the_null_to_the_bit() -> None:
    model = lively(10)
    gate: LatentGate = model.structure.latent
    chance = torch.Generator().manual_seed(0)
    z = torch.randn(20, 16, generator=chance) * 5
    assert torch.equal(gate(z, torch.zeros(20)), gate.null.expand(20, -1))
    assert not torch.equal(gate(z, torch.ones(20)), gate.null.expand(20, -1))


@pytest.mark.parametrize("dimension", range(16))
def test_every_dimension_of_the_latent_reaches_the_sketch_and_the_plan(dimension: int) -> None:
    model = lively(10)
    z = torch.zeros(2, 16)
    z[1, dimension] = 2.0
    sketch = model.latent.sketch(z)
    assert sketch.shape == (2, TINY_BARS, 6)
    assert not torch.allclose(sketch[0], sketch[1], atol=1e-4)


def test_the_readable_dimensions_are_measured_on_the_plan() -> None:
    model = lively(10)
    assert ALIGNED == ("density level", "density slope", "register", "loudness", "tempo")
    plan = torch.full((1, 8, 6), 0.5)
    plan[0, :, COLUMN["density"]] = torch.linspace(0.2, 0.4, 8)
    plan[0, 3] = float("nan")
    level, slope, register, loudness, tempo = plan_summary(plan)[0].tolist()
    assert level == pytest.approx(np.delete(np.linspace(0.2, 0.4, 8), 3).mean())
    assert slope == pytest.approx(0.1, abs=5e-3), "half of the rise over the horizon"
    assert register == loudness == tempo == pytest.approx(0.5)
    noise = torch.zeros(1, 16)
    model.latent.summary_mean.fill_(0.1)
    model.latent.summary_std.fill_(0.2)
    z, kl = model.latent(plan, noise)
    assert torch.allclose(z[0, :5], (plan_summary(plan)[0] - 0.1) / 0.2)
    assert z.shape == (1, 16) and kl.shape == (1,) and kl.item() >= 0


def test_a_plan_longer_than_the_horizon_is_imagined_window_by_window() -> None:
    model = lively(10)
    given = unknown_plan(TINY_BARS * 2 + 3)
    given[:, COLUMN["density"]] = 12
    past = np.zeros((0, 6), dtype=np.float32)
    with torch.inference_mode():
        chance = torch.Generator().manual_seed(0)
        whole = imagine_plan(model, given, past, LATENT, 1.0, Sampling(), chance)
        chance.manual_seed(0)
        first = imagine_plan(model, given[:TINY_BARS], past, LATENT, 1.0, Sampling(), chance)
    assert whole.shape == given.shape and not np.isnan(whole).any()
    assert np.array_equal(whole[:TINY_BARS], first), "what comes later is no matter to the first window"
    assert (whole[:, COLUMN["density"]] == 12).all()


def test_a_bar_remembers_only_as_far_as_the_horizon() -> None:
    """Older bars still count for the plan; their notes do not."""
    model, past = lively(19), played(TINY_BARS + 6)
    silent = tuple(replace(bar, notes=(Note(0, 60, 120, 66),)) for bar in past[:4])
    plan = dense(9)
    a = sampled(model, BarRequest(len(past), past, plan))
    b = sampled(model, BarRequest(len(past), (*silent, *past[4:]), plan))
    assert a.bars == b.bars


def test_an_infill_longer_than_the_horizon_is_refused_by_the_model_and_windowed_by_the_engine(
    engines: dict[str, Engine],
) -> None:
    bars = played(TINY_BARS * 2 + 3)
    is_missing = tuple(index in (1, 9, 10, 18) for index in range(len(bars)))
    with pytest.raises(ValueError, match="takes 8"):
        unfold_missing(engines["live"].model, InfillRequest(bars, is_missing), torch.Generator())
    made = engines["live"].infill(InfillRequest(bars, is_missing, dense(6, len(bars))))
    assert [new is old for old, new in zip(bars, made, strict=True)] == [not missing for missing in is_missing]
    assert all(len(made[index].notes) == 6 for index in (1, 9, 10, 18))


def test_a_checkpoint_on_disk_plays_what_the_model_plays(engines: dict[str, Engine], tmp_path: Path) -> None:
    path = tmp_path / "live.safetensors"
    save(lively(3), path, {}, dtype=torch.float32)
    request = BarRequest(1, played(1), dense(9), seed=3)
    assert Engine(path, "cpu").bar(request).bar.notes == engines["live"].bar(request).bar.notes
