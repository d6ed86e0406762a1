"""Two Link peers in one process, over the loopback; and what is said where aalink is missing."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fractal_live.live.transport import Transport
from fractal_live.music.meter import PPQN
from fractal_live.ports.link_sync import LEAD_BEATS, LinkError, LinkSession, open_link

MS = 1_000_000
QUANTUM = 4.0
MEET_S = 5.0

needs_link = [pytest.mark.slow, pytest.mark.ports, pytest.mark.timeout(60)]


class Follower:
    """A transport in link mode, told of the session as the daemon tells the stage."""

    def __init__(self, session: LinkSession) -> None:
        self.transport = Transport("link", tempo_bpm=120.0)
        self._session = session

    def turn(self) -> None:
        state, now_ns = self._session.state(), time.monotonic_ns()
        self.transport.on_link(state.tempo_bpm, state.beat, state.at_ns, state.is_playing, now_ns)
        self.transport.poll(now_ns)

    async def turns(self, duration_s: float) -> None:
        until_s = time.monotonic() + duration_s
        while time.monotonic() < until_s:
            self.turn()
            await asyncio.sleep(0.02)

    async def until(self, claim: Callable[[], bool], limit_s: float = MEET_S) -> bool:
        deadline_s = time.monotonic() + limit_s
        while not claim():
            if time.monotonic() > deadline_s:
                return False
            await self.turns(0.02)
        return True

    def beat(self, now_ns: int) -> float:
        """Beats since our tick 0, between the ticks too."""
        timeline = self.transport.timeline
        return (timeline.origin_tick + (now_ns - timeline.origin_ns) * PPQN / timeline.beat_ns) / PPQN


def apart_ms(follower: Follower, peer: Any) -> float:
    """How far our bar is from a peer's, by the better of a few readings (another thread may come between)."""
    readings = []
    for _ in range(5):
        before_ns = time.monotonic_ns()
        beat = peer.beat
        ours = follower.beat((before_ns + time.monotonic_ns()) // 2)
        beats = (ours - beat + QUANTUM / 2) % QUANTUM - QUANTUM / 2
        readings.append(abs(beats) * 60e3 / peer.tempo)
    return min(readings)


def with_peer(play: Callable[[LinkSession, Any], Awaitable[None]], shares_start_stop: bool = True) -> None:
    """`play` with our session, at 120 bpm, and a peer that was there first, at 97. Skips where they do not meet."""
    aalink = pytest.importorskip("aalink", reason="the extra link is not installed")

    async def evening() -> None:
        peer = aalink.Link(97.0)
        peer.quantum = QUANTUM
        peer.start_stop_sync_enabled = True
        peer.enabled = True
        session = open_link(120.0, QUANTUM, shares_start_stop)
        try:
            deadline_s = time.monotonic() + MEET_S
            while not (session.peers and peer.num_peers):
                if time.monotonic() > deadline_s:
                    pytest.skip("two Link peers do not find each other here: no multicast on this machine")
                await asyncio.sleep(0.05)
            if session.peers > 1:
                pytest.skip("there are other Link peers on this network")
            await asyncio.sleep(0.5)  # the clocks of both are being compared
            await play(session, peer)
        finally:
            session.close()
            peer.enabled = False

    asyncio.run(evening())


class TestTwoPeers:
    """In one process, which is how Link's own tests have it."""

    pytestmark = needs_link

    def test_they_agree_on_a_tempo_and_the_peers_changes_are_followed(self) -> None:
        async def play(session: LinkSession, peer: Any) -> None:
            follower = Follower(session)
            for tempo_bpm in (140.0, 71.5, 180.0):
                peer.tempo = tempo_bpm
                assert await follower.until(lambda: abs(follower.transport.tempo_bpm - peer.tempo) < 0.01)
                assert follower.transport.tempo_bpm == pytest.approx(tempo_bpm, abs=0.01)

        with_peer(play)

    def test_our_tempo_reaches_the_peer(self) -> None:
        async def play(session: LinkSession, peer: Any) -> None:
            session.set_tempo(151.0)
            follower = Follower(session)
            assert await follower.until(lambda: abs(peer.tempo - 151.0) < 0.01)

        with_peer(play)

    def test_bar_lines_agree_within_5_ms_through_tempo_changes(self) -> None:
        async def play(session: LinkSession, peer: Any) -> None:
            follower = Follower(session)
            peer.tempo = 160.0
            await follower.turns(0.2)
            follower.transport.start(time.monotonic_ns())
            assert await follower.until(lambda: follower.transport.is_rolling)
            errors = []
            for tempo_bpm in (160.0, 120.0, 90.0, 174.0):
                peer.tempo = tempo_bpm
                await follower.turns(0.3)
                for _ in range(10):
                    await follower.turns(0.02)
                    errors.append(apart_ms(follower, peer))
            assert max(errors) < 5

        with_peer(play)

    def test_start_and_stop_go_both_ways(self) -> None:
        async def play(session: LinkSession, peer: Any) -> None:
            follower = Follower(session)
            peer.tempo = 240.0
            await follower.turns(0.3)
            peer.playing = True
            assert await follower.until(lambda: follower.transport.is_rolling)
            peer.playing = False
            assert await follower.until(lambda: not follower.transport.is_rolling)
            session.start(0.0)
            assert await follower.until(lambda: peer.playing)
            assert await follower.until(lambda: follower.transport.is_rolling)
            session.stop()
            assert await follower.until(lambda: not peer.playing)

        with_peer(play)

    def test_start_does_not_move_the_bar_of_others(self) -> None:
        async def play(session: LinkSession, peer: Any) -> None:
            before = session.state()
            session.start(0.0)
            after = session.state()
            beats = (after.at_ns - before.at_ns) * after.tempo_bpm / 60e9
            assert (after.beat - before.beat) % QUANTUM == pytest.approx(beats, abs=0.01)

        with_peer(play)

    def test_where_start_and_stop_are_not_shared_nobody_hears_of_ours_nor_we_of_theirs(self) -> None:
        async def play(session: LinkSession, peer: Any) -> None:
            session.start(0.0)
            await asyncio.sleep(0.3)
            assert not peer.playing
            peer.playing = True
            await asyncio.sleep(0.3)
            assert not session.state().is_playing

        with_peer(play, shares_start_stop=False)


class Alone:
    """aalink's session without anybody else."""

    num_peers = 0
    tempo = 100.0
    beat = 7.3
    playing = False
    enabled = True

    def request_beat(self, beat: float) -> None:
        self.beat = beat


def test_alone_a_start_need_not_wait_for_the_bar_line() -> None:
    link = Alone()
    session = LinkSession(link, shares_start_stop=True)
    session.start(1.5)
    assert link.beat == 1.5 - LEAD_BEATS
    assert session.state().is_playing


def test_the_beat_and_its_time_belong_together_even_if_a_reading_is_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0, 3_000_000, 5_000_000, 5_020_000])
    beats = iter([1.0, 2.0])

    class Slow(Alone):
        @property
        def beat(self) -> float:  # type: ignore[override]
            return next(beats)

    monkeypatch.setattr("fractal_live.ports.link_sync.time.monotonic_ns", lambda: next(clock))
    state = LinkSession(Slow(), shares_start_stop=False).state()
    assert (state.beat, state.at_ns) == (2.0, 5_010_000)


def test_without_aalink_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aalink", None)
    with pytest.raises(LinkError, match=r"pip install 'fractal-live\[link\]'"):
        open_link(120.0, QUANTUM, True)
