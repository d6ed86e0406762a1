"""A JACK server of the tests' own, without sound hardware, and python-rtmidi ends to plug into it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
import rtmidi

PERIOD_FRAMES = 512  # shorter ones lose MIDI on a server without real-time priority
START_S = 10.0


def missing() -> str:
    """Why no JACK server can be had; empty if one can."""
    if shutil.which("jackd") is None:
        return "jackd is not installed"
    if rtmidi.API_UNIX_JACK not in rtmidi.get_compiled_api():
        return "python-rtmidi was built without JACK"
    return ""


class Server:
    """A dummy server that can be killed and started again. `start` skips the test where it cannot be had."""

    def __init__(self, name: str, period_frames: int = PERIOD_FRAMES) -> None:
        self.name = name
        self.period_frames = period_frames
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # Without priority a busy machine makes JACK lose MIDI, and so does a server that does not wait (-S) for those
        # whose turn came late.
        priority, sound = "-R" if _may_be_realtime() else "-r", ["-d", "dummy", "-r", "48000"]
        command = ["jackd", "-n", self.name, priority, "-S", *sound, "-p", str(self.period_frames)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _await_server(self._process)

    def kill(self) -> None:
        """By its id, without a chance to say goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()


@contextlib.contextmanager
def mortal_server(name: str, period_frames: int = PERIOD_FRAMES) -> Iterator[Server]:
    """A dummy server called `name`, the default one of this process and its children meanwhile.
    Skips the test where there is none."""
    if missing():
        pytest.skip(missing())
    before = {key: os.environ.get(key) for key in ("JACK_DEFAULT_SERVER", "JACK_NO_START_SERVER")}
    os.environ.update(JACK_DEFAULT_SERVER=name, JACK_NO_START_SERVER="1")
    server = Server(name, period_frames)
    try:
        server.start()
        yield server
    finally:
        for key, value in before.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value
        server.stop()


@contextlib.contextmanager
def jack_server(name: str) -> Iterator[str]:
    """As `mortal_server`, for those who only need its name."""
    with mortal_server(name):
        yield name


def _may_be_realtime() -> bool:
    def ask() -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
            granted.append(True)

    granted: list[bool] = []
    thread = threading.Thread(target=ask)  # the request holds for this thread alone
    thread.start()
    thread.join()
    return bool(granted)


def _cannot(why: str) -> NoReturn:
    """A server that is installed but does not start is a reason to skip, unless it was promised: then skipping would
    hide every test of the ports."""
    if os.environ.get("FRACTAL_LIVE_NEEDS_JACK"):
        pytest.fail(f"{why}, but FRACTAL_LIVE_NEEDS_JACK is set")
    pytest.skip(why)


def _await_server(server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            _cannot(f"jackd left with status {server.returncode}")
        waiting = ["jack_wait", "-c"]
        if shutil.which("jack_wait") is None:
            time.sleep(1.0)
            return
        answer = subprocess.run(waiting, capture_output=True, text=True, check=False)
        if "not running" not in answer.stdout:
            return
        time.sleep(0.1)
    _cannot(f"jackd did not answer within {START_S:g} s")


class Listener:
    """A JACK input that keeps (time.monotonic_ns, bytes) of all that comes.

    RtMidi queues and stamps it in JACK's thread, where nothing waits for the interpreter: a test that is slow loses
    nothing. The stamps are the time since the message before; the least delay that was seen says when the first came.
    """

    def __init__(self, port: str) -> None:
        self._kept: list[tuple[int, bytes]] = []  # nanoseconds since the first
        self._first_ns = 0
        self._is_over = threading.Event()
        self._client: Any = rtmidi.MidiIn(rtmidi.API_UNIX_JACK, name="test-listener", queue_size_limit=1 << 14)
        self._client.ignore_types(sysex=True, timing=False, active_sense=True)
        self._client.open_port(self._client.get_ports().index(port))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def heard(self) -> list[tuple[int, bytes]]:
        first_ns = self._first_ns
        return [(first_ns + since_ns, message) for since_ns, message in list(self._kept)]

    def _listen(self) -> None:
        since_ns = 0
        while not self._is_over.wait(0.001):
            while (received := self._client.get_message()) is not None:
                message, delta_s = received
                since_ns += round(delta_s * 1e9) if self._kept else 0
                first_ns = time.monotonic_ns() - since_ns
                self._first_ns = min(first_ns, self._first_ns) if self._kept else first_ns
                self._kept.append((since_ns, bytes(message)))

    @property
    def messages(self) -> list[bytes]:
        return [message for _, message in list(self.heard)]

    def await_that(self, claim: Any, limit_s: float = 5.0) -> bool:
        """Whether `claim(messages)` comes true within the limit."""
        deadline = time.monotonic() + limit_s
        while not claim(self.messages):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        self._client.close_port()
        self._client.delete()


class Leader:
    """A JACK output connected to `port`, that sends clocks and transport messages."""

    def __init__(self, port: str) -> None:
        self._client: Any = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name="test-leader")
        self._client.open_port(self._client.get_ports().index(port))

    def send(self, *message: int) -> int:
        """Sends, and returns when."""
        self._client.send_message(message)
        return time.monotonic_ns()

    def clocks(self, count: int, tempo_bpm: float = 120.0) -> int:
        """Sends clocks at a steady tempo, each at its absolute time; returns when the first went out."""
        period_ns = round(60e9 / tempo_bpm / 24)
        first_ns = time.monotonic_ns()
        for number in range(count):
            time.sleep(max(first_ns + number * period_ns - time.monotonic_ns(), 0) * 1e-9)
            self.send(0xF8)
        time.sleep(max(first_ns + count * period_ns - time.monotonic_ns(), 0) * 1e-9)
        return first_ns

    def close(self) -> None:
        time.sleep(0.05)
        self._client.close_port()
        self._client.delete()
