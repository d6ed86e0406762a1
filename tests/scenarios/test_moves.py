"""The performer's moves on the real program: a loop, a gap in it made anew, another patch, twice as many notes."""

from __future__ import annotations

import pytest

from fractal_live.music.scales import SCALES
from tests.instrument import wait_for
from tests.scenarios.test_controls_heard import Ear, playing

__all__ = ["playing"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

Heard = list[tuple[float, ...]]


def bars_of(ear: Ear, count: int) -> list[Heard]:
    """Pitches and velocities of so many whole bars, from the second line from now on."""
    first = ear.bar() + 2
    ear.await_bar(first + count)
    starts = {values[0]: place for place, (address, values) in enumerate(ear.told) if address == "/fractal/out/bar"}
    bars = []
    for index in range(first, first + count):
        told = ear.told[starts[index] : starts[index + 1]]
        bars.append(sorted(values[:2] for address, values in told if address == "/fractal/out/note" and values[1] > 0))
    return bars


def test_loops_patches_and_factors_are_heard(playing: Ear) -> None:
    playing.send("/fractal/plan/density", 12)
    playing.after(2)
    playing.send("/fractal/freeze", 2)
    one, two, again, once_more = bars_of(playing, 4)
    assert (again, once_more) == (one, two) and one != two

    playing.send("/fractal/infill", 1, 1)

    def is_mended() -> bool:
        now = bars_of(playing, 2)
        return (one in now) + (two in now) == 1

    wait_for(is_mended, 60, "one bar of the loop to be another")
    playing.send("/fractal/freeze", 0)
    free = bars_of(playing, 2)
    assert one not in free and two not in free

    playing.say("/fractal/patch", "glass")
    steps = SCALES["major pentatonic"]
    glass = [note for bar in bars_of(playing, 2) for note in bar]
    assert glass and all(pitch >= 67 and (pitch - 2) % 12 in steps for pitch, _ in glass)

    playing.send("/fractal/plan/density_factor", 2)
    playing.after(1)
    assert min(len(bar) for bar in bars_of(playing, 2)) >= 22, "13 notes a bar, twice"
