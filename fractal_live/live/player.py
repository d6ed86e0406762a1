"""The stage's music without its threads and pipes: what comes in moves the transport, bars become timed messages.

Every message is handed to an output with its due time, a little ahead of it; what has not left is taken back
when the position jumps, rolling ends or the tempo moves. Every method takes the time it happens at.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from fractal_live.live.scheduler import NOTE_OFF, BegunBar, Scheduler
from fractal_live.live.sending_line import SendingLine
from fractal_live.live.telemetry import Telemetry
from fractal_live.live.transport import Change, Transport
from fractal_live.music.meter import TICKS_PER_CLOCK, TICKS_PER_STEP

CLOCK, START, CONTINUE, STOP, SONG_POSITION = 0xF8, 0xFA, 0xFB, 0xFC, 0xF2
CLOCK_MESSAGE = bytes((CLOCK,))
RETIME_NS = 200_000  # what was handed over keeps its time while the tempo moves it by less
SONG_POSITIONS = 1 << 14

Event = tuple[int, int, bytes]  # due (time.monotonic_ns), tick, message


class Sounded(NamedTuple):
    """A message that has left, and the tick it was for."""

    tick: int
    message: bytes


class Output(Protocol):
    """Where messages go. `ahead_ns`: how long before its time an event is to be handed over."""

    ahead_ns: int

    def play(self, events: Sequence[Event]) -> int:
        """Takes events in order of time, none before what was taken earlier; returns how many it had room for."""
        ...

    def take_back(self) -> int:
        """Forgets what has not left; how many events that were, the newest."""
        ...

    def send(self, messages: Sequence[bytes]) -> None:
        """At once."""
        ...

    def take_sent(self) -> Sequence[tuple[Event, int]]:
        """Events that have left since the last call, oldest first, and when."""
        ...


def _unheard() -> None:
    """Nobody wants to know."""


class Player:
    """For one thread. `latency_ns` moves everything that is sent: positive is later. `sends_clock`: it leads others
    on the same port, with clocks (while it rolls), Start, Stop, Continue and Song Position. `on_change` is called
    after every change of the transport."""

    def __init__(
        self,
        transport: Transport,
        scheduler: Scheduler,
        output: Output,
        latency_ns: int = 0,
        sends_clock: bool = False,
        on_change: Callable[[], None] = _unheard,
    ) -> None:
        self.transport = transport
        self.scheduler = scheduler
        self.output = output
        self.telemetry = Telemetry()
        self._line = SendingLine(transport.timeline, latency_ns)
        transport.tail_ns = max(latency_ns, 0)
        self._sends_clock = sends_clock
        self._on_change = on_change
        self._handed: deque[Event] = deque()  # not known to have left
        self._sounded: list[Sounded] = []
        self._begun: list[BegunBar] = []
        self._played_tick = 0
        self._next_clock_tick = 0
        self._rolling_since_ns = 0
        self._is_leading = False  # others were told that we roll
        self._is_located = True  # others were not told yet where

    # What comes in

    def hear(self, message: bytes, at_ns: int) -> bool:
        """A MIDI message came in; False if it is none of the transport's."""
        transport, status = self.transport, message[0]
        if status == CLOCK:
            self._apply(transport.on_clock(at_ns), at_ns)
        elif status == START:
            self._apply(transport.on_start(at_ns), at_ns)
        elif status == CONTINUE:
            self._apply(transport.on_continue(at_ns), at_ns)
        elif status == STOP:
            self._apply(transport.on_stop(at_ns), at_ns)
        elif status == SONG_POSITION:
            if len(message) == 3:
                self._apply(transport.on_song_position(message[1] | message[2] << 7, at_ns), at_ns)
        else:
            return False
        return True

    def command(self, kind: str, value: float, now_ns: int) -> bool:
        """What the daemon asks for: start, stop, continue, tempo, panic, trigger_bar, clock_beat; False if unknown."""
        transport = self.transport
        if kind == "start":
            self._apply(transport.start(now_ns), now_ns)
        elif kind == "continue":
            self._apply(transport.resume(now_ns), now_ns)
        elif kind == "stop":
            self._apply(transport.stop(now_ns), now_ns)
        elif kind == "tempo":
            transport.set_tempo(value, now_ns)
            self._line.follow(transport.timeline, now_ns)
            self._on_change()
        elif kind == "trigger_bar":
            self._apply(transport.trigger_bar(now_ns), now_ns)
        elif kind == "clock_beat":
            self._apply(transport.clock_beat(now_ns), now_ns)
        elif kind == "panic":
            self._withdraw()
            self._close(self.scheduler.panic())
        else:
            return False
        return True

    def take_up(self, tick: int, at_ns: int, now_ns: int) -> None:
        """A player before this one rolled, and was at `tick` at `at_ns`: go on from where it would be."""
        self._is_leading = self._sends_clock  # others roll on, or believe to
        self._apply(self.transport.take_up(tick, at_ns), now_ns)

    def link(self, tempo_bpm: float, beat: float, at_ns: int, is_playing: bool, now_ns: int) -> None:
        """What the Link session said last; see `Transport.on_link`."""
        self._apply(self.transport.on_link(tempo_bpm, beat, at_ns, is_playing, now_ns), now_ns)

    def silence(self) -> None:
        """Closes what sounds and stops those who follow: the end, or that of a port. If `play` is called again and
        it rolls, they are told where it is and go on."""
        self._withdraw()
        self._close(self.scheduler.silence())
        self._cease_to_lead()

    def lead_anew(self) -> None:
        """Somebody has begun to listen where nobody did: `play` tells where we are."""
        self._withdraw()
        self._cease_to_lead()

    # What goes out

    def play(self, now_ns: int) -> None:
        """Time passes: hands over what is due soon, and notes what has left."""
        self._apply(self.transport.poll(now_ns), now_ns)
        self._confirm()
        if not self.transport.is_rolling:
            return
        if self._sends_clock and not self._is_leading:
            self._lead(Change.STARTED, self.transport.position(now_ns))
        self._retime()
        self._hand_over(now_ns)
        self._begun += self.scheduler.take_begun(self._tick_at(now_ns))

    def next_ns(self) -> int | None:
        """When `play` has something to do next, if nothing comes in."""
        if not self.transport.is_rolling:
            return self.transport.next_ns()
        tick, end = self.scheduler.next_tick(), self.transport.stop_tick
        if self._sends_clock:
            tick = min(tick, self._next_clock_tick)
        times = []
        if end is None or tick < end:
            times.append(self._due_ns(tick) - self.output.ahead_ns // 2)
        line = self.scheduler.next_begun_tick()
        if line is not None:
            times.append(self._due_ns(line))
        other_ns = self.transport.next_ns()
        if other_ns is not None:
            times.append(other_ns)
        return min(times, default=None)

    def take_begun(self) -> list[BegunBar]:
        """The bars whose line has passed since the last call."""
        begun, self._begun = self._begun, []
        return begun

    def take_sounded(self) -> list[Sounded]:
        """The note messages that have left since the last call."""
        sounded, self._sounded = self._sounded, []
        return sounded

    # Below the surface

    def _apply(self, change: Change | None, now_ns: int) -> None:
        """Do what a change of the transport asks for."""
        if change is None:
            return self._line.follow(self.transport.timeline, now_ns)
        self._rolling_since_ns = now_ns
        position = self.transport.position(now_ns)
        if change is not Change.STARTED:
            self._withdraw()
            self._played_tick = max(self._played_tick, position)
            if change is Change.STOPPED:
                self._close(self.scheduler.silence(position))
            else:
                self._begun += self.scheduler.take_begun(self._played_tick)
                self._close(self.scheduler.locate(position))
                self._played_tick = position
        self._line.jump(self.transport.timeline)
        if self._sends_clock:
            self._lead(change, position)
        self._on_change()

    def _lead(self, change: Change, position: int) -> None:
        """Tell those who follow us what the transport does: Start or Continue, after which the first clock is where
        they begin; Song Position before it if the position has jumped, and Stop before that if they roll."""
        if change is Change.LOCATED:
            self._is_located = True
        if self._is_leading and (self._is_located or not self.transport.is_rolling):
            self.output.send([bytes((STOP,))])
            self._is_leading = False
        if not self.transport.is_rolling or self._is_leading:
            return
        if self._is_located:
            self._is_located = False
            sixteenths = -(-position // TICKS_PER_STEP)
            self._next_clock_tick = sixteenths * TICKS_PER_STEP
            if sixteenths > 0:
                sixteenths %= (
                    SONG_POSITIONS - SONG_POSITIONS % self.transport.meter.steps_per_bar
                )  # in phase with the bar
                self.output.send([bytes((SONG_POSITION, sixteenths & 0x7F, sixteenths >> 7))])
        self.output.send([bytes((CONTINUE if self._next_clock_tick > 0 else START,))])
        self._is_leading = True

    def _cease_to_lead(self) -> None:
        if self._is_leading:
            self.output.send([bytes((STOP,))])
            self._is_leading = False
            self._is_located = True

    def _hand_over(self, now_ns: int) -> None:
        until = self._tick_at(now_ns + self.output.ahead_ns)
        if self.transport.stop_tick is not None:
            until = min(until, self.transport.stop_tick - 1)
        messages = self.scheduler.due(until)
        if self._sends_clock:
            ticks = range(self._next_clock_tick, until + 1, TICKS_PER_CLOCK)
            clocks = [(tick, CLOCK_MESSAGE) for tick in ticks]
            self._next_clock_tick += TICKS_PER_CLOCK * len(ticks)
            messages = list(heapq.merge(clocks, messages, key=lambda due: due[0]))  # clocks first where they meet
        if messages:
            not_before_ns = self._handed[-1][0] if self._handed else 0  # it may have been timed a little later
            events = [(max(self._due_ns(tick), not_before_ns), tick, message) for tick, message in messages]
            self._handed.extend(events)
            self._undo(len(events) - self.output.play(events))

    def _retime(self) -> None:
        """The tempo has moved: what waits is timed anew."""
        if self._handed:
            due_ns, tick, _ = self._handed[-1]
            if abs(self._due_ns(tick) - due_ns) > RETIME_NS:
                self._withdraw()

    def _withdraw(self) -> None:
        """Takes back what has not left; all that has is known then."""
        count = self.output.take_back()
        self._confirm()
        self._undo(count)

    def _undo(self, count: int) -> None:
        notes = 0
        for _ in range(count):
            _, tick, message = self._handed.pop()
            if message == CLOCK_MESSAGE:
                self._next_clock_tick = tick
            else:
                notes += 1
        self.scheduler.take_back(notes)

    def _confirm(self) -> None:
        for (due_ns, tick, message), sent_ns in self.output.take_sent():
            self._handed.popleft()
            self.telemetry.sent(max(due_ns, self._rolling_since_ns), sent_ns)
            if message != CLOCK_MESSAGE:
                self.scheduler.left(1)
                self._played_tick = max(self._played_tick, tick)
                self._sounded.append(Sounded(tick, message))

    def _close(self, messages: Sequence[bytes]) -> None:
        """Send what ends the sounding notes, and say so as with every note message."""
        self.output.send(messages)
        offs = [message for message in messages if message[0] & 0xF0 == NOTE_OFF]
        self._sounded += [Sounded(self._played_tick, message) for message in offs]

    def _tick_at(self, time_ns: int) -> int:
        return self._line.tick_at(time_ns)

    def _due_ns(self, tick: int) -> int:
        return self._line.due_ns(tick)
