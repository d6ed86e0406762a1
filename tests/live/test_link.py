"""Behind a Link session: tempo, bar lines, start and stop, with numbers instead of sockets."""

from __future__ import annotations

import random

import pytest

from fractal_live.live.link_follower import LinkFollower
from fractal_live.live.timeline import Timeline, beat_ns_at
from fractal_live.live.transport import LINK_PREROLL_NS, Change, Transport
from fractal_live.music.meter import FOUR_FOUR, PPQN, Meter

MS = 1_000_000
S = 1000 * MS
EVERY_NS = 20 * MS


class Session:
    """A Link session that is at `beat` at `now_ns`, in front of a transport that hears of it fifty times a second,
    with `scatter_ns` of error in the times and `delay_ns` on the way."""

    def __init__(self, transport: Transport, beat: float = 0.0, tempo_bpm: float = 120.0, seed: int = 0) -> None:
        self.transport = transport
        self.tempo_bpm = tempo_bpm
        self.is_playing = False
        self.now_ns = 100 * S
        self.scatter_ns = 0
        self.delay_ns = 0
        self._rng = random.Random(seed)
        self._beat = beat
        self.changes: list[Change] = []

    @property
    def beat(self) -> float:
        return self._beat

    def pass_time(self, duration_ns: int) -> None:
        until_ns = self.now_ns + duration_ns
        while self.now_ns < until_ns:
            self._say()
            step_ns = min(EVERY_NS, until_ns - self.now_ns)
            for _ in range(4):
                self._move(step_ns // 4)
                self._note(self.transport.poll(self.now_ns))
            self._move(step_ns % 4)

    def jump(self, beats: float) -> None:
        self._beat += beats

    def phase_error_ns(self) -> float:
        """How far our bar line is from the session's, at the nearest."""
        tick = self.transport.position(self.now_ns)
        bar = self.transport.meter.ticks_per_bar
        since_ns = self.now_ns - self.transport.timeline.time_at(tick)
        ours = tick + since_ns * PPQN / self.transport.timeline.beat_ns
        apart = (ours - self._beat * PPQN + bar / 2) % bar - bar / 2
        return apart * beat_ns_at(self.tempo_bpm) / PPQN

    def _say(self) -> None:
        at_ns = self.now_ns + self._rng.randint(-self.scatter_ns, self.scatter_ns)
        heard_ns = self.now_ns + self.delay_ns
        self._note(self.transport.on_link(self.tempo_bpm, self._beat, at_ns, self.is_playing, heard_ns))

    def _move(self, step_ns: int) -> None:
        self.now_ns += step_ns
        self._beat += step_ns / beat_ns_at(self.tempo_bpm)

    def _note(self, change: Change | None) -> None:
        if change is not None:
            self.changes.append(change)


@pytest.mark.parametrize(("beat", "line"), [(0.5, 4), (3.0, 4), (4.08, 4), (4.2, 8), (-2.5, 0), (17.0, 20)])
@pytest.mark.parametrize("tempo_bpm", [60.0, 120.0, 133.7])
def test_start_is_tick_0_on_the_next_bar_line_of_the_session(beat: float, line: int, tempo_bpm: float) -> None:
    """A line that has passed by less than 50 ms is met still."""
    transport = Transport("link")
    session = Session(transport, beat, tempo_bpm)
    session.pass_time(1)
    began_ns, line_ns = session.now_ns, session.now_ns + round((line - session.beat) * beat_ns_at(tempo_bpm))
    assert transport.start(session.now_ns) is Change.LOCATED
    assert (transport.is_rolling, transport.is_armed) == (False, True)
    if line_ns < began_ns - 50 * MS:
        line_ns += 4 * beat_ns_at(tempo_bpm)
    session.pass_time(max(line_ns - began_ns, 0) + S)
    assert transport.timeline.time_at(0) == pytest.approx(line_ns, abs=1000)  # Link itself counts microseconds
    assert session.changes == [Change.STARTED]
    assert session.phase_error_ns() == pytest.approx(0, abs=10)


def test_rolling_is_said_ahead_and_the_position_waits_for_the_line() -> None:
    transport = Transport("link")
    session = Session(transport, 1.0)
    session.pass_time(1)
    transport.start(session.now_ns)
    line_ns = session.now_ns + round(1.5 * S)
    assert transport.next_ns() == pytest.approx(line_ns - LINK_PREROLL_NS, abs=2)
    assert transport.poll(line_ns - LINK_PREROLL_NS - 10) is None
    assert transport.poll(line_ns - LINK_PREROLL_NS + 10) is Change.STARTED
    assert [transport.position(line_ns + wait * MS) for wait in (-90, -1, 250)] == [0, 0, 240]


def test_start_before_the_session_was_heard_waits_for_it() -> None:
    transport = Transport("link")
    assert not transport.is_locked
    transport.start(S)
    assert transport.next_ns() is None
    assert transport.poll(50 * S) is None
    session = Session(transport, 2.0)
    session.pass_time(2 * S)
    assert transport.is_locked
    assert transport.is_rolling


def test_continue_waits_until_the_sessions_bar_is_where_ours_stopped() -> None:
    transport = Transport("link")
    session = Session(transport, 3.9)
    session.pass_time(1)
    transport.start(session.now_ns)
    session.pass_time(3 * S)
    transport.stop(session.now_ns)
    stopped = transport.position(session.now_ns)
    session.pass_time(700 * MS)
    transport.resume(session.now_ns)
    session.pass_time(4 * S)
    assert transport.is_rolling
    assert transport.position(session.now_ns) > stopped
    assert session.phase_error_ns() == pytest.approx(0, abs=10)
    assert [change for change in session.changes if change is Change.LOCATED] == []


@pytest.mark.parametrize("meter", [FOUR_FOUR, Meter(3, 4), Meter(7, 8)])
def test_bar_lines_keep_with_the_session_in_any_meter(meter: Meter) -> None:
    transport = Transport("link", meter)
    session = Session(transport, 101.3, 97.0)
    session.pass_time(1)
    transport.start(session.now_ns)
    session.pass_time(10 * S)
    quantum = meter.ticks_per_bar / PPQN
    start_beat = session.beat - transport.position(session.now_ns) / PPQN
    assert abs((start_beat + quantum / 2) % quantum - quantum / 2) < 0.01
    assert session.phase_error_ns() == pytest.approx(0, abs=10)


@pytest.mark.parametrize("seed", range(5))
def test_tempo_moves_of_the_session_are_followed_without_a_jump(seed: int) -> None:
    transport = Transport("link")
    session = Session(transport, 3.5, seed=seed)
    session.delay_ns = 2 * MS
    session.pass_time(1)
    transport.start(session.now_ns)
    session.pass_time(S)
    rng = random.Random(seed)
    for _ in range(40):
        session.tempo_bpm = rng.uniform(40, 240)
        before = transport.position(session.now_ns)
        session.pass_time(rng.randrange(EVERY_NS, S))
        assert transport.position(session.now_ns) >= before - 5
        assert transport.tempo_bpm == pytest.approx(session.tempo_bpm, rel=1e-6)
        assert abs(session.phase_error_ns()) < MS
    assert session.changes == [Change.STARTED]


def test_the_scatter_of_what_is_said_is_smoothed() -> None:
    transport = Transport("link")
    session = Session(transport, 3.9, seed=3)
    session.scatter_ns = MS
    session.pass_time(1)
    transport.start(session.now_ns)
    session.pass_time(S)
    errors = []
    for _ in range(200):
        session.pass_time(EVERY_NS)
        errors.append(session.phase_error_ns())
    said_rms = MS / 3**0.5
    assert (sum(error**2 for error in errors) / len(errors)) ** 0.5 < said_rms / 2
    assert session.changes == [Change.STARTED]


def test_a_slow_drift_between_the_clocks_does_not_grow() -> None:
    """Link's clock and ours may run 500 parts in a million apart."""
    transport = Transport("link")
    session = Session(transport, 3.9, 120.0)
    session.pass_time(1)
    transport.start(session.now_ns)
    session.pass_time(S)
    for _ in range(1000):
        session.jump(EVERY_NS * 500e-6 / beat_ns_at(120.0))
        session.pass_time(EVERY_NS)
        assert abs(session.phase_error_ns()) < MS
    assert session.changes == [Change.STARTED]


@pytest.mark.parametrize(
    ("jump", "moved"), [(0.5, 0.5), (-0.5, -0.5), (3.5, -0.5), (1.5, 1.5), (8.0, 0.0), (-4.0, 0.0)]
)
def test_when_the_sessions_beat_jumps_ours_takes_the_shortest_way_to_its_bar(jump: float, moved: float) -> None:
    transport = Transport("link")
    session = Session(transport, 3.9)
    session.pass_time(1)
    transport.start(session.now_ns)
    session.pass_time(5 * S)
    before = transport.position(session.now_ns)
    session.jump(jump)
    session.pass_time(EVERY_NS)
    expected = before + round(moved * PPQN) + round(EVERY_NS * PPQN / beat_ns_at(120.0))
    assert transport.position(session.now_ns) == pytest.approx(expected, abs=1)
    assert session.changes[1:] == ([Change.LOCATED] if moved else [])
    assert session.phase_error_ns() == pytest.approx(0, abs=10)


def test_a_small_step_of_the_session_is_taken_without_closing_what_sounds() -> None:
    transport = Transport("link")
    session = Session(transport, 3.9)
    session.pass_time(1)
    transport.start(session.now_ns)
    session.pass_time(5 * S)
    session.jump(0.1)
    session.pass_time(EVERY_NS)
    assert session.changes == [Change.STARTED]
    assert session.phase_error_ns() == pytest.approx(0, abs=10)


def test_a_jump_just_after_the_start_does_not_lead_before_tick_0() -> None:
    follower = LinkFollower(FOUR_FOUR.ticks_per_bar)
    follower.hear(120.0, 3.0, S)
    timeline, is_jump = follower.followed(Timeline(100, S, beat_ns_at(120.0)), S)
    assert is_jump
    assert timeline.tick_at(S) == 3 * PPQN


def test_a_jump_while_the_line_is_awaited_moves_the_start_to_the_new_line() -> None:
    transport = Transport("link")
    session = Session(transport, 3.0)
    session.pass_time(1)
    transport.start(session.now_ns)
    session.pass_time(450 * MS)  # rolling is said, the line is 50 ms ahead
    assert transport.is_rolling
    session.jump(-2.0)
    session.pass_time(EVERY_NS)
    assert not transport.is_rolling
    session.pass_time(3 * S)
    assert session.changes == [Change.STARTED, Change.STOPPED, Change.STARTED]
    assert session.phase_error_ns() == pytest.approx(0, abs=10)


def test_the_session_starts_and_stops_us() -> None:
    transport = Transport("link")
    session = Session(transport, 0.5)
    session.pass_time(S)
    session.is_playing = True
    session.pass_time(4 * S)
    assert transport.is_rolling
    session.is_playing = False
    session.pass_time(EVERY_NS)
    assert not transport.is_rolling
    assert session.changes == [Change.LOCATED, Change.STARTED, Change.STOPPED]


def test_a_session_that_stops_before_the_line_takes_the_start_back() -> None:
    transport = Transport("link")
    session = Session(transport, 0.5)
    session.pass_time(EVERY_NS)
    session.is_playing = True
    session.pass_time(200 * MS)
    session.is_playing = False
    session.pass_time(4 * S)
    assert session.changes == [Change.LOCATED, Change.STOPPED]


def test_what_the_session_did_before_it_was_heard_starts_nothing_and_our_own_start_not_twice() -> None:
    transport = Transport("link")
    session = Session(transport, 0.5)
    session.is_playing = True
    session.pass_time(4 * S)
    assert session.changes == []
    transport.start(session.now_ns)
    session.is_playing = False
    session.pass_time(EVERY_NS)
    session.changes.clear()
    transport.start(session.now_ns)
    session.is_playing = True  # the session hears of our start, and we of it
    session.pass_time(5 * S)
    assert session.changes == [Change.STARTED]


def test_a_restarted_stage_goes_on_in_phase() -> None:
    transport = Transport("link", tempo_bpm=120.0)
    session = Session(transport, 40.25)
    transport.take_up(7 * 1920 + 115, session.now_ns)  # five ticks behind the session
    session.is_playing = True
    session.pass_time(2 * S)
    assert session.changes == []
    assert session.phase_error_ns() == pytest.approx(0, abs=10)
    assert transport.position(session.now_ns) == pytest.approx(7 * 1920 + 120 + 4 * PPQN, abs=1)


def test_the_leaders_tempo_is_the_truth_and_other_modes_hear_nothing_of_link() -> None:
    transport = Transport("link")
    session = Session(transport, tempo_bpm=93.0)
    session.pass_time(EVERY_NS)
    transport.set_tempo(200, session.now_ns)
    assert transport.tempo_bpm == pytest.approx(93)
    internal = Transport("internal")
    assert internal.on_link(90.0, 0.0, S, True, S) is None
    assert (internal.is_armed, internal.tempo_bpm) == (False, 120)
