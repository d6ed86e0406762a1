"""A DAW that loops or jumps: nothing that was made for another place of the set is played."""

from __future__ import annotations

from pathlib import Path

from fractal_live.live.scheduler import BegunBar
from tests.live.simulated_leader import Leader
from tests.live.simulated_port import MS
from tests.live.simulation import Evening, simulated


class Listening(Evening):
    """Keeps what has begun."""

    def begin(self) -> None:
        self.begun: list[BegunBar] = []
        super().begin()

    def began(self, begun: BegunBar) -> None:
        self.begun.append(begun)


def led_to(evening: Evening, bar_index: int) -> Leader:
    """In the middle of a bar, behind a leader at 120 bpm."""
    evening.osc("plan/density", 6.0)
    leader = Leader(evening)
    evening.seconds(10)
    leader.start()
    while evening.position < bar_index * 1920 + 960:
        evening.advance(50 * MS)
    return leader


def jump(leader: Leader, bar_index: int) -> None:
    """As a DAW does it in a loop: three messages in one breath."""
    leader.stop()
    leader.locate(16 * bar_index)
    leader.resume()


def test_after_a_jump_back_no_bar_from_before_it_is_played(tmp_path: Path) -> None:
    """The bars that were ready for 10 and 11 lay in the stage until the loop came there again: with a model that hung
    meanwhile they sounded, in the key that had been left bars ago."""
    with simulated(tmp_path, Listening, sync="midi") as evening:
        leader = led_to(evening, 9)
        ready = evening.daemon.planner._offering.version
        evening.model = lambda request: "never"
        jump(leader, 5)
        evening.seconds(16)
        after = evening.begun[10:]
        assert [begun.bar.index for begun in after] == [5, 6, 7, 8, 9, 10, 11, 12]
        assert [begun.bar.index for begun in after if not begun.is_fallback and begun.version <= ready] == []


def test_after_a_start_while_it_rolls_no_bar_of_the_last_set_is_played(tmp_path: Path) -> None:
    """But for its opening, which is kept for this."""
    with simulated(tmp_path, Listening, sync="midi") as evening:
        leader = led_to(evening, 9)
        ready = evening.daemon.planner._offering.version
        evening.model = lambda request: "never"
        leader.start()
        evening.seconds(26)
        after = evening.begun[10:]
        assert [begun.bar.index for begun in after] == list(range(len(after))) and len(after) > 12
        old = [begun.bar.index for begun in after if not begun.is_fallback and begun.version <= ready]
        assert old == [0, 1]


def test_a_bar_asked_for_before_a_jump_is_not_taken_for_one_of_its_place(tmp_path: Path) -> None:
    """The answer came after the jump and counted as ready, though it went on from bars that were never played."""
    with simulated(tmp_path, Listening, sync="midi") as evening:
        leader = led_to(evening, 9)
        evening.model = lambda request: 300 * MS
        evening.osc("reroll")
        evening.advance(10 * MS)
        assert evening.daemon.planner.in_flight is not None
        late = evening.daemon.planner.in_flight.index
        jump(leader, 4)
        evening.advance(400 * MS)
        assert late not in evening.daemon.planner._under_way.bars
        evening.seconds(16)
        assert evening.counts["fallbacks"] <= 2


def test_a_jump_to_a_bar_that_is_ready_plays_it_and_knows_it(tmp_path: Path) -> None:
    with simulated(tmp_path, Listening, sync="midi") as evening:
        leader = led_to(evening, 9)
        ready = evening.daemon.planner._under_way.bars[11]
        jump(leader, 11)
        evening.seconds(5)
        begun = next(begun for begun in evening.begun if begun.bar.index == 11)
        assert (begun.version, begun.is_fallback) == (ready.version, False)
        assert evening.daemon.planner._under_way.bars[11].bar == ready.bar
        assert evening.counts["fallbacks"] == 0
