"""What plays while the model is away: as the plan is now, not as it was when the last bar was made."""

from __future__ import annotations

from pathlib import Path

from fractal_live.live.scheduler import BegunBar
from tests.live.simulated_port import MS
from tests.live.simulation import Evening, simulated


class Listening(Evening):
    """Keeps what has begun."""

    def begin(self) -> None:
        self.begun: list[BegunBar] = []
        super().begin()

    def began(self, begun: BegunBar) -> None:
        self.begun.append(begun)

    def play_to_the_middle_of(self, bar_index: int) -> None:
        while self.stage is None or self.position < bar_index * 1920 + 960:
            self.advance(50 * MS)

    def onsets(self) -> list[int]:
        return [len(begun.bar.notes) for begun in self.begun]

    def without_model(self) -> None:
        """Whatever is asked from now on is not answered."""
        self.model = lambda request: "never"


def test_a_silence_that_was_asked_for_ends_when_it_is_asked_for_no_more_even_without_the_model(tmp_path: Path) -> None:
    """The bars that were ready, and the fallback that follows them, were made while the plan said silence."""
    with simulated(tmp_path, Listening) as evening:
        evening.osc("plan/density", 6.0)
        evening.play_to_the_middle_of(5)
        evening.osc("plan/density", 0.0)
        evening.play_to_the_middle_of(8)
        evening.without_model()
        evening.osc("plan/density", 7.0)
        evening.play_to_the_middle_of(14)
        assert evening.onsets() == [6] * 6 + [0] * 3 + [7] * 6


def test_a_silence_that_is_released_without_the_model_ends_with_what_was_played_before(tmp_path: Path) -> None:
    with simulated(tmp_path, Listening) as evening:
        evening.osc("plan/density", 6.0)
        evening.play_to_the_middle_of(5)
        evening.osc("plan/density", 0.0)
        evening.play_to_the_middle_of(8)
        evening.without_model()
        evening.osc("plan/density")
        evening.play_to_the_middle_of(12)
        assert all(evening.onsets()[9:])


def test_after_more_silent_bars_than_are_remembered_there_is_still_something_to_play(tmp_path: Path) -> None:
    with simulated(tmp_path, Listening) as evening:
        evening.osc("plan/density", 6.0)
        evening.play_to_the_middle_of(5)
        evening.osc("plan/density", 0.0)
        evening.play_to_the_middle_of(80)
        evening.without_model()
        evening.osc("plan/density", 7.0)
        evening.play_to_the_middle_of(83)
        assert evening.onsets()[78:] == [0, 0, 0, 7, 7, 7]


def test_one_silent_bar_of_a_curve_stays_one(tmp_path: Path) -> None:
    """The fallback for it is silent, and was repeated as long as the model was away."""
    with simulated(tmp_path, Listening) as evening:
        evening.play_to_the_middle_of(3)
        evening.osc("plan/density", *[6.0] * 5, 0.0, *[9.0] * 10)
        evening.play_to_the_middle_of(6)
        evening.without_model()
        evening.play_to_the_middle_of(14)
        planned = [6 if index < 9 else 0 if index == 9 else 9 for index in range(7, 15)]
        assert evening.begun[7].bar.index == 7
        assert evening.onsets()[7:] == planned


def test_what_plays_without_the_model_is_transposed_like_everything_else(tmp_path: Path) -> None:
    with simulated(tmp_path, Listening) as evening:
        evening.osc("plan/density", 6.0)
        evening.play_to_the_middle_of(4)
        evening.without_model()
        evening.play_to_the_middle_of(8)
        assert evening.begun[8].is_fallback
        evening.osc("param/transpose", 12)
        evening.play_to_the_middle_of(11)
        before = {note.pitch for begun in evening.begun[4:9] for note in begun.bar.notes}
        after = {note.pitch for begun in evening.begun[9:12] for note in begun.bar.notes}
        assert after <= {pitch + 12 for pitch in before} and after
