"""The instrument as a user starts it, and the programs around it: a clock master, an OSC sender."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
READY_S = 90.0


def need(*programs: str) -> None:
    """Skips the test, with the reason, where a program is not installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(claim: Callable[[], object], limit_s: float, what: str) -> None:
    deadline = time.monotonic() + limit_s
    while not claim():
        assert time.monotonic() < deadline, f"waited {limit_s:g} s in vain for {what}"
        time.sleep(0.02)


class Instrument:
    """`fractal-live run` in a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.osc_port = free_udp_port()
        self.log = folder / "run.log"
        self.recording = folder / "set.mid"
        self._stderr = (folder / "stderr.txt").open("wb")
        command = [sys.executable, "-m", "fractal_live.cli", "run", "--no-dashboard", "--osc-port", str(self.osc_port)]
        command += ["--record", str(self.recording), "--log-file", str(self.log), *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
        self.process = subprocess.Popen(command, stderr=self._stderr, stdout=self._stderr, cwd=folder, env=environment)

    def osc(self, address: str, *arguments: str) -> None:
        """Sends with liblo's `oscsend`: type letters, then values."""
        subprocess.run(["oscsend", "127.0.0.1", str(self.osc_port), address, *arguments], check=True, timeout=10)

    def ask(self, number: int) -> None:
        self.process.send_signal(number)

    def leave(self, limit_s: float = 15.0) -> int:
        """Ctrl-C, and the exit status."""
        if self.process.poll() is None:
            self.ask(signal.SIGINT)
        return self.process.wait(limit_s)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)
        self._stderr.close()


@contextlib.contextmanager
def instrument(folder: Path, *options: str) -> Iterator[Instrument]:
    running = Instrument(folder, *options)
    try:
        yield running
    finally:
        running.close()


def jack_midi_ports(kind: str) -> list[str]:
    """All MIDI inputs or outputs of the JACK server, as one connects to them; none without a server.

    `jack_lsp` looks, not a client of this process: where libjack has seen a server go, or be closed to one client, the
    next client that is opened frees all others of its process, and whoever listens with one of them crashes.
    """
    listed = subprocess.run(["jack_lsp", "-p", "-t"], capture_output=True, text=True, check=False, timeout=10)
    ports: list[tuple[str, str]] = []  # a name, and the indented lines about it
    for line in listed.stdout.splitlines():
        if line.startswith("\t") and ports:
            ports[-1] = (ports[-1][0], ports[-1][1] + line)
        elif ":" in line:
            ports.append((line, ""))
    return [name for name, about in ports if "midi" in about and f"{kind}," in about]


@contextlib.contextmanager
def clock_master(port: str, tempo_bpm: float) -> Iterator[None]:
    """`jack_midi_clock` connected to a port; it follows the JACK transport."""
    master = subprocess.Popen(
        ["jack_midi_clock", "-B", "-P", "-b", str(tempo_bpm), port],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        master.send_signal(signal.SIGINT)
        try:
            master.wait(3)
        except subprocess.TimeoutExpired:
            master.kill()
            master.wait()


def jack_transport(*commands: str) -> None:
    """Types commands into `jack_transport`: play, stop, locate 0."""
    typed = "".join(f"{command}\n" for command in (*commands, "quit"))
    subprocess.run(["jack_transport"], input=typed, text=True, capture_output=True, check=True, timeout=10)
