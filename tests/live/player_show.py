"""The stage's player at a simulated port and clock, turn by turn, and a sequencer that follows it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence

from fractal_live.live.player import CLOCK, CONTINUE, SONG_POSITION, START, STOP, Event, Player
from fractal_live.live.scheduler import Scheduler
from fractal_live.live.transport import Transport
from fractal_live.music.meter import FOUR_FOUR, TICKS_PER_CLOCK, TICKS_PER_STEP, Meter
from fractal_live.music.notes import Bar, Note

MS = 1_000_000
S = 1000 * MS
TURN_NS = 4 * MS  # the longest that the stage's loop takes for a turn
REALTIME = (CLOCK, START, CONTINUE, STOP)


class Port:
    """What the sender thread and the port are for the player. `log` has (when, due, tick, message) of all that
    left; what was sent at once has neither due nor tick. `room`: how many events may wait."""

    ahead_ns = 20 * MS

    def __init__(self, room: int = 2048) -> None:
        self.log: list[tuple[int, int | None, int | None, bytes]] = []
        self.taken_back = 0
        self.now_ns = 0
        self._room = room
        self._waiting: deque[Event] = deque()
        self._sent: list[tuple[Event, int]] = []

    def play(self, events: Sequence[Event]) -> int:
        taken = events[: self._room - len(self._waiting)]
        for event in taken:
            assert not self._waiting or event[0] >= self._waiting[-1][0], "handed over out of order"
            self._waiting.append(event)
        return len(taken)

    def take_back(self) -> int:
        count = len(self._waiting)
        self.taken_back += count
        self._waiting.clear()
        return count

    def send(self, messages: Sequence[bytes]) -> None:
        self.log += [(self.now_ns, None, None, message) for message in messages]

    def take_sent(self) -> list[tuple[Event, int]]:
        sent, self._sent = self._sent, []
        return sent

    def advance(self, now_ns: int) -> None:
        """Time passes: what is due leaves, at its time or, handed over late, at once."""
        while self._waiting and self._waiting[0][0] <= now_ns:
            event = self._waiting.popleft()
            at_ns = max(event[0], self.now_ns)
            self.log.append((at_ns, *event))
            self._sent.append((event, at_ns))
        self.now_ns = now_ns


class Follower:
    """A sequencer behind our clock, as MIDI 1.0 describes it; strict about what may come when. `tick` is where the
    next clock will take it."""

    def __init__(self) -> None:
        self.tick = 0
        self.is_rolling = False

    def hear(self, message: bytes) -> None:
        status = message[0]
        if status == CLOCK:
            assert self.is_rolling, "a clock while stopped"
            self.tick += TICKS_PER_CLOCK
        elif status in (START, CONTINUE):
            assert not self.is_rolling, "Start or Continue while rolling"
            self.is_rolling = True
            self.tick = 0 if status == START else self.tick
        elif status == STOP:
            assert self.is_rolling, "a second Stop"
            self.is_rolling = False
        elif status == SONG_POSITION:
            assert not self.is_rolling, "Song Position counts only when stopped"
            self.tick = (message[1] | message[2] << 7) * TICKS_PER_STEP


def busy_bar(index: int, rng: random.Random, meter: Meter = FOUR_FOUR) -> Bar:
    """Many notes, chords and restruck pitches among them; half of them on clocks."""
    notes = {
        Note(
            rng.randrange(meter.ticks_per_bar) // 20 * 20 if rng.random() < 0.5 else rng.randrange(meter.ticks_per_bar),
            rng.randrange(58, 64),
            rng.randrange(1, 900),
            rng.randrange(1, 128),
        )
        for _ in range(20)
    }
    return Bar(index, tuple(sorted(notes)), meter)


class Show:
    """A player at its port, turn by turn of the stage's loop."""

    def __init__(
        self,
        seed: int = 0,
        sync: str = "internal",
        bars: int = 40,
        latency_ns: int = 0,
        end_bar: int | None = None,
        sends_clock: bool = True,
        room: int = 2048,
        lead_in_ns: int = 0,
        meter: Meter = FOUR_FOUR,
    ) -> None:
        self.rng = random.Random(seed)
        self.port = Port(room)
        self.transport = Transport(sync, meter, 120.0, end_bar=end_bar, lead_in_ns=lead_in_ns)
        self.player = Player(self.transport, Scheduler(meter), self.port, latency_ns, sends_clock)
        self.now_ns = self.port.now_ns = S
        self._bars = [busy_bar(index, self.rng, meter) for index in range(bars)]
        self.offer()

    def offer(self) -> None:
        """All bars again, as a daemon does that plays the piece from anywhere."""
        for bar in self._bars:
            self.player.scheduler.offer(bar, 1, Bar(bar.index + 1, meter=bar.meter))

    def turns(self, duration_ns: int, between: Callable[[], None] = lambda: None) -> None:
        """The loop for that long; `between` is called in every turn."""
        until_ns = self.now_ns + duration_ns
        while self.now_ns < until_ns:
            self.now_ns = min(self.now_ns + self.rng.randrange(1, TURN_NS), until_ns)
            self.port.advance(self.now_ns)
            between()
            self.player.play(self.now_ns)

    def command(self, kind: str, value: float = 0.0) -> None:
        assert self.player.command(kind, value, self.now_ns)

    @property
    def messages(self) -> list[bytes]:
        return [message for _, _, _, message in self.port.log]

    @property
    def realtime(self) -> list[bytes]:
        return [message for message in self.messages if message[0] >= SONG_POSITION]

    @property
    def timed(self) -> list[tuple[int, bytes]]:
        """(tick, message) of everything that left at a time of its own."""
        return [(tick, message) for _, _, tick, message in self.port.log if tick is not None]


def followed(show: Show) -> Follower:
    """A follower that has heard it all; every clock found it exactly at its tick."""
    follower = Follower()
    for _, _, tick, message in show.port.log:
        if message[0] == CLOCK:
            assert follower.tick == tick
        follower.hear(message)
    return follower


def clocks_due(show: Show, latency_ns: int = 0) -> int:
    """How many clocks lie between tick 0 and now, both included."""
    return show.transport.timeline.tick_at(show.now_ns - latency_ns) // TICKS_PER_CLOCK + 1


def assert_every_on_has_one_off(messages: list[bytes]) -> None:
    sounding: set[int] = set()
    for message in messages:
        if message[0] & 0xF0 == 0x90:
            assert message[1] not in sounding, "struck again before it was closed"
            sounding.add(message[1])
        elif message[0] & 0xF0 == 0x80:
            assert message[1] in sounding, "a note-off for a note that does not sound"
            sounding.remove(message[1])
    assert not sounding
