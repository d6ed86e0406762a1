"""Two stages on a JACK server: the one leads by its MIDI clock, the other follows it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from fractal_live.music.meter import PPQN
from fractal_live.ports import pipes
from tests import jack
from tests.scenarios.test_stage import JACK_NS, MS, Daemon, all_closed, ons, sixteenths

pytestmark = [pytest.mark.ports, pytest.mark.slow, pytest.mark.timeout(90)]
REALTIME = {0xF8, 0xFA, 0xFB, 0xFC, 0xF2}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with jack.jack_server("fractal-test-clock-out") as name:
        yield name


class Pair:
    """A leader at its own tempo and a follower that listens to it, each with a synthesizer."""

    def __init__(self) -> None:
        lead = pipes.StageSetup(
            sync="internal", port_name="fl-lead", midi_api="jack", tempo_bpm=150.0, sends_clock=True
        )
        self.leader = Daemon(lead)
        port = self.leader.hear(pipes.StageReady).output_port
        self.heard = jack.Listener(port)
        follow = pipes.StageSetup(sync="midi", port_name="fl-follow", midi_api="jack", clock_port=port)
        self.follower = Daemon(follow)
        self.synth = jack.Listener(self.follower.hear(pipes.StageReady).output_port)
        for index in range(6):
            for daemon in (self.leader, self.follower):
                daemon.send(pipes.PlayBar(sixteenths(index), 1, sixteenths(index + 1, 30)))
        time.sleep(0.2)

    def command(self, kind: str, value: float = 0.0) -> None:
        self.leader.send(pipes.TransportCommand(kind, value))

    def newest(self, daemon: Daemon) -> pipes.TransportState:
        state: pipes.TransportState = daemon.heard(pipes.TransportState)[-1]
        return state

    def apart_ns(self) -> float:
        """How far the follower's position is behind the leader's."""
        ours, theirs = self.newest(self.leader), self.newest(self.follower)
        beat_ns = 60e9 / ours.tempo_bpm
        return (ours.tick - theirs.tick) * beat_ns / PPQN - (ours.at_ns - theirs.at_ns)

    def close(self) -> None:
        try:
            for daemon in (self.follower, self.leader):
                daemon.leave()
        finally:
            self.heard.close()
            self.synth.close()


@pytest.fixture
def pair(server: str) -> Iterator[Pair]:
    here = Pair()
    yield here
    here.close()


def realtime(messages: list[bytes]) -> list[int]:
    return [message[0] for message in messages if message[0] in REALTIME]


def test_who_follows_our_clock_starts_plays_and_stops_with_us(pair: Pair) -> None:
    pair.command("start")
    time.sleep(2.5)
    assert pair.newest(pair.follower).is_rolling
    assert pair.newest(pair.follower).tempo_bpm == pytest.approx(150, rel=0.01)
    assert abs(pair.apart_ns()) < JACK_NS
    pair.command("tempo", 100.0)
    time.sleep(1.5)
    assert pair.newest(pair.follower).tempo_bpm == pytest.approx(100, rel=0.01)
    assert abs(pair.apart_ns()) < JACK_NS
    pair.command("stop")
    assert pair.synth.await_that(all_closed)
    assert pair.heard.await_that(all_closed)
    time.sleep(0.2)
    assert not pair.newest(pair.follower).is_rolling
    assert ons(pair.synth.messages) == ons(pair.heard.messages)
    begins_and_ends = [status for status in realtime(pair.heard.messages) if status != 0xF8]
    assert begins_and_ends == [0xFA, 0xFC]


def test_the_clocks_that_arrive_are_as_many_as_the_position_says(pair: Pair) -> None:
    pair.command("start")
    time.sleep(1.0)
    for tempo_bpm in (90.0, 200.0, 133.0, 170.0):
        pair.command("tempo", tempo_bpm)
        time.sleep(0.4)
    pair.command("stop")
    stopped = pair.leader.hear(pipes.TransportState, claim=lambda state: not state.is_rolling and state.tick > 0)
    assert pair.heard.await_that(lambda messages: 0xFC in realtime(messages))
    begin, *clocks, end = realtime(pair.heard.messages)
    assert (begin, end, set(clocks)) == (0xFA, 0xFC, {0xF8})
    # One may leave in the moment between the reading of the position and the Stop.
    assert len(clocks) - (stopped.tick // 20 + 1) in (0, 1)


def test_continue_goes_on_where_both_stopped(pair: Pair) -> None:
    pair.command("start")
    time.sleep(1.0)
    pair.command("stop")
    time.sleep(0.5)
    pair.command("continue")
    time.sleep(1.0)
    assert abs(pair.apart_ns()) < JACK_NS
    pair.command("stop")
    assert pair.synth.await_that(all_closed)
    time.sleep(0.3)
    assert [status for status in realtime(pair.heard.messages) if status != 0xF8] == [0xFA, 0xFC, 0xFB, 0xFC]
    assert abs(pair.newest(pair.leader).tick - pair.newest(pair.follower).tick) * 400e6 / PPQN < JACK_NS


def test_the_first_clock_comes_after_start_and_together_with_the_first_note(pair: Pair) -> None:
    pair.command("start")
    assert pair.heard.await_that(lambda messages: len(realtime(messages)) > 24)
    assert realtime(pair.heard.messages)[:2] == [0xFA, 0xF8]
    sounded = next(at_ns for at_ns, message in pair.heard.heard if message[0] & 0xF0 == 0x90)
    clocked = next(at_ns for at_ns, message in pair.heard.heard if message[0] == 0xF8)
    assert -MS <= sounded - clocked < 20 * MS
