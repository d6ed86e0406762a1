"""The yardstick behind the fractal's door: it plays from the past, and keeps what it is told to keep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fractal_live.baselines.event_engine import EventEngine
from fractal_live.music.meter import TICKS_PER_STEP, Meter
from fractal_live.music.plan import COLUMN, measure, unknown_plan
from fractal_live.music.request import BarRequest, InfillRequest, Sampling
from tests.baselines.small import needs_miditok, random_bars, small_checkpoint

needs_miditok()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> EventEngine:
    return EventEngine(small_checkpoint(tmp_path_factory.mktemp("events")), "cpu")


def test_the_same_request_is_the_same_bar_and_another_seed_another(engine: EventEngine) -> None:
    request = BarRequest(6, random_bars(1, 6), seed=3)
    first = engine.bar(request).bar
    engine.bar(BarRequest(0, random_bars(9, 2)))
    assert engine.bar(request).bar == first
    assert engine.bar(replace(request, seed=4)).bar.notes != first.notes
    assert (first.index, first.seed, first.checkpoint_id) == (6, 3, engine.checkpoint_id)


def test_the_past_is_heard(engine: EventEngine) -> None:
    one, other = (engine.bar(BarRequest(6, random_bars(seed, 6), seed=5)).bar.notes for seed in (1, 2))
    assert one != other


@pytest.mark.parametrize("meter", [Meter(4, 4), Meter(3, 4), Meter(7, 8), Meter(5, 4)])
def test_a_bar_of_any_meter_lies_on_the_grid_no_step_crowded(engine: EventEngine, meter: Meter) -> None:
    for seed in range(2):
        bar = engine.bar(BarRequest(2, random_bars(seed, 2, meter), meter=meter, seed=seed)).bar
        steps = [note.onset_tick / TICKS_PER_STEP for note in bar.notes]
        assert bar.meter == meter and all(step.is_integer() and step < meter.steps_per_bar for step in steps)
        assert max((steps.count(step) for step in steps), default=0) <= 10


def test_tempo_is_the_plan_s_where_it_is_given_else_that_of_the_bar_before(engine: EventEngine) -> None:
    plan = unknown_plan()
    plan[0, COLUMN["tempo"]] = 133
    past = random_bars(1, 3)
    assert engine.bar(BarRequest(3, past, plan)).bar.tempo_bpm == 133
    assert engine.bar(BarRequest(3, past)).bar.tempo_bpm == past[-1].tempo_bpm == 90
    assert engine.bar(BarRequest(0)).bar.tempo_bpm == 120


def test_the_reply_s_plan_has_nothing_unknown_and_keeps_what_was_given(engine: EventEngine) -> None:
    plan = unknown_plan()
    plan[3:, COLUMN["density"]] = 7
    reply = engine.bar(BarRequest(3, random_bars(1, 3), plan, version=11))
    assert reply.version == 11 and reply.plan.shape == plan.shape and not np.isnan(reply.plan).any()
    assert np.array_equal(reply.plan[3:, COLUMN["density"]], plan[3:, COLUMN["density"]])
    assert reply.plan[0, COLUMN["density"]] == measure(reply.bar)[COLUMN["density"]]


def test_what_is_not_missing_comes_back_as_it_was(engine: EventEngine) -> None:
    bars = random_bars(4, 6)
    is_missing = (False, True, False, True, True, False)
    done = engine.infill(InfillRequest(bars, is_missing, seed=2, low=50, high=80))
    for old, new, gone in zip(bars, done, is_missing, strict=True):
        if not gone:
            assert new == old
        kept = [note for note in old.notes if not 50 <= note.pitch <= 80]
        assert [note for note in new.notes if not 50 <= note.pitch <= 80] == kept
    assert any(new.notes != old.notes for old, new in zip(bars, done, strict=True))


def test_infill_does_not_read_what_is_missing_or_lies_on_the_right(engine: EventEngine) -> None:
    bars = random_bars(5, 4)
    other = (*bars[:2], *(bar.moved_to(index) for index, bar in enumerate(random_bars(6, 2), start=2)))
    missing = (False, False, True, False)
    one, two = (engine.infill(InfillRequest(piece, missing, seed=1))[2] for piece in (bars, other))
    assert one.notes == two.notes


def test_a_piece_has_a_bar_for_each_row_and_obeys_its_tempo(engine: EventEngine) -> None:
    plan = unknown_plan(3)
    plan[1, COLUMN["tempo"]] = 80
    bars = engine.piece(plan, Sampling(), seed=1)
    assert [bar.index for bar in bars] == [0, 1, 2]
    assert [bar.tempo_bpm for bar in bars] == [120.0, 80.0, 80.0]
    assert bars == engine.piece(plan, Sampling(), seed=1) != engine.piece(plan, Sampling(), seed=2)


def test_filters_make_the_likeliest_bar_whatever_the_seed(engine: EventEngine) -> None:
    request = BarRequest(2, random_bars(1, 2), sampling=Sampling(top_k=1))
    assert engine.bar(request).bar.notes == engine.bar(replace(request, seed=9)).bar.notes


def test_a_checkpoint_is_known_by_its_name_and_its_record(engine: EventEngine, tmp_path: Path) -> None:
    assert engine.checkpoint_id.startswith("events-") and engine.training == {"steps": 3}
    assert EventEngine(small_checkpoint(tmp_path, seed=2), "cpu").checkpoint_id != engine.checkpoint_id
