"""A clock that is set, a port that sends on time, and an ear at it that knows the laws of notes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from fractal_live.live.player import Event

MS = 1_000_000
SECOND = 1_000 * MS
FIRST_NS = 7_777 * SECOND + 123_456_789


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now_ns = FIRST_NS

    def monotonic_ns(self) -> int:
        return self.now_ns

    def monotonic(self) -> float:
        return self.now_ns * 1e-9


class Ear:
    """What is connected to the port. Every message is judged by the law of notes as it comes."""

    def __init__(self) -> None:
        self.sounding: set[tuple[int, int]] = set()
        self.ons = 0
        self.offs = 0
        self.cut = 0  # notes that a dying stage took its port away from
        self.heard: deque[tuple[int, bytes]] = deque(maxlen=4096)

    def hear(self, at_ns: int, message: bytes) -> None:
        self.heard.append((at_ns, message))
        if message[0] >= 0xF0:
            return
        kind, voice = message[0] & 0xF0, (message[0] & 0x0F, message[1])
        if kind == 0x90:
            assert voice not in self.sounding, f"{voice} is struck while it sounds"
            assert 1 <= message[2] <= 127
            self.sounding.add(voice)
            self.ons += 1
        elif kind == 0x80:
            assert voice in self.sounding, f"{voice} is closed but does not sound"
            self.sounding.remove(voice)
            self.offs += 1

    def unplugged(self) -> None:
        self.cut += len(self.sounding)
        self.sounding.clear()


class Port:
    """Sends what is handed to it at its due time exactly, or at once where that has passed."""

    ahead_ns = 20 * MS

    def __init__(self, clock: Clock, ear: Ear) -> None:
        self.is_open = True
        self.largest = 0
        self._clock = clock
        self._ear = ear
        self._waiting: deque[Event] = deque()
        self._sent: list[tuple[Event, int]] = []

    def play(self, events: Sequence[Event]) -> int:
        last_ns = self._waiting[-1][0] if self._waiting else 0
        for due_ns, _, _ in events:
            assert due_ns >= last_ns, "events are handed over in order of time"
            last_ns = due_ns
        self._waiting.extend(events)
        self.largest = max(self.largest, len(self._waiting))
        return len(events)

    def take_back(self) -> int:
        count = len(self._waiting)
        self._waiting.clear()
        return count

    def send(self, messages: Sequence[bytes]) -> None:
        for message in messages:
            self._ear.hear(self._clock.now_ns, message)

    def take_sent(self) -> list[tuple[Event, int]]:
        sent, self._sent = self._sent, []
        return sent

    @property
    def next_ns(self) -> int | None:
        return self._waiting[0][0] if self._waiting else None

    def send_due(self) -> list[tuple[Event, int]]:
        now_ns, sent = self._clock.now_ns, []
        while self._waiting and self._waiting[0][0] <= now_ns:
            event = self._waiting.popleft()
            self._ear.hear(now_ns, event[2])
            sent.append((event, now_ns))
        self._sent += sent
        return sent
