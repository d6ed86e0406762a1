"""A thread that sends each message at its time: sleeps towards an absolute deadline, spins the last bit.

Messages that are due together leave in one go. Between the thread and its owner lies a bounded queue.
"""

from __future__ import annotations

import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from fractal_live.ports.midi_system import PortError
from fractal_live.ports.wake_up import WakeUp

AHEAD_NS = 20_000_000
MAX_WAITING = 2048
SPIN_NS = 700_000
REALTIME_SPIN_NS = 300_000  # what a timer's wake-up takes, even for the first in line
IDLE_S = 3600.0
JOIN_S = 1.0

Event = tuple[int, int, bytes]  # due (time.monotonic_ns), tick, message


class Sender:
    """`transmit` sends one message and raises PortError if it cannot. `on_sent` is called from the thread after
    every batch and must not block. `faults` holds what the port refused, newest last, for the owner to take."""

    ahead_ns = AHEAD_NS
    xruns = 0  # nobody tells

    def __init__(self, transmit: Callable[[bytes], None], on_sent: Callable[[], None], is_realtime: bool) -> None:
        self.faults: deque[str] = deque(maxlen=8)
        self._transmit = transmit
        self._on_sent = on_sent
        self._spin_ns = REALTIME_SPIN_NS if is_realtime else SPIN_NS
        self._waiting: deque[Event] = deque()
        self._sent: deque[tuple[Event, int]] = deque()
        self._lock = threading.Lock()  # of the port and of both queues
        self._wake = WakeUp()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._thread.start()

    def play(self, events: Sequence[Event]) -> int:
        """Takes events in order of time; returns how many it had room for."""
        with self._lock:
            taken = events[: MAX_WAITING - len(self._waiting)]
            is_first = not self._waiting
            self._waiting.extend(taken)
        if is_first and taken:
            self._wake.poke()
        return len(taken)

    def take_back(self) -> int:
        """Forgets what has not left; how many events that were."""
        with self._lock:
            count = len(self._waiting)
            self._waiting.clear()
        return count

    def send(self, messages: Sequence[bytes]) -> None:
        """At once, from the caller's thread."""
        with self._lock:
            for message in messages:
                self._send(message)

    def send_once_connected(self, messages: Sequence[bytes]) -> None:
        """At once: who hears it is not known."""
        self.send(messages)

    def take_unsent(self) -> list[bytes]:
        """What `send` was given and has not left: nothing."""
        return []

    def take_sent(self) -> list[tuple[Event, int]]:
        """Events that have left since the last call, oldest first, and when (time.monotonic_ns)."""
        with self._lock:
            sent = list(self._sent)
            self._sent.clear()
        return sent

    def close(self) -> None:
        """Ends the thread; what waits is not sent. May be called twice."""
        if self._is_closing:
            return
        self._is_closing = True
        self._wake.poke()
        self._thread.join(JOIN_S)
        if not self._thread.is_alive():
            self._wake.close()

    def _send(self, message: bytes) -> None:
        try:
            self._transmit(message)
        except PortError as trouble:
            self.faults.append(str(trouble))

    def _run(self) -> None:
        while not self._is_closing:
            with self._lock:
                due_ns = self._waiting[0][0] if self._waiting else None
            if self._is_time(due_ns) and self._send_due():
                self._on_sent()

    def _send_due(self) -> bool:
        """Everything whose time has come; whether there was anything (it may have been taken back)."""
        with self._lock:
            now_ns = time.monotonic_ns()
            count = len(self._sent)
            while self._waiting and self._waiting[0][0] <= now_ns:
                event = self._waiting.popleft()
                at_ns = time.monotonic_ns()
                self._send(event[2])
                self._sent.append((event, at_ns))
            return len(self._sent) > count

    def _is_time(self, due_ns: int | None) -> bool:
        """Waits; false if something came between, true if it is `due_ns`."""
        if due_ns is None:
            self._is_woken_within(IDLE_S)
            return False
        if self._is_woken_within(max(due_ns - self._spin_ns - time.monotonic_ns(), 0) * 1e-9):
            return False
        while time.monotonic_ns() < due_ns:
            if self._is_woken_within(0):  # lends the interpreter lock to a callback that has a clock to stamp
                return False
        return True

    def _is_woken_within(self, timeout_s: float) -> bool:
        readable, _, _ = select.select([self._wake], [], [], timeout_s)
        if readable:
            self._wake.clear()
        return bool(readable)
