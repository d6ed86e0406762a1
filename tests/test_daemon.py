"""The daemon's decisions, one message at a time, without its processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fractal_live.daemon import Daemon
from fractal_live.link_leader import LinkLeader
from fractal_live.live.control_table import KEEP
from fractal_live.model_side import SLOW_START, SLOW_START_S
from fractal_live.music.meter import FOUR_FOUR
from fractal_live.music.request import ModelFault, ModelReady
from fractal_live.ports import pipes
from fractal_live.ports.link_sync import LinkSession
from fractal_live.ports.osc_in import OscIn
from fractal_live.settings import Machine, Patch, RunSettings
from tests.ports.osc_bytes import bundle, message

BAR = 1920
PEER = ("127.0.0.1", 9)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(RunSettings(Patch(), Machine(), tmp_path / "none", "midi", 3, tmp_path / "set.mid"))
    yield made
    made.osc_out.close()


def state(is_rolling: bool, tick: int) -> pipes.TransportState:
    return pipes.TransportState(is_rolling, tick, 120.0, True, time.monotonic_ns())


def obey(daemon: Daemon, address: str, *values: float) -> None:
    """A message by itself."""
    daemon.performer.obey(address, values, PEER, time.monotonic_ns())
    daemon.performer.plan_for_moved(time.monotonic_ns())


def test_a_position_that_is_set_while_it_stands_leaves_no_hole_in_the_recording(daemon: Daemon) -> None:
    """A click far ahead in the DAW's timeline was once recorded as so many bars of silence."""

    async def evening() -> None:
        for tick in (0, 40 * BAR):
            daemon._on_stage(state(False, tick))
            obey(daemon, "/fractal/generate", 99.0 + tick)
            daemon._on_stage(state(True, tick))
            daemon._on_stage(pipes.Sounded(tick, b"\x90\x3c\x40"))
            daemon._on_stage(pipes.Sounded(tick + 480, b"\x80\x3c\x00"))
            daemon._on_stage(state(True, tick + 900))
            daemon._on_stage(state(False, tick + 900))
        await daemon.recording.saved()

    asyncio.run(evening())
    assert daemon.recording.recorder.end_tick == 2 * BAR


def test_a_hundred_values_of_a_burst_are_planned_for_once_and_before_what_is_done(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[float] = []
    monkeypatch.setattr("fractal_live.performer.REPLAN_NS", 0)
    monkeypatch.setattr(
        daemon.planner, "controls_changed", lambda snapshot: planned.append(snapshot.sampling.temperature) or []
    )
    monkeypatch.setattr(daemon.performer, "_act", lambda outcome, peer: planned.append(-1))
    osc = OscIn(daemon._obey_osc, KEEP, daemon.reporter.refused, after_burst=daemon._after_burst)
    values = [message("/fractal/param/temperature", 1 + number / 100) for number in range(1, 51)]
    values += [message(f"/fractal/latent/level0/{number}", 1.0) for number in range(16)]
    osc.receive(bundle(*values, message("/fractal/transport/start"), message("/fractal/param/temperature", 0.5)), PEER)
    assert planned == [pytest.approx(1.5), -1, 0.5]
    osc.receive(bundle(*[message("/fractal/param/temperature", 0.5)] * 3), PEER)
    assert len(planned) == 3, "an unchanged value is planned for by nobody"


def test_what_moves_in_every_frame_is_planned_for_some_twenty_times_a_second_and_none_is_forgotten(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[float] = []
    now_ns = time.monotonic_ns()
    monkeypatch.setattr("fractal_live.daemon.time.monotonic_ns", lambda: now_ns)
    monkeypatch.setattr(
        daemon.planner, "controls_changed", lambda snapshot: planned.append(snapshot.sampling.temperature) or []
    )
    osc = OscIn(daemon._obey_osc, KEEP, daemon.reporter.refused, after_burst=daemon._after_burst)
    for frame in range(60):
        osc.receive(message("/fractal/param/temperature", 1 + frame / 100), PEER)
        now_ns += 10**9 // 60
    assert len(planned) == 20 and planned[0] == pytest.approx(1.01), "the first move at once"
    now_ns += 10**9
    daemon._after_burst()
    daemon._after_burst()
    assert planned[20:] == [pytest.approx(1.59)]


def test_a_model_that_dies_while_it_starts_again_does_not_end_the_set(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[float] = []
    monkeypatch.setattr("fractal_live.keeper.RESTART_S", 0.0)
    monkeypatch.setattr(daemon.model, "start", lambda: starts.append(time.monotonic()))

    async def evening() -> None:
        daemon._on_model(ModelReady("x", "cpu", 1, 1))
        daemon.model._gone()
        daemon._on_model(ModelFault("out of memory"))
        daemon.model._gone()
        for _ in range(3):  # turns of the loop
            await asyncio.sleep(0)

    asyncio.run(evening())
    assert len(starts) == 2 and not daemon._over.is_set()
    assert "out of memory" in daemon.status.errors


def test_a_model_that_never_began_ends_the_run_and_says_why(daemon: Daemon) -> None:
    async def evening() -> None:
        daemon._on_model(ModelFault("no such checkpoint"))
        daemon.model._gone()

    asyncio.run(evening())
    assert daemon._over.is_set() and "no such checkpoint" in str(daemon._reason)


def test_a_disk_that_refuses_the_recording_is_reported(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    daemon.recording.recorder.path = tmp_path / "file" / "set.mid"

    async def evening() -> None:
        for bar in range(3):
            daemon.recording.recorder.sounded(bar * BAR, b"\x90\x3c\x40")
            daemon.recording.save()
            await daemon.recording.saved()

    asyncio.run(evening())
    assert any("not saved" in text for text in daemon.status.errors)


def test_a_mistake_in_one_turn_of_the_planning_is_shown_and_the_next_turn_comes(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[int] = []

    def stumble(now_ns: int) -> None:
        turns.append(1)
        if len(turns) == 3:
            daemon._end()
        raise ZeroDivisionError("in the middle of the show")

    monkeypatch.setattr(daemon.model_side, "ask_for_next", stumble)
    asyncio.run(daemon._play())
    assert len(turns) == 3
    assert list(daemon.status.errors) == ["planning failed: ZeroDivisionError: in the middle of the show"]


class Session:
    """A Link session of nobody else's."""

    num_peers = 0
    tempo = 120.0
    beat = 0.0
    playing = False
    enabled = True

    def request_beat(self, beat: float) -> None:
        self.beat = beat


def test_tempo_start_and_stop_go_out_to_the_link_session_and_a_held_plan_tempo_once(tmp_path: Path) -> None:
    """A held tempo that was said again at every bar would fight with whoever turns the tempo knob of the session."""
    settings = RunSettings(
        Patch(plan={"tempo": 90.0}), Machine(), tmp_path / "none", "link", 3, tmp_path / "set.mid", sends_clock=True
    )
    daemon, session = Daemon(settings), Session()
    link = daemon.live_set.link = LinkLeader(LinkSession(session, shares_start_stop=True), FOUR_FOUR)
    daemon.transport_control.follow_plan_tempo()
    assert session.tempo == 120.0  # who joins takes the session's tempo
    obey(daemon, "/fractal/transport/tempo", 101.0)
    assert session.tempo == 101.0
    obey(daemon, "/fractal/plan/tempo", 80.0)
    assert session.tempo == 80.0
    session.tempo = 140.0  # somebody else
    daemon.transport_control.follow_plan_tempo()
    assert session.tempo == 140.0
    obey(daemon, "/fractal/transport/start")
    assert session.playing
    assert not daemon.transport_control.link_state(link).is_playing, "there is nothing to play yet"
    daemon.status.is_ready = True
    assert daemon.transport_control.link_state(link).is_playing
    obey(daemon, "/fractal/transport/stop")
    assert not session.playing
    daemon.osc_out.close()


@pytest.mark.parametrize("is_restart", [False, True])
def test_who_waits_for_the_very_first_model_is_told_once_why(daemon: Daemon, is_restart: bool) -> None:
    daemon.model_side.keeper.was_ready = is_restart
    for second in range(60):
        daemon.model_side.watch(1000.0 + second, 1000.0)
        expected = 0 if is_restart or second <= SLOW_START_S else 1
        assert [text for text in daemon.status.errors if text == SLOW_START] == [SLOW_START] * expected
