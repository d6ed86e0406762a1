"""Accidents of clocks, of slow models and of what is read: what is heard, what is shown, what is counted.

They happen on a fake clock (`live.simulation`: the daemon and the player are the real ones); those of processes and of
the network are in `test_accidents_on_stage`.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

import tests.scenarios.test_accidents_on_stage  # noqa: F401  it has the others
from fractal_live.baselines import door
from fractal_live.daemon import Daemon
from fractal_live.music.request import ModelFault, ModelSetup
from fractal_live.ports import priority
from fractal_live.settings import Machine, Patch, RunSettings
from tests.instrument import ROOT
from tests.live.simulated_leader import Leader
from tests.live.simulated_port import MS, SECOND
from tests.live.simulation import Evening, simulated
from tests.scenarios.accidents import ACCIDENTS, ELSEWHERE, HERE, accident

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_every_accident_has_its_test() -> None:
    assert not HERE.keys() & ELSEWHERE.keys()
    assert HERE.keys() | ELSEWHERE.keys() == ACCIDENTS.keys()
    for file, name in ELSEWHERE.values():
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{name} is not in {file}"


def led(evening: Evening, seconds: float = 10.0, tempo_bpm: float = 120.0, jitter_ns: float = 0.0) -> Leader:
    """A set that follows a leader, in its middle."""
    evening.osc("plan/density", 8.0)
    leader = Leader(evening, tempo_bpm, jitter_ns)
    evening.seconds(10)
    evening.advance(leader.to_safe_ns)
    leader.start()
    evening.seconds(seconds)
    return leader


def ons(evening: Evening, since_ns: int) -> int:
    return sum(at_ns > since_ns and message[0] & 0xF0 == 0x90 for at_ns, message in evening.ear.heard)


def counted(evening: Evening, name: str) -> int:
    """As it is told over OSC."""
    return evening.daemon.status.counts(evening.daemon.controls, None)[name]


def error_ms(leader: Leader) -> float:
    error_ns = leader.error_ns()
    assert error_ns is not None
    return abs(error_ns) / MS


@accident("clock-stops")
@pytest.mark.parametrize("clock_loss", ["hold", "stop"])
def test_a_clock_that_stops_is_held_or_stops_the_music_as_configured(tmp_path: Path, clock_loss: str) -> None:
    with simulated(tmp_path, sync="midi", machine=Machine(clock_loss=clock_loss)) as evening:
        leader = led(evening)
        leader.mute(True)
        lost_ns = evening.clock.now_ns
        evening.advance(2 * SECOND)
        heard = ons(evening, lost_ns + 300 * MS)
        if clock_loss == "hold":
            assert heard >= 5 and "not locked" in evening.shown()
            leader.mute(False)
            evening.advance(5 * SECOND)
            assert error_ms(leader) < 5, "in phase again"
            assert counted(evening, "dropped_clocks") > 50
        else:
            assert heard == 0 and not evening.ear.sounding
            assert "stopped" in evening.shown()
            assert not evening.player.transport.is_rolling
            assert counted(evening, "dropped_clocks") == counted(evening, "underruns") == 0, "nothing was due"


@accident("clock-doubles")
def test_clocks_that_come_twice_move_nothing(tmp_path: Path) -> None:
    with simulated(tmp_path, sync="midi") as evening:
        leader = led(evening, jitter_ns=MS / 2)
        leader.doubled = 0.02
        evening.seconds(30)
        assert error_ms(leader) < 5
        assert "bpm locked" in evening.shown()
        assert abs(evening.player.transport.tempo_bpm - 120) < 2
        assert evening.counts["whole bars"] == evening.counts["bars"] - 1 > 10
        assert counted(evening, "dropped_clocks") == counted(evening, "underruns") == 0


@accident("clock-jumps-2x")
def test_a_tempo_that_jumps_to_its_double_is_followed_within_a_beat(tmp_path: Path) -> None:
    with simulated(tmp_path, sync="midi") as evening:
        leader = led(evening, tempo_bpm=70)
        evening.advance(leader.to_safe_ns)
        before = evening.position
        leader.tempo(140)
        evening.advance(SECOND)
        assert abs(evening.player.transport.tempo_bpm - 140) < 3
        assert before < evening.position < before + 4 * 480, "the position goes on"
        evening.advance(4 * SECOND)
        assert error_ms(leader) < 5
        assert re.search(r"1(39\.[5-9]|40\.[0-4])\d* bpm locked", evening.shown())
        assert evening.counts["whole bars"] == evening.counts["bars"] - 1
        assert counted(evening, "underruns") == evening.counts["fallbacks"] == 0


@accident("clock-jitters-10ms")
def test_a_clock_that_jitters_by_ten_milliseconds_is_smoothed(tmp_path: Path) -> None:
    with simulated(tmp_path, sync="midi", seed=4) as evening:
        leader = led(evening, seconds=20)
        leader.jitter_ns = 5 * MS  # the standard deviation of up to 10 ms to either side
        errors = []
        for _ in range(60):
            evening.advance(SECOND)
            error_ns = leader.error_ns()
            assert error_ns is not None
            errors.append(abs(error_ns) / MS)
        errors.sort()
        assert errors[30] < 5 and errors[-2] < 15, "less than the clock's own jitter"
        assert evening.counts["whole bars"] == evening.counts["bars"] - 1
        assert evening.counts["fallbacks"] == 0 and "underruns 0" in evening.shown()


@accident("start-twice")
def test_a_second_start_begins_anew_with_every_note_closed(tmp_path: Path) -> None:
    with simulated(tmp_path, sync="midi") as evening:
        leader = led(evening, seconds=5)
        evening.advance(leader.to_safe_ns)
        leader.start()
        assert not evening.ear.sounding
        leader.start()
        restarted_ns = evening.clock.now_ns
        evening.advance(4 * SECOND)
        assert ons(evening, restarted_ns) >= 12
        assert error_ms(leader) < 2
        assert "playing  bar 2." in evening.shown() or "playing  bar 3." in evening.shown()
        assert evening.counts["bars"] >= 5 and evening.counts["fallbacks"] <= 1
        assert counted(evening, "underruns") == evening.counts["fallbacks"] and counted(evening, "dropped_clocks") == 0


@accident("spp-while-rolling")
def test_song_position_while_it_rolls_is_ignored_and_counted(tmp_path: Path) -> None:
    with simulated(tmp_path, sync="midi") as evening:
        leader = led(evening)
        evening.advance(leader.to_safe_ns)
        before = evening.position
        leader.locate(400)
        assert evening.position == before
        evening.seconds(5)
        assert counted(evening, "ignored_song_positions") == 1
        assert error_ms(leader) < 2
        assert evening.counts["fallbacks"] == 0 and "underruns 0" in evening.shown()


@accident("model-slow")
def test_a_model_slower_than_real_time_is_spared_and_never_silent(tmp_path: Path) -> None:
    with simulated(tmp_path) as evening:
        evening.osc("plan/density", 8.0)
        evening.seconds(12)
        iterations: list[int] = []

        def slow(request: object) -> int:
            iterations.append(request.sampling.iterations)  # type: ignore[attr-defined]
            return 3 * SECOND

        evening.model = slow
        evening.seconds(60)
        counts = evening.counts
        assert counts["silent bars"] == 0, "the fallback plays"
        assert 5 < counts["fallbacks"] < 0.8 * counts["bars"], "and the model's bars where they are in time"
        assert iterations[0] == 4 and iterations[-1] == 1, "less is asked of it"
        assert evening.daemon.planner.is_spared
        underruns = evening.daemon.status.underruns
        assert underruns > 5 and f"underruns {underruns}" in evening.shown()
        evening.model = lambda request: 50 * MS
        evening.seconds(60)
        assert not evening.daemon.planner.is_spared and evening.daemon.planner.lead_bars == 2


@accident("gpu-out-of-memory")
def test_fallbacks_play_while_a_model_without_room_on_the_gpu_loads_itself_for_the_cpu(tmp_path: Path) -> None:
    with simulated(tmp_path) as evening:
        evening.osc("plan/density", 8.0)
        evening.seconds(12)
        lasts = iter(["full"])
        evening.model = lambda request: next(lasts, 80 * MS)
        began_ns = evening.clock.now_ns
        evening.seconds(15)
        assert evening.daemon.model.restarts == 0, "that it says nothing meanwhile is no hanging"
        assert "the GPU is out of memory, going on on the CPU" in evening.shown()
        evening.seconds(15)
        assert "cpu of last resort" in evening.shown()
        underruns = evening.daemon.status.underruns
        assert 5 <= underruns == evening.counts["fallbacks"] and f"underruns {underruns}" in evening.shown()
        evening.seconds(20)
        assert evening.daemon.status.underruns == underruns, "its own bars play again"
        assert evening.counts["silent bars"] == 0 and ons(evening, began_ns) > 100
        assert evening.daemon.model.restarts == 0


def test_refused_priority_is_said_once(tmp_path: Path) -> None:
    with simulated(tmp_path) as evening:
        evening.priority = "nice -11"
        evening.seconds(5)
        assert evening.stage is not None
        evening.stage.die()
        evening.seconds(5)
        told = [error for error in evening.daemon.status.errors if "real-time priority was refused" in error]
        assert told == [priority.REFUSED.format("nice -11")] and "nice -11 instead" in evening.shown()


@accident("asleep-a-minute")
@pytest.mark.parametrize("sync", ["internal", "midi"])
def test_a_machine_that_slept_for_a_minute_goes_on_at_the_present(tmp_path: Path, sync: str) -> None:
    """What was missed is not made up for in a burst."""
    with simulated(tmp_path, sync=sync) as evening:
        leader = led(evening) if sync == "midi" else None
        evening.seconds(15)
        asleep = evening.position
        asleep_ns = evening.clock.now_ns
        evening.sleep(60)
        evening.advance(100 * MS)
        assert ons(evening, asleep_ns) <= 40, "no burst of notes"
        evening.seconds(12)
        assert ons(evening, evening.clock.now_ns - 4 * SECOND) > 8, "and the music goes on"
        assert len(evening.ear.sounding) <= 20
        if leader is None:
            assert abs(evening.position - asleep - 72.1 * 960) < 960, "at the present"
            assert evening.player.scheduler.skipped_notes > 100
        assert evening.daemon.status.underruns > 10
        assert "playing" in evening.shown()
        evening.osc("transport/stop")
        evening.seconds(1)
        assert not evening.ear.sounding


@accident("latent-of-10000")
def test_a_latent_of_ten_thousand_floats_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with simulated(tmp_path) as evening:
        evening.seconds(10)
        before = evening.daemon.controls.snapshot
        evening.osc("latent/level0", *[0.5] * 10_000)
        evening.seconds(5)
        assert evening.daemon.controls.snapshot == before
        assert counted(evening, "osc_refused") == 1
        assert "10000" in evening.shown() and "latent" in evening.shown()
        assert evening.counts["fallbacks"] == 0


@accident("nan-inf-text")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e30, "loud", None])
def test_what_is_no_number_in_range_is_refused_or_clamped_and_said(tmp_path: Path, value: object) -> None:
    with simulated(tmp_path) as evening:
        evening.seconds(10)
        for address in ("param/temperature", "plan/density", "latent/level0", "param/velocity", "transport/tempo"):
            evening.osc(address, value)
        evening.seconds(10)
        controls = evening.daemon.controls
        assert 0.1 <= controls.snapshot.sampling.temperature <= 2 and 0.25 <= controls.snapshot.dress.velocity <= 2
        assert all(-4 <= dim <= 4 for dim in controls.snapshot.latent)
        assert 20 <= evening.player.transport.tempo_bpm <= 400
        assert evening.daemon.status.errors and any(text[:40] in evening.shown() for text in controls_errors(evening))
        assert evening.counts["bars"] > 1 and evening.counts["fallbacks"] == 0
        refused = {-1e30: 0, None: 4}  # clamped; nothing releases a plan
        assert counted(evening, "osc_refused") == refused.get(value, 5)  # type: ignore[call-overload]


def controls_errors(evening: Evening) -> list[str]:
    return [text for text in evening.daemon.status.errors if text.startswith("/fractal/")]


# Before the show.


@accident("checkpoint-broken")
@pytest.mark.parametrize("how", ["another shape", "truncated", "a pickle"])
def test_a_broken_checkpoint_ends_the_run_before_it_began_and_says_which(
    tmp_path: Path, live_checkpoint: Path, how: str
) -> None:
    """Nothing is heard; the reason is the daemon's last word, with the file's name."""
    path = tmp_path / "broken.safetensors"
    data = live_checkpoint.read_bytes()
    ran = tmp_path / "ran"
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "a pickle":
        path.write_bytes(pickle.dumps(Evil(ran)))
    else:
        length = struct.unpack("<Q", data[:8])[0]
        head = data[8 : 8 + length].replace(b'"shape":[', b'"shape":[1,', 1)
        path.write_bytes(struct.pack("<Q", len(head)) + head + data[8 + length :])
    here, there = multiprocessing.Pipe()
    model = threading.Thread(target=in_thread, args=(there,))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "nice", lambda increment: 0)
        patched.setattr(door.signal, "signal", lambda number, handler: None)
        model.start()
        here.send(ModelSetup(str(path), "cpu", 1))
        fault = here.recv()
        model.join(20)
    here.close()
    assert isinstance(fault, ModelFault) and path.name in fault.text
    assert not ran.exists(), "nothing in a pickle is ever run"
    daemon = Daemon(RunSettings(Patch(), Machine(), path, "midi", 3, tmp_path / "set.mid"))
    daemon._on_model(fault)
    daemon.model._gone()
    daemon.osc_out.close()
    assert path.name in str(daemon._reason) and daemon._over.is_set()


@dataclass
class Evil:
    path: Path

    def __reduce__(self) -> object:
        return (Path.touch, (self.path,))


def in_thread(connection: object) -> None:
    door.main(connection)  # type: ignore[arg-type]


@accident("patch-unknown-key")
def test_a_patch_with_an_unknown_key_is_refused_with_the_nearest_right_name(tmp_path: Path) -> None:
    patch = tmp_path / "own.toml"
    patch.write_text("tempo_bmp = 90\n", encoding="utf-8")
    began = subprocess.run(
        [sys.executable, "-m", "fractal_live.cli", "run", "--patch", str(patch), "--midi-api", "none"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    assert began.returncode == 2
    assert "own.toml" in began.stderr and "tempo_bpm" in began.stderr
    assert "Traceback" not in began.stderr
    assert not (tmp_path / "recordings").exists(), "nothing was played"
