"""The performer's hands on MIDI, with real JACK ports: a knob moves the density, a key is a panic, and `learn` hears
which knob is meant."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fractal_live.cli import app
from tests.instrument import ROOT, instrument, jack_midi_ports, wait_for
from tests.jack import Leader, Listener, jack_server

pytestmark = [pytest.mark.ports, pytest.mark.slow, pytest.mark.timeout(180)]

BAR_S = 60 / 300 * 4
PATCH = """
sync = "internal"
tempo_bpm = 300
[plan]
density = 4
[cc]
"1:20" = "plan_density"
[notes]
"10:36" = "panic"
"""


def the_port(kind: str, name: str, limit_s: float = 60) -> str:
    wait_for(lambda: any(name in port for port in jack_midi_ports(kind)), limit_s, f"the {kind} port {name}")
    return next(port for port in jack_midi_ports(kind) if name in port)


def test_a_knob_moves_the_density_and_a_key_is_a_panic(tmp_path: Path) -> None:
    patch = tmp_path / "mine.toml"
    patch.write_text(PATCH, encoding="utf-8")
    with (
        jack_server(f"fractal-hands-{os.getpid()}"),
        instrument(tmp_path, "--patch", str(patch), "--seed", "5") as running,
    ):
        hands = Leader(the_port("input", "fractal-live"))
        ear = Listener(the_port("output", "fractal-live"))

        def onsets(since_s: float) -> int:
            return sum(1 for at_ns, m in list(ear.heard) if m[0] & 0xF0 == 0x90 and at_ns >= since_s * 1e9)

        def in_two_bars() -> int:
            begun_s = time.monotonic()
            time.sleep(2 * BAR_S)  # density is only heard by listening
            return onsets(begun_s)

        wait_for(lambda: onsets(0), 90, "music")
        assert in_two_bars() <= 3 * 4
        hands.send(0xB0, 20, 76)  # 28 of 47
        wait_for(lambda: in_two_bars() >= 2 * 20, 20, "the density that the knob was turned to")

        assert not any(message[:2] == b"\xb0\x7b" for message in ear.messages)
        hands.send(0x99, 36, 100)
        assert ear.await_that(lambda heard: any(message[:2] == b"\xb0\x7b" for message in heard))
        hands.send(0x89, 36, 0)
        hands.close()
        assert running.leave() == 0
        ear.close()


def test_learn_hears_a_knob_at_the_port_and_writes_it_into_a_copy_of_the_patch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def play(is_heard: threading.Event, *messages: tuple[int, ...]) -> None:
        """As a hand does: until somebody has heard it."""
        hands = Leader(the_port("input", "fractal-learn"))
        while not is_heard.is_set():
            for message in ((0xF8,), *messages):
                hands.send(*message)
            is_heard.wait(0.5)
        hands.close()

    def answered(options: tuple[str, ...], *messages: tuple[int, ...]) -> str:
        is_heard = threading.Event()
        player = threading.Thread(target=play, args=(is_heard, *messages))
        player.start()
        result = CliRunner().invoke(app, ["learn", *options, "--patch", "pulse", "--port", "fractal-learn"])
        is_heard.set()
        player.join()
        assert result.exit_code == 0, result.output
        return result.output

    with jack_server(f"fractal-learn-{os.getpid()}"):
        said = answered(("temperature",), (0x90, 60, 99), (0xB1, 7, 64), (0xB1, 39, 3))
        assert "pulse ships with the program and stays as it is: pulse.toml is your copy" in said
        assert 'controller 7 and 39 on channel 2, 14 bits: "2:7" = "temperature" is in [cc14] of pulse.toml' in said
        wait_for(lambda: not any("fractal-learn" in port for port in jack_midi_ports("input")), 5, "the port to go")
        said = answered(("panic", "--midi-api", "jack"), (0x99, 36, 100))
        assert 'heard note 36 on channel 10: "10:36" = "panic" is in [notes] of pulse.toml' in said
        assert "your copy" not in said and "play it with: fractal-live run --patch pulse.toml" in said
        silent = CliRunner().invoke(app, ["learn", "panic", "--seconds", "0.2"])
        assert (silent.exit_code, "nothing came within 0.2 seconds" in silent.output) == (1, True)
    written = (tmp_path / "pulse.toml").read_text(encoding="utf-8")
    shipped = (ROOT / "patches" / "pulse.toml").read_text(encoding="utf-8")
    assert written.startswith(shipped)
    assert set(written.splitlines()) - set(shipped.splitlines()) == {
        "[cc14]",
        '"2:7" = "temperature"',
        "[notes]",
        '"10:36" = "panic"',
    }
