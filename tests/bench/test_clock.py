"""The clock bench: same clocks for all, and ours ahead where the others count arrivals."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from fractal_live.bench import leaders
from fractal_live.bench.clock import NOTES, DelayLockedLoop, MovingAverage, follow, run_clock, table


@pytest.mark.slow
def test_the_clock_bench_gives_every_figure_of_every_follower_and_the_same_again() -> None:
    figures = run_clock(seeds=1, seconds=20)
    assert list(figures) == ["ours", "moving_average", "dll", "naive"]
    assert all(list(each) == list(NOTES) for each in figures.values())
    assert np.isfinite([list(each.values()) for each in figures.values()]).all()
    assert all(figures["ours"]["drop_p99_ms"] < figures[name]["drop_p99_ms"] for name in figures if name != "ours")
    console = Console(width=120)
    with console.capture() as shown:
        console.print(table(figures))
    assert all(note in shown.get() for note in NOTES.values())


@pytest.mark.parametrize("rival", [DelayLockedLoop, lambda: MovingAverage(24), lambda: MovingAverage(1)])
def test_a_rival_follows_an_exact_clock_exactly(rival) -> None:  # type: ignore[no-untyped-def]
    assert follow(rival(), leaders.steady(5, 100)).errors(1).max() < 0.01


def test_spoiled_clocks_say_which_of_the_leaders_they_are() -> None:
    steady = leaders.steady(20)
    for clocks in (
        leaders.losing(steady, 0.1, 0),
        leaders.doubling(steady, 0.1, 0),
        leaders.stalling(steady, 0),
        leaders.silent(steady, 5, 2),
        leaders.quantised(leaders.jittery(steady, 3, 0), 21.3, 0),
    ):
        assert (np.diff(clocks.arrival_ns) >= 0).all()
        assert len(clocks.number) == len(clocks.arrival_ns)
        assert np.abs(clocks.arrival_ns - clocks.true_ns[clocks.number]).max() < 80e6
    assert set(range(len(steady.true_ns))) - set(leaders.silent(steady, 5, 2).number.tolist()) == set(range(240, 336))
