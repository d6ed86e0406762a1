"""The transport's state machine; time is an argument."""

from __future__ import annotations

import random

import pytest

from fractal_live.live.transport import Change, Transport
from fractal_live.music.meter import Meter

MS = 1_000_000
S = 1000 * MS
CLOCK_NS = 20_833_333  # at 120 bpm


class Leader:
    """A DAW at 120 bpm in front of a transport."""

    def __init__(self, transport: Transport, now_ns: int = S) -> None:
        self.transport = transport
        self.now_ns = now_ns

    def clocks(self, count: int) -> list[Change | None]:
        """Each clock, then the time until just before the next."""
        changes = []
        for _ in range(count):
            changes.append(self.transport.on_clock(self.now_ns))
            self.now_ns += CLOCK_NS
        return changes

    @property
    def position(self) -> int:
        return self.transport.position(self.now_ns)


def test_start_arms_and_the_next_clock_is_tick_0_at_once() -> None:
    transport = Transport()
    leader = Leader(transport)
    assert transport.on_start(leader.now_ns) is Change.LOCATED
    assert (transport.is_rolling, transport.is_armed, leader.position) == (False, True, 0)
    leader.now_ns += 500 * MS
    assert transport.on_clock(leader.now_ns) is Change.STARTED
    assert transport.is_rolling
    assert transport.timeline.tick_at(leader.now_ns) == 0
    assert transport.timeline.time_at(0) == leader.now_ns


def test_clocks_before_start_set_the_tempo_but_not_rolling() -> None:
    transport = Transport(tempo_bpm=60)
    leader = Leader(transport)
    assert leader.clocks(48) == [None] * 48
    assert not transport.is_rolling
    assert transport.tempo_bpm == pytest.approx(120, rel=1e-3)


@pytest.mark.parametrize("clocks", [1, 2, 24, 25, 100])
def test_continue_resumes_at_the_clock_after_the_last_one_before_stop(clocks: int) -> None:
    transport = Transport()
    leader = Leader(transport)
    transport.on_start(leader.now_ns)
    leader.clocks(clocks)
    leader.now_ns -= CLOCK_NS // 2
    assert transport.on_stop(leader.now_ns) is Change.STOPPED
    assert leader.position == clocks * 20 - 10
    leader.now_ns += 3 * S
    assert leader.position == clocks * 20 - 10
    assert transport.on_continue(leader.now_ns) is None
    assert transport.on_clock(leader.now_ns) is Change.STARTED
    assert leader.position == clocks * 20


def test_continue_after_a_stop_while_the_clock_was_lost_says_that_it_goes_back_to_where_the_clocks_ceased() -> None:
    transport = Transport()
    leader = Leader(transport)
    transport.on_start(leader.now_ns)
    leader.clocks(100)
    leader.now_ns += 3 * S
    assert transport.on_stop(leader.now_ns) is Change.STOPPED
    assert leader.position > 4800
    transport.on_continue(leader.now_ns)
    assert transport.on_clock(leader.now_ns) is Change.LOCATED
    assert leader.position == 2000


def test_continue_after_a_stop_before_the_first_clock_of_what_was_taken_up_goes_on_there() -> None:
    transport = Transport()
    leader = Leader(transport)
    assert transport.take_up(30 * 1920 + 7, leader.now_ns) is Change.LOCATED
    leader.now_ns += CLOCK_NS // 2
    assert transport.on_stop(leader.now_ns) is Change.STOPPED
    assert leader.position == 30 * 1920 + 16
    transport.on_continue(leader.now_ns)
    assert transport.on_clock(leader.now_ns) is Change.STARTED
    assert leader.position == 30 * 1920 + 20


def test_song_position_is_honoured_when_stopped() -> None:
    transport = Transport()
    leader = Leader(transport)
    assert transport.on_song_position(37, leader.now_ns) is Change.LOCATED
    assert leader.position == 37 * 120
    transport.on_continue(leader.now_ns)
    assert leader.clocks(1) == [Change.STARTED]
    assert transport.timeline.time_at(37 * 120) == S


@pytest.mark.parametrize("is_armed_only", [True, False])
def test_song_position_is_ignored_while_rolling_or_armed(is_armed_only: bool) -> None:
    transport = Transport()
    leader = Leader(transport)
    transport.on_start(leader.now_ns)
    if not is_armed_only:
        leader.clocks(12)
    assert transport.on_song_position(37, leader.now_ns) is None
    leader.clocks(1)
    assert leader.position < 37 * 120
    assert transport.ignored_song_positions == 1


def test_start_after_song_position_and_stop_begins_at_0() -> None:
    transport = Transport()
    leader = Leader(transport)
    transport.on_song_position(16, leader.now_ns)
    transport.on_start(leader.now_ns)
    leader.clocks(1)
    assert transport.timeline.time_at(0) == S


def test_start_while_rolling_closes_and_begins_anew_at_the_next_clock() -> None:
    transport = Transport()
    leader = Leader(transport)
    transport.on_start(leader.now_ns)
    leader.clocks(100)
    assert transport.on_start(leader.now_ns - MS) is Change.LOCATED
    assert leader.position == 0
    assert leader.clocks(1) == [Change.STARTED]
    assert transport.timeline.tick_at(leader.now_ns - CLOCK_NS) == 0
    assert transport.tempo_bpm == pytest.approx(120, rel=0.01)


def test_continue_while_rolling_changes_nothing() -> None:
    transport = Transport()
    leader = Leader(transport)
    transport.on_start(leader.now_ns)
    leader.clocks(10)
    before = leader.position
    assert transport.on_continue(leader.now_ns) is None
    assert leader.position == before
    assert transport.is_rolling


@pytest.mark.parametrize(("clock_loss", "change"), [("hold", None), ("stop", Change.STOPPED)])
def test_a_lost_clock_holds_the_tempo_or_stops_as_configured(clock_loss: str, change: Change | None) -> None:
    transport = Transport(clock_loss=clock_loss)
    leader = Leader(transport)
    transport.on_start(leader.now_ns)
    leader.clocks(48)
    last_ns = leader.now_ns - CLOCK_NS
    assert transport.poll(last_ns + 249 * MS) is None
    assert transport.poll(last_ns + 250 * MS) is change
    assert transport.is_rolling is (change is None)
    assert transport.next_ns() == (None if clock_loss == "hold" or change else last_ns + 250 * MS)


def test_it_stops_by_itself_exactly_at_the_end_bar() -> None:
    transport = Transport("internal", Meter(3, 4), end_bar=2)
    transport.start(S)
    end_ns = S + 3 * S
    assert transport.next_ns() == end_ns
    assert transport.poll(end_ns - 1) is None
    assert transport.poll(end_ns) is Change.STOPPED
    assert (transport.is_rolling, transport.position(end_ns)) == (False, 2880)
    assert transport.poll(end_ns + S) is None


def test_internal_start_is_now_and_stop_and_continue_keep_the_position() -> None:
    transport = Transport("internal", tempo_bpm=60)
    assert transport.start(S) is Change.LOCATED
    assert (transport.is_rolling, transport.position(S), transport.position(2 * S)) == (True, 0, 480)
    assert transport.stop(3 * S) is Change.STOPPED
    assert transport.position(9 * S) == 960
    transport.resume(10 * S)
    assert transport.position(11 * S) == 1440


def test_an_internal_tempo_change_never_moves_the_position() -> None:
    rng = random.Random(0)
    transport = Transport("internal")
    transport.start(S)
    now_ns = S
    for _ in range(200):
        now_ns += rng.randrange(1, S)
        before = transport.position(now_ns)
        transport.set_tempo(rng.uniform(20, 400), now_ns)
        assert transport.position(now_ns) == before
    transport.set_tempo(93, now_ns)
    assert transport.tempo_bpm == pytest.approx(93)


def test_midi_clocks_mean_nothing_to_the_internal_mode_and_tempo_commands_nothing_behind_a_leader() -> None:
    internal = Transport("internal")
    assert [internal.on_start(S), internal.on_clock(S), internal.on_stop(S), internal.on_continue(S)] == [None] * 4
    led = Transport()
    leader = Leader(led)
    led.on_start(leader.now_ns)
    leader.clocks(48)
    led.set_tempo(300, leader.now_ns)
    assert led.tempo_bpm == pytest.approx(120, rel=1e-3)


def test_a_bang_plays_one_bar_and_the_next_bang_the_next() -> None:
    transport = Transport("osc")
    assert transport.trigger_bar(S) is Change.STARTED
    assert transport.position(S) == 0
    assert transport.poll(3 * S - 1) is None
    assert transport.poll(3 * S) is Change.STOPPED
    assert transport.position(4 * S) == 1920
    assert transport.trigger_bar(5 * S) is Change.STARTED
    assert transport.position(5 * S) == 1920
    assert transport.poll(7 * S) is Change.STOPPED


def test_a_bang_while_the_bar_plays_adds_exactly_one_bar() -> None:
    transport = Transport("osc")
    transport.trigger_bar(S)
    transport.trigger_bar(2 * S)
    transport.trigger_bar(2 * S + 1)
    assert transport.stop_tick == 3840
    assert transport.poll(3 * S) is None
    assert transport.poll(5 * S) is Change.STOPPED


def test_a_bang_after_a_stop_inside_a_bar_goes_to_the_next_bar_line() -> None:
    transport = Transport("osc")
    transport.trigger_bar(S)
    transport.stop(2 * S)
    assert transport.trigger_bar(3 * S) is Change.LOCATED
    assert transport.position(3 * S) == 1920


def test_bangs_per_beat_lead_like_a_slow_clock() -> None:
    transport = Transport("osc", tempo_bpm=120)
    beats = [S + number * 600 * MS for number in range(12)]
    changes = [transport.clock_beat(beat_ns) for beat_ns in beats]
    assert changes == [Change.STARTED] + [None] * 11
    assert transport.tempo_bpm == pytest.approx(100, rel=1e-3)
    assert abs(transport.position(beats[-1]) - 11 * 480) <= 1


def test_an_osc_leader_that_comes_back_inside_a_beat_begins_at_the_next_beat_and_says_that_it_jumped() -> None:
    """The half beat between was once played in one breath."""
    transport = Transport("osc", tempo_bpm=120)
    transport.trigger_bar(S)
    transport.stop(S + 250 * MS)
    assert transport.position(2 * S) == 240
    transport.clock_beat(9 * S)
    transport.resume(9 * S + 100 * MS)
    assert transport.clock_beat(9 * S + 500 * MS) is Change.LOCATED
    assert transport.position(9 * S + 500 * MS) == 480


def test_the_position_waits_while_start_leads_in() -> None:
    transport = Transport("internal", lead_in_ns=10 * MS)
    transport.start(S)
    assert [transport.position(S + wait * MS) for wait in (0, 5, 10, 510)] == [0, 0, 0, 480]
    transport.stop(S + 510 * MS)
    transport.resume(2 * S)
    assert [transport.position(2 * S + wait * MS) for wait in (0, 5, 10, 510)] == [480, 480, 480, 960]


def test_a_tempo_change_while_start_leads_in_does_not_begin_early() -> None:
    transport = Transport("internal", lead_in_ns=10 * MS)
    transport.start(S)
    transport.set_tempo(60, S + 5 * MS)
    assert transport.position(S + 14 * MS) == 0
    assert transport.timeline.time_at(0) == pytest.approx(S + 15 * MS, abs=2)


def test_beats_do_not_roll_after_a_commanded_stop_until_start() -> None:
    transport = Transport("osc")
    for number in range(4):
        transport.clock_beat(S + number * 500 * MS)
    transport.stop(S + 1700 * MS)
    assert transport.clock_beat(S + 2000 * MS) is None
    assert not transport.is_rolling
    assert transport.start(S + 2200 * MS) is Change.LOCATED
    assert transport.clock_beat(S + 2500 * MS) is Change.STARTED
    assert transport.position(S + 2500 * MS) == 0


def test_unknown_modes_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="rewire"):
        Transport("rewire")
    with pytest.raises(ValueError, match="pause"):
        Transport(clock_loss="pause")
