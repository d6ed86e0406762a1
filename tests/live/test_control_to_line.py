"""From how long before a bar line a change of the controls is heard at that line, for a model of a given speed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fractal_live.bench.bar import control_to_bar_line_ms
from fractal_live.live.scheduler import BegunBar
from fractal_live.music.meter import FOUR_FOUR
from tests.live.simulated_port import MS
from tests.live.simulation import Evening, simulated

BAR_NS = 2_000 * MS  # at 120 bpm
FADER_NS = 1_000 * MS // 60


class Listening(Evening):
    """Keeps how many notes each bar has."""

    def begin(self) -> None:
        self.onsets: dict[int, int] = {}
        super().begin()

    def began(self, begun: BegunBar) -> None:
        self.onsets[begun.bar.index] = len(begun.bar.notes)

    def to_line(self) -> int:
        """Nanoseconds to the next bar line."""
        return BAR_NS - self.position % FOUR_FOUR.ticks_per_bar * BAR_NS // FOUR_FOUR.ticks_per_bar


def is_heard(evening: Listening, before_ms: int, density: float, is_fader: bool) -> bool:
    """Whether a change that long before the next line is heard there; a fader has moved for half a second."""
    evening.seconds(2)
    evening.advance((evening.to_line() - before_ms * MS - 500 * MS) % BAR_NS)
    if is_fader:
        for step in range(30):
            evening.osc("plan/density", 20.0 + step % 7)
            evening.advance(FADER_NS)
        evening.advance((evening.to_line() - before_ms * MS) % BAR_NS)
    else:
        evening.advance(500 * MS)
    coming = FOUR_FOUR.bar_at(evening.position)[0] + 1
    evening.osc("plan/density", density)
    evening.advance(before_ms * MS + 100 * MS)
    return evening.onsets[coming] == density


@pytest.mark.parametrize("is_fader", [False, True], ids=["a change", "a fader that moved until then"])
@pytest.mark.parametrize(("slowest_ms", "before_ms"), [(15, 75), (80, 140), (140, 200)])
def test_a_change_is_heard_at_the_next_line_if_that_is_far_enough(
    tmp_path: Path, slowest_ms: int, before_ms: int, is_fader: bool
) -> None:
    """With bars of up to 140 ms 200 ms are enough, even while one is under way that does not know the change."""
    assert control_to_bar_line_ms(slowest_ms) <= before_ms
    with simulated(tmp_path, Listening) as evening:
        evening.model = lambda request: evening.rng.randint(slowest_ms * 5 // 8, slowest_ms) * MS
        evening.seconds(20)
        evening.daemon.planner.took_ns.clear()  # the simulated model's warm-up bar took longer
        evening.seconds(5)
        missed = [density for density in range(3, 12) if not is_heard(evening, before_ms, density, is_fader)]
        assert missed == []
