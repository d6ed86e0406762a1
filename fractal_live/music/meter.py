"""Ticks, steps, beats and bars: the integer arithmetic of score time.

Knows no wall clock: a tick has no length here until `live.timeline` gives it one.
"""

from __future__ import annotations

from dataclasses import dataclass

PPQN = 480
CLOCKS_PER_BEAT = 24
TICKS_PER_CLOCK = PPQN // CLOCKS_PER_BEAT
STEPS_PER_BEAT = 4
TICKS_PER_STEP = PPQN // STEPS_PER_BEAT
MAX_STEPS_PER_BAR = 64


@dataclass(frozen=True, slots=True)
class Meter:
    """A time signature. A beat is a quarter note whatever the denominator.

    `numerator` 1 to 64; `denominator` 1, 2, 4, 8 or 16, so that a bar is a whole number of steps.
    """

    numerator: int = 4
    denominator: int = 4

    def __post_init__(self) -> None:
        if self.denominator not in (1, 2, 4, 8, 16):
            raise ValueError(f"meter denominator is {self.denominator}; allowed: 1, 2, 4, 8, 16")
        if not 1 <= self.steps_per_bar <= MAX_STEPS_PER_BAR:
            raise ValueError(f"meter {self} has {self.steps_per_bar} steps in a bar; allowed: 1 to {MAX_STEPS_PER_BAR}")

    @property
    def steps_per_bar(self) -> int:
        return self.numerator * 16 // self.denominator

    @property
    def ticks_per_bar(self) -> int:
        return self.steps_per_bar * TICKS_PER_STEP

    def bar_at(self, tick: int) -> tuple[int, int]:
        """The bar index and the tick inside that bar; holds for negative ticks too."""
        return divmod(tick, self.ticks_per_bar)

    def tick_of_bar(self, bar_index: int) -> int:
        return bar_index * self.ticks_per_bar

    def __str__(self) -> str:
        return f"{self.numerator}/{self.denominator}"


FOUR_FOUR = Meter(4, 4)


def step_at(tick: int) -> int:
    """The step nearest to a tick; a tick half way rounds up."""
    return (tick + TICKS_PER_STEP // 2) // TICKS_PER_STEP
