from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from fractal_live.bench.clock_leader import CLOCK, START, STOP, Leader
from fractal_live.live.player import Event

MS = 1_000_000
CLOCK_NS = 25 * MS  # at 100 bpm


class Recording:
    """An output that keeps what it is given."""

    ahead_ns = 0

    def __init__(self) -> None:
        self.played: list[Event] = []
        self.sent: list[bytes] = []

    def play(self, events: Sequence[Event]) -> int:
        self.played += events
        return len(events)

    def take_back(self) -> int:
        return 0

    def send(self, messages: Sequence[bytes]) -> None:
        self.sent += messages

    def take_sent(self) -> Sequence[tuple[Event, int]]:
        return []


def led(leader: Leader, from_ns: int, to_ns: int) -> None:
    for now_ns in range(from_ns, to_ns, 20 * MS):
        leader.go_on(now_ns)


def test_no_clock_is_sent_before_start_or_after_stop() -> None:
    """A leader that began to count at time zero sent all clocks since then at once."""
    output = Recording()
    leader = Leader(output, 100)
    led(leader, 10_000 * MS, 12_000 * MS)
    assert (output.played, output.sent) == ([], [])
    leader.start(12_000 * MS)
    count = len(output.played)
    assert output.sent == [START] and count > 0
    leader.stop()
    led(leader, 13_000 * MS, 14_000 * MS)
    assert len(output.played) == count
    assert output.sent == [START, STOP]


def test_clocks_are_as_far_apart_as_the_tempo_says_and_a_gap_is_left_in_phase() -> None:
    output = Recording()
    leader = Leader(output, 100)
    leader.start(0)
    led(leader, 0, 1000 * MS)
    leader.fall_silent(0.5)
    led(leader, 1000 * MS, 3000 * MS)
    times = [due_ns for due_ns, _, message in output.played if message == CLOCK]
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert set(gaps) == {CLOCK_NS, 500 * MS + CLOCK_NS}
    assert gaps.count(500 * MS + CLOCK_NS) == 1
    assert leader.clocks == len(times) + 20
    leader.tempo_bpm = 50
    led(leader, 3000 * MS, 4000 * MS)
    times = [due_ns for due_ns, _, _ in output.played]
    assert times[-1] - times[-2] == 2 * CLOCK_NS
