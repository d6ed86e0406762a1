"""A client of a JACK server, by the package JACK-Client (extra `jack`): its cycles in host time, its end noticed.

Turns JACK's frames into time.monotonic_ns and the server's death into a flag. Knows no MIDI. A server is never
started by asking.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

try:
    import jack
except (ImportError, OSError):  # not installed, or there is no libjack for it
    jack = None

NS = 1_000_000_000
FRAME_WRAP = 1 << 32
SMOOTHING = (
    0.1  # share of a cycle's measured deviation that moves the clock: frames count steadily, reading them jitters
)
RESYNC_NS = 2_000_000  # a deviation as large is an xrun: the frames themselves have jumped
READ_LIMIT_NS = 30_000  # two clocks read farther apart than this were interrupted in between
READ_TRIES = 4
END_S = 0.5
SETTLE_S = 0.05

JackError: type[Exception] = OSError if jack is None else jack.JackError
Process = Callable[[int, int], None]


class JackLostError(OSError):
    """The JACK server does not answer, or not any more."""


def is_installed() -> bool:
    return jack is not None


def answers() -> bool:
    """Whether a JACK server runs; False without the package."""
    if jack is None:
        return False
    try:
        JackClient("fractal-live-probe", lambda: None).close()
    except JackLostError:
        return False
    return True


class CycleClock:
    """When a process cycle begins, in time.monotonic_ns. For the process callback's thread."""

    def __init__(self, client: Any) -> None:
        self.rate = int(client.samplerate)
        self.gaps = 0  # cycles that did not begin where the one before ended
        self._client = client
        self._start_ns = 0
        self._frame: int | None = None
        self._frames = 0

    def start_ns(self, frames: int) -> int:
        """The time that frame 0 of the cycle under way, `frames` long, stands for."""
        frame = self._client.last_frame_time
        measured_ns = self._measured_ns(frame)
        if self._frame is None:
            self._start_ns = measured_ns
        else:
            gone = (frame - self._frame) % FRAME_WRAP
            self.gaps += gone != self._frames
            expected_ns = self._start_ns + self.ns_of(gone)
            deviation_ns = measured_ns - expected_ns
            is_jump = abs(deviation_ns) > RESYNC_NS
            self._start_ns = measured_ns if is_jump else expected_ns + round(SMOOTHING * deviation_ns)
        self._frame, self._frames = frame, frames
        return self._start_ns

    def ns_of(self, frames: int) -> int:
        return round(frames * NS / self.rate)

    def _measured_ns(self, frame: int) -> int:
        for _ in range(READ_TRIES):
            before_ns = time.monotonic_ns()
            frame_now = self._client.frame_time
            after_ns = time.monotonic_ns()
            if after_ns - before_ns < READ_LIMIT_NS:
                break
        gone = (frame_now - frame + FRAME_WRAP // 2) % FRAME_WRAP - FRAME_WRAP // 2
        return (before_ns + after_ns) // 2 - self.ns_of(gone)


class JackClient:
    """One client. `on_lost` is called once from a thread of JACK's when the server goes, and must not block."""

    def __init__(self, name: str, on_lost: Callable[[], None]) -> None:
        """JackLostError where there is no server, or it refuses."""
        if jack is None:
            raise JackLostError("the package JACK-Client is not installed: pip install 'fractal-live[jack]'")
        self.is_lost = False
        self._on_lost = on_lost
        self._process: Process | None = None
        self._is_ending = False
        self._has_ended = threading.Event()
        _be_quiet()
        try:
            self.jack: Any = jack.Client(name, no_start_server=True)
        except jack.JackOpenError as trouble:
            raise JackLostError(f"JACK: {trouble}") from trouble
        self.clock = CycleClock(self.jack)

    @property
    def xruns(self) -> int:
        """How often cycles were left out. (JACK's own callback comes in the thread that the server waits for, and
        there nobody may wait for the interpreter lock.)"""
        return self.clock.gaps

    def start(self, process: Process | None = None, clear: Callable[[], None] = lambda: None) -> None:
        """Begin: `process(start_ns, frames)` is called in every cycle from JACK's thread, `clear` in the last one.
        Without a `process` the client only learns of the server's end."""
        self._process, self._clear = process, clear
        try:
            if process is not None:
                self.jack.set_process_callback(self._cycle)
            self.jack.set_shutdown_callback(self._lose)
            self.jack.activate()
        except jack.JackError as trouble:
            self.close()
            raise JackLostError(f"JACK: {trouble}") from trouble

    def ports(self, accepts: bool) -> list[str]:
        """The names of the MIDI ports of others that accept messages, or that give them."""
        own = f"{self.jack.name}:"
        ports = self.jack.get_ports(is_midi=True, is_input=accepts, is_output=not accepts)
        return [port.name for port in ports if not port.name.startswith(own)]

    def connect(self, source: str, destination: str) -> bool:
        """Whether the two are connected now; False if one of them has just gone."""
        try:
            self.jack.connect(source, destination)
        except jack.JackError:  # already, or no more
            return False
        return True

    def close(self) -> None:
        """May be called twice, from any thread but JACK's. The callback's thread ends by its own hand first: JACK
        would cancel it, and a thread cancelled while it waits for the interpreter lock takes that along."""
        if self._process is not None and not self.is_lost and not self._is_ending:
            self._is_ending = True
            if self._has_ended.wait(END_S):
                time.sleep(SETTLE_S)  # it still has to tell the server
        self.jack.close()

    def _cycle(self, frames: int) -> None:
        if self._is_ending:
            self._clear()
            self._has_ended.set()
            raise jack.CallbackExit
        if self._process is not None:
            self._process(self.clock.start_ns(frames), frames)

    def _lose(self, status: object, reason: str) -> None:
        self.is_lost = True
        self._on_lost()


def _be_quiet() -> None:
    """The library prints several lines for every server that is not there; the exception says it. It is told to hand
    them to a function that does nothing with a text, and takes no interpreter lock: RtMidi may hold that one while
    it waits for the server, and the server for us."""
    name = ctypes.util.find_library("jack")
    if name is None or sys.platform == "win32":
        return
    measure_only = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p)
    library = ctypes.CDLL(name)
    library.jack_set_error_function(measure_only)
    library.jack_set_info_function(measure_only)
