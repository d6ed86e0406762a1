"""The daemon's decisions, one message at a time, without its processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fractal_live.daemon import Daemon
from fractal_live.music.request import ModelFault, ModelReady
from fractal_live.ports import pipes
from fractal_live.settings import Machine, Patch, RunSettings

BAR = 1920


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(RunSettings(Patch(), Machine(), tmp_path / "none", "midi", 3, tmp_path / "set.mid"))
    yield made
    made.osc_out.close()


def state(is_rolling: bool, tick: int) -> pipes.TransportState:
    return pipes.TransportState(is_rolling, tick, 120.0, True, time.monotonic_ns())


def test_a_position_that_is_set_while_it_stands_leaves_no_hole_in_the_recording(daemon: Daemon) -> None:
    """A click far ahead in the DAW's timeline was once recorded as so many bars of silence."""

    async def evening() -> None:
        for tick in (0, 40 * BAR):
            daemon._on_stage(state(False, tick))
            daemon._on_osc("/fractal/generate", [99.0 + tick], ("127.0.0.1", 9))
            daemon._on_stage(state(True, tick))
            daemon._on_stage(pipes.Sounded(tick, b"\x90\x3c\x40"))
            daemon._on_stage(pipes.Sounded(tick + 480, b"\x80\x3c\x00"))
            daemon._on_stage(state(True, tick + 900))
            daemon._on_stage(state(False, tick + 900))
        if daemon._saving is not None:
            await daemon._saving

    asyncio.run(evening())
    assert daemon.recorder.end_tick == 2 * BAR


def test_a_model_that_dies_while_it_starts_again_does_not_end_the_set(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[float] = []
    monkeypatch.setattr("fractal_live.daemon.RESTART_S", 0.01)
    monkeypatch.setattr(daemon, "_start_model", lambda: starts.append(time.monotonic()))

    async def evening() -> None:
        daemon._on_model(ModelReady("x", "cpu", 1, 1))
        daemon._model_gone()
        daemon._on_model(ModelFault("out of memory"))
        daemon._model_gone()
        await asyncio.sleep(0.1)

    asyncio.run(evening())
    assert len(starts) == 2 and not daemon._over.is_set()
    assert "out of memory" in daemon.status.errors


def test_a_model_that_never_began_ends_the_run_and_says_why(daemon: Daemon) -> None:
    async def evening() -> None:
        daemon._on_model(ModelFault("no such checkpoint"))
        daemon._model_gone()

    asyncio.run(evening())
    assert daemon._over.is_set() and "no such checkpoint" in str(daemon._reason)


def test_a_disk_that_refuses_the_recording_is_reported(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    daemon.recorder.path = tmp_path / "file" / "set.mid"

    async def evening() -> None:
        for bar in range(3):
            daemon.recorder.sounded(bar * BAR, b"\x90\x3c\x40")
            daemon._save_recording()
            if daemon._saving is not None:
                await daemon._saving

    asyncio.run(evening())
    assert any("not saved" in text for text in daemon.status.errors)


def test_a_mistake_in_one_turn_of_the_planning_is_shown_and_the_next_turn_comes(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[int] = []

    def stumble() -> None:
        turns.append(1)
        if len(turns) == 3:
            daemon._end()
        raise ZeroDivisionError("in the middle of the show")

    monkeypatch.setattr(daemon, "_ask_for_next", stumble)
    asyncio.run(daemon._play())
    assert len(turns) == 3
    assert list(daemon.status.errors) == ["planning failed: ZeroDivisionError: in the middle of the show"]
