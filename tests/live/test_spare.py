"""The model process dies or freezes in the middle of a set: how soon another plays."""

from __future__ import annotations

from pathlib import Path

import pytest

from fractal_live import model_side
from tests.live.simulated_children import SimulatedModel
from tests.live.simulated_port import MS
from tests.live.simulation import Evening, simulated


def model_of(evening: Evening) -> SimulatedModel:
    child = evening.daemon.model.child
    assert isinstance(child, SimulatedModel)
    return child


def playing(evening: Evening) -> None:
    """Long enough for a spare."""
    evening.osc("plan/density", 6.0)
    evening.seconds(30.3)
    assert evening.counts["fallbacks"] == 0


def test_a_model_that_dies_is_replaced_by_the_spare_before_a_bar_is_missed(tmp_path: Path) -> None:
    with simulated(tmp_path) as evening:
        playing(evening)
        for death in range(1, 4):
            spare = evening.daemon.model.spare
            model_of(evening).die()
            evening.seconds(0.1)
            assert model_of(evening) is spare
            evening.seconds(20.7)
            assert evening.daemon.model.restarts == death
            assert evening.daemon.model.spare is not None, "and there is another"
        assert evening.counts["fallbacks"] == 0


def test_a_spare_that_dies_is_replaced_and_nobody_hears_of_it(tmp_path: Path) -> None:
    with simulated(tmp_path) as evening:
        playing(evening)
        spare = evening.daemon.model.spare
        assert isinstance(spare, SimulatedModel)
        spare.die()
        evening.seconds(20)
        assert evening.daemon.model.restarts == 0 and not evening.daemon.status.errors
        assert evening.daemon.model.spare not in (None, spare)


def test_where_memory_is_short_there_is_no_spare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_side, "free_mb", lambda: model_side.SPARE_ROOM_MB / 2)
    with simulated(tmp_path) as evening:
        playing(evening)
        assert evening.daemon.model.spare is None
        model_of(evening).die()
        evening.seconds(20)
        assert evening.daemon.planner.lead_bars == 2


def test_a_model_that_freezes_while_nothing_is_asked_of_it_is_noticed(tmp_path: Path) -> None:
    """It was watched only while a bar was due: a Start after a pause found it frozen."""
    with simulated(tmp_path) as evening:
        playing(evening)
        evening.osc("transport/stop")
        evening.seconds(5)
        assert evening.daemon.planner.in_flight is None
        model_of(evening).is_stuck = True
        evening.seconds(5)
        assert evening.daemon.model.restarts == 1
        evening.osc("transport/start")
        evening.seconds(20)
        assert evening.counts["fallbacks"] == 0


def test_a_model_that_freezes_while_it_plays_costs_no_more_than_a_bar(tmp_path: Path) -> None:
    with simulated(tmp_path) as evening:
        playing(evening)
        for _ in range(6):
            model_of(evening).is_stuck = True
            before = evening.counts["fallbacks"]
            evening.seconds(20.4)
            assert evening.counts["fallbacks"] - before <= 1


def test_a_model_that_thinks_long_is_not_taken_for_a_frozen_one(tmp_path: Path) -> None:
    with simulated(tmp_path) as evening:
        playing(evening)
        evening.model = lambda request: 2_900 * MS
        evening.seconds(60)
        assert evening.daemon.model.restarts == 0
