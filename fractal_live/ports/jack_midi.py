"""MIDI ports of JACK's own: messages leave at the very frame of their time, and come in with the frame's time.

Both ends have a client each, under the names that RtMidi gives them: one client with both would close a circle
in JACK's graph as soon as a DAW both leads and is played to. What is due within a cycle is written when that
cycle begins; late messages go out at its first frame.

Where our turn came too late, or a listener's, the server goes on without us, and what we wrote may be heard by nobody.
A note that was not struck is a pity; one that was not closed sounds on. So after such a cycle what was closed lately is
closed again; and as we do not hear of a listener's, every silence (Stop, panic, leaving) is said twice.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from fractal_live.ports.jack_client import NS, JackClient, JackError, JackLostError
from fractal_live.ports.midi_system import PortError, find_port

MAX_WAITING = 2048
MAX_RECEIVED = 4096
LEAST_AHEAD_NS = 20_000_000
SLACK_NS = 5_000_000
FLUSH_S = 0.3
DOUBTED_CYCLES = 4
PEDAL, SILENCES = 64, (120, 123)  # control changes; the latter: all sound off, all notes off
SYSEX, ACTIVE_SENSING = 0xF0, 0xFE

Event = tuple[int, int, bytes]  # due (time.monotonic_ns), tick, message


class JackMidiOut:
    """An output port. `play`, `take_back`, `send`, `take_sent`, `reconnect` and `close` are for the owner's threads;
    `on_sent` (something has left) and `on_lost` (the server has gone) are called from JACK's and must not block.
    `faults` holds what the port refused, newest last."""

    def __init__(
        self, port_name: str, connect: str | None, on_sent: Callable[[], None], on_lost: Callable[[], None]
    ) -> None:
        self.advice = ""
        self.faults: deque[str] = deque(maxlen=8)
        self._on_sent = on_sent
        self._waiting: deque[Event] = deque()
        self._at_once: deque[bytes] = deque()
        self._once_connected: list[bytes] = []
        self._sent: deque[tuple[Event, int]] = deque()
        self._lock = threading.Lock()  # of the queues
        self._frames = 0
        self._cycle = self._gaps = self._silence_again = 0  # the last: in which cycle
        self._was_late = False
        self._closed: dict[tuple[int, int], tuple[int, bytes]] = {}  # in which cycle, by what; by channel and pitch
        self._is_heard = self._has_begun_to_be_heard = False
        self.is_plugged = True  # or an existing port that was asked for is away, as the last `reconnect` found it
        self._is_closed = False
        self._client, self._wanted = _client(port_name, on_lost), connect
        try:
            self._target = _target(self._client, connect, accepts=True)
            self._port = self._client.jack.midi_outports.register("output")
            self.name = self._target or str(self._port.name)
            self._set_ahead(int(self._client.jack.blocksize))
            self._client.start(self._process, self._port.clear_buffer)
        except (OSError, JackError) as trouble:
            raise _closed(self._client, trouble) from trouble
        self.reconnect()

    @property
    def is_lost(self) -> bool:
        return self._client.is_lost

    @property
    def xruns(self) -> int:
        return self._client.xruns

    def play(self, events: Sequence[Event]) -> int:
        """Takes events in order of time; returns how many it had room for."""
        with self._lock:
            taken = events[: max(MAX_WAITING - len(self._waiting), 0)]
            self._waiting.extend(taken)
        return len(taken)

    def take_back(self) -> int:
        """Forgets what has not left; how many events that were."""
        with self._lock:
            count = len(self._waiting)
            self._waiting.clear()
        return count

    def send(self, messages: Sequence[bytes]) -> None:
        """At the beginning of the next cycle, before all else."""
        with self._lock:
            self._at_once.extend(messages)

    def send_once_connected(self, messages: Sequence[bytes]) -> None:
        """As `send`, when somebody hears it."""
        with self._lock:
            self._once_connected += messages

    def take_sent(self) -> list[tuple[Event, int]]:
        """Events that have left since the last call, oldest first, and the time of their frame
        (time.monotonic_ns; up to a cycle ahead of now)."""
        with self._lock:
            sent = list(self._sent)
            self._sent.clear()
        return sent

    def take_unsent(self) -> list[bytes]:
        """What `send` was given and has not left, nor will."""
        with self._lock:
            unsent = [*self._once_connected, *self._at_once]
            self._once_connected.clear()
            self._at_once.clear()
        return unsent

    def reconnect(self) -> bool:
        """Plugs into the port asked for by name wherever it is unplugged; whether it did."""
        if self._target is None or self.is_lost:
            return False
        is_renewed = not self._port.is_connected_to(self._target) and self._client.connect(
            self._port.name, self._target
        )
        self.is_plugged = is_renewed or self._port.is_connected_to(self._target)
        return is_renewed

    def take_heard(self) -> bool:
        """Whether somebody has plugged into our port since the last call, where nobody had; `on_sent` tells."""
        has_begun, self._has_begun_to_be_heard = self._has_begun_to_be_heard, False
        return has_begun

    def close(self) -> None:
        """Waits until what was sent has left, then closes. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        deadline_s = time.monotonic() + FLUSH_S
        while (self._at_once or self._cycle < self._silence_again) and self._may_leave_before(deadline_s):
            time.sleep(0.005)
        self._client.close()

    def _may_leave_before(self, deadline_s: float) -> bool:
        return not self.is_lost and time.monotonic() < deadline_s

    def _set_ahead(self, frames: int) -> None:
        """Two cycles: one that has been filled already, and one in which the owner gets round to it."""
        self._frames = frames
        self.ahead_ns = max(LEAST_AHEAD_NS, 2 * self._client.clock.ns_of(frames) + SLACK_NS)

    def _process(self, start_ns: int, frames: int) -> None:
        """One cycle, in JACK's thread."""
        self._port.clear_buffer()
        if frames != self._frames:
            self._set_ahead(frames)
        self._cycle += 1
        with self._lock:
            self._close_again()
            self._send_at_once()
            has_sent = self._send_due(start_ns, frames)
        self._was_late = time.monotonic_ns() > start_ns + self._client.clock.ns_of(frames)
        if self._is_heard_anew() or has_sent:
            self._on_sent()

    def _close_again(self) -> None:
        """What was closed in the last cycles, if one of them may not have been heard, and is not struck again since."""
        for what in [what for what, (cycle, _) in self._closed.items() if cycle < self._cycle - DOUBTED_CYCLES]:
            del self._closed[what]
        before, self._gaps = self._gaps, self._client.xruns
        if self._was_late or self._gaps != before or self._cycle == self._silence_again:
            for _, message in self._closed.values():
                self._put(0, message)

    def _remember(self, message: bytes) -> None:
        """What closes, until it is opened again: a note or the pedal; and a note is heard on no channel that is told to
        be silent once more."""
        kind, channel = message[0] & 0xF0, message[0] & 0x0F
        if kind in (0x80, 0x90):
            self._closed.pop((channel, message[1]), None)
            if kind == 0x80 or not message[2]:
                self._closed[channel, message[1]] = (self._cycle, message)
            else:
                for control in SILENCES:
                    self._closed.pop((channel, 128 + control), None)
        elif kind == 0xB0 and message[1] in (PEDAL, *SILENCES):
            self._closed.pop((channel, 128 + message[1]), None)
            if not message[2]:
                self._closed[channel, 128 + message[1]] = (self._cycle, message)
            if message[1] in SILENCES:
                self._silence_again = self._cycle + DOUBTED_CYCLES

    def _is_heard_anew(self) -> bool:
        was_heard, self._is_heard = self._is_heard, self._port.number_of_connections > 0
        is_anew = self._is_heard and not was_heard and self._target is None
        self._has_begun_to_be_heard |= is_anew
        return is_anew

    def _send_at_once(self) -> None:
        if self._once_connected and self._port.number_of_connections:
            self._at_once.extendleft(reversed(self._once_connected))
            self._once_connected.clear()
        while self._at_once and self._write(0, self._at_once[0]):
            self._at_once.popleft()

    def _send_due(self, start_ns: int, frames: int) -> bool:
        clock, last = self._client.clock, 0
        count = len(self._sent)
        while self._waiting and not self._at_once:
            frame = round((self._waiting[0][0] - start_ns) * clock.rate / NS)
            if frame >= frames:
                break
            last = max(frame, last)
            if not self._write(last, self._waiting[0][2]):
                break
            self._sent.append((self._waiting.popleft(), start_ns + clock.ns_of(last)))
        return len(self._sent) > count

    def _write(self, frame: int, message: bytes) -> bool:
        """False if the cycle's buffer is full: the message is for the next one."""
        if not self._put(frame, message):
            self.faults.append(f"the MIDI output {self.name} is full: messages go out a cycle late")
            return False
        self._remember(message)
        return True

    def _put(self, frame: int, message: bytes) -> bool:
        try:
            self._port.write_midi_event(frame, message)
        except JackError:
            return False
        return True


class JackMidiIn:
    """An input port. `received` holds (time.monotonic_ns of the message's frame, message), oldest first; the time
    may be up to a cycle ahead. `wake` and `on_lost` are called from JACK's threads and must not block."""

    def __init__(
        self, port_name: str, clock_port: str | None, wake: Callable[[], None], on_lost: Callable[[], None]
    ) -> None:
        self.received: deque[tuple[int, bytes]] = deque(maxlen=MAX_RECEIVED)
        self.is_plugged = True  # or an existing port that was asked for is away, as the last `reconnect` found it
        self._wake = wake
        self._is_closed = False
        self._client = _client(f"{port_name}-in", on_lost)
        try:
            self._source = _target(self._client, clock_port, accepts=False)
            self._port = self._client.jack.midi_inports.register("input")
            self.name = self._source or str(self._port.name)
            self._client.start(self._process)
        except (OSError, JackError) as trouble:
            raise _closed(self._client, trouble) from trouble
        self.reconnect()

    @property
    def is_lost(self) -> bool:
        return self._client.is_lost

    @property
    def xruns(self) -> int:
        return self._client.xruns

    def reconnect(self) -> bool:
        """Plugs into the port asked for by name wherever it is unplugged; whether it did."""
        if self._source is None or self.is_lost:
            return False
        is_renewed = not self._port.is_connected_to(self._source) and self._client.connect(
            self._source, self._port.name
        )
        self.is_plugged = is_renewed or self._port.is_connected_to(self._source)
        return is_renewed

    def close(self) -> None:
        """May be called twice."""
        if not self._is_closed:
            self._is_closed = True
            self._client.close()

    def _process(self, start_ns: int, frames: int) -> None:
        """One cycle, in JACK's thread."""
        has_received = False
        for frame, event in self._port.incoming_midi_events():
            message = bytes(event)
            if message and message[0] >= 0x80 and message[0] not in (SYSEX, ACTIVE_SENSING):
                self.received.append((start_ns + self._client.clock.ns_of(frame), message))
                has_received = True
        if has_received:
            self._wake()


def _client(name: str, on_lost: Callable[[], None]) -> JackClient:
    try:
        return JackClient(name, on_lost)
    except JackLostError as trouble:
        raise PortError(str(trouble)) from trouble


def _target(client: JackClient, wanted: str | None, accepts: bool) -> str | None:
    if wanted is None:
        return None
    ports = client.ports(accepts)
    return ports[find_port(ports, wanted)]


def _closed(client: JackClient, trouble: Exception) -> PortError:
    """Not opened after all: lets go of the client."""
    client.close()
    return trouble if isinstance(trouble, PortError) else PortError(f"JACK: {trouble}")
