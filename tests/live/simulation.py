"""The whole instrument on a fake clock, in one thread: the daemon's own decisions between a simulated stage (with the
real player in it), a simulated model, a simulated leader and an ear at the port that knows the laws.

An event happens when its time has come, and time passes only between events: hours take seconds.
"""

from __future__ import annotations

import contextlib
import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fractal_live.daemon import Daemon
from fractal_live.dashboard import render
from fractal_live.live.player import RETIME_NS, Event, Player
from fractal_live.live.scheduler import BegunBar, Scheduler
from fractal_live.live.transport import Transport
from fractal_live.music.notes import Bar, Note
from fractal_live.music.request import BarReply, BarRequest, ModelFault, ModelPing, ModelReady, ModelSetup
from fractal_live.ports import pipes
from fractal_live.settings import Machine, Patch, RunSettings
from tests.live.evening import answer

MS = 1_000_000
SECOND = 1_000 * MS
HOUR = 3_600 * SECOND
FIRST_NS = 7_777 * SECOND + 123_456_789
STAGE_START_NS = SECOND // 2
MODEL_START_NS, SPARE_START_NS = 4 * SECOND, SECOND // 2
STATE_NS, HEALTH_NS = 400 * MS, 5 * SECOND  # rarer than in truth: it is only read
LEAST_WAIT_NS = MS // 2
CLOCK, START, CONTINUE, STOP, SONG_POSITION = 0xF8, 0xFA, 0xFB, 0xFC, 0xF2
TICKS_PER_CLOCK = 20


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


@dataclass
class Process:
    """What a keeper wants to know of a child's process."""

    child: Any

    def is_alive(self) -> bool:
        return not self.child.is_gone

    def kill(self) -> None:
        self.child.die()

    def join(self, timeout_s: float = 0) -> None:
        """It is gone at once."""


class SimulatedChild:
    """One end of a pipe. Messages travel in order, a few milliseconds long."""

    def __init__(
        self, evening: Evening, on_message: Callable[[object], None], on_gone: Callable[[], None], is_model: bool
    ) -> None:
        self.evening = evening
        self.is_gone = False
        self.is_model = is_model
        self.last_heard_s = evening.clock.monotonic()
        self.process = Process(self)
        self._on_message = on_message
        self._on_gone = on_gone

    def send(self, message: object) -> None:
        self.evening.later(self.evening.pipe_ns(), self._take, message)

    def kill(self) -> None:
        self.is_gone = True

    def die(self) -> None:
        """kill -9."""
        if not self.is_gone:
            self.is_gone = True
            self.gone()
            self.evening.to_daemon(self._on_gone)

    def gone(self) -> None:
        """A hook for what dies with it."""

    def tell(self, message: object) -> None:
        self.evening.to_daemon(self._told, message)

    def _told(self, message: object) -> None:
        if self.evening.child(self.is_model) is self:
            self.last_heard_s = self.evening.clock.monotonic()
            self._on_message(message)

    def _take(self, message: object) -> None:
        if not self.is_gone:
            self.take(message)

    def take(self, message: object) -> None:
        raise NotImplementedError


class SimulatedModel(SimulatedChild):
    """Answers after what `evening.model` says: nanoseconds, or "fault", "never" or "die". One that was begun without
    its setup has it easier then."""

    def __init__(self, evening: Evening, setup: ModelSetup | None, *calls: Any) -> None:
        super().__init__(evening, *calls, True)
        self.is_stuck = False
        self._is_restart = setup is None
        if setup is not None:
            evening.later(MODEL_START_NS, self._ready)

    def _ready(self) -> None:
        if not self.is_gone:
            self.tell(ModelReady("simulated", "cpu", 1, 0 if self._is_restart else 50 * MS))

    def take(self, message: object) -> None:
        if isinstance(message, ModelSetup):
            self.evening.later(SPARE_START_NS, self._ready)
        if isinstance(message, ModelPing) and not self.is_stuck:
            self.tell(message)
        if not isinstance(message, BarRequest) or self.is_stuck:
            return
        how = self.evening.model(message)
        if how == "die":
            self.die()
        elif how == "fault":
            self.evening.later(30 * MS, self._say, ModelFault(f"bar {message.index} failed", message.version))
        elif isinstance(how, int):
            self.evening.later(how, self._answer, message, how)

    def _answer(self, request: BarRequest, took_ns: int) -> None:
        self._say(answer(request, took_ns))

    def _say(self, message: BarReply | ModelFault) -> None:
        if not self.is_gone:
            self.tell(message)


@dataclass
class _Playing:
    """A bar under way, to be compared with what was heard of it when the next begins."""

    begun: BegunBar
    skipped: int


class SimulatedStage(SimulatedChild):
    """The stage's loop around the real player. Every bar that nothing interrupts must be heard as it was made."""

    def __init__(self, evening: Evening, setup: pipes.StageSetup, *calls: Any) -> None:
        super().__init__(evening, *calls, False)
        self.is_up = False
        self.port = Port(evening.clock, evening.ear)
        self.scheduler = Scheduler(setup.meter, setup.channels)
        self.transport = Transport(setup.sync, setup.meter, setup.tempo_bpm, setup.clock_loss, setup.end_bar)
        self.player = Player(
            self.transport,
            self.scheduler,
            self.port,
            round(setup.latency_ms * 1e6),
            setup.sends_clock,
            on_change=self._tell_state,
        )
        self.wake_ns: int | None = None
        self._rolled = None if setup.rolling_tick is None else (setup.rolling_tick, setup.rolling_at_ns)
        self._playing: _Playing | None = None
        self._ons: list[tuple[int, int]] = []  # (tick, pitch) heard since the playing bar's line
        evening.later(STAGE_START_NS, self._begin)

    # Life.

    def _begin(self) -> None:
        if self.is_gone:
            return
        self.is_up = True
        self.tell(pipes.StageReady("out", "in", "simulated", ahead_ns=self.port.ahead_ns))
        self._tell_regularly()
        self._tell_health()

    def gone(self) -> None:
        self.is_up = False
        self.wake_ns = None
        self.port.take_back()
        self.evening.ear.unplugged()

    # What comes in.

    def hear(self, *message: int) -> None:
        if not self.is_up:
            return
        if message[0] >= 0xF0 and message[0] != CLOCK:
            self._interrupted()
        if not self.player.hear(bytes(message), self.evening.clock.now_ns):
            self.tell(pipes.ControlInput(bytes(message), self.evening.clock.now_ns))
        self._check_silence()
        self.play()

    def take(self, message: object) -> None:
        now_ns = self.evening.clock.now_ns
        if isinstance(message, pipes.PlayBar):
            self.scheduler.offer(message.bar, message.version, message.fallback, message.programs)
        elif isinstance(message, pipes.ForgetBars):
            self.scheduler.forget(message.indices)
        elif isinstance(message, pipes.TransportCommand):
            self._obey(message, now_ns)
        elif isinstance(message, pipes.Shutdown):
            self.player.silence()
            assert not self.evening.ear.sounding, "Shutdown leaves nothing sounding"
        self._check_silence()
        self.play()

    def _obey(self, command: pipes.TransportCommand, now_ns: int) -> None:
        if command.kind in ("take_up", "start", "stop", "continue"):
            rolled, self._rolled = self._rolled, None
            if command.kind == "take_up":
                self._interrupted()
                if rolled is not None:
                    self.player.take_up(*rolled, now_ns)
                return
        before = self.transport.position(now_ns)
        was_rolling = self.transport.is_rolling
        is_beat = command.kind == "clock_beat"
        if command.kind != "tempo" and not is_beat:
            self._interrupted()
        assert self.player.command(command.kind, command.value, now_ns)
        if is_beat and was_rolling != self.transport.is_rolling:
            self._interrupted()
        if command.kind == "tempo":
            assert self.transport.position(now_ns) == before, "a tempo change never makes the position jump"
        if command.kind in ("panic", "stop"):
            assert not self.evening.ear.sounding, f"{command.kind} leaves nothing sounding"

    def _interrupted(self) -> None:
        self._playing = None
        self._ons.clear()

    def _check_silence(self) -> None:
        if not self.transport.is_rolling and not self.transport.is_armed:
            assert not self.evening.ear.sounding, "what does not roll does not sound"

    # What goes out.

    def play(self) -> None:
        clock, evening = self.evening.clock, self.evening
        was_rolling = self.transport.is_rolling
        self.player.play(clock.now_ns)
        if was_rolling and not self.transport.is_rolling:  # its end was reached, or the clock is lost
            self._interrupted()
            self._check_silence()
        self._tell_played()
        evening.is_waking = False
        next_ns = self.player.next_ns()
        self.wake_ns = None if next_ns is None else max(next_ns, clock.now_ns + LEAST_WAIT_NS)
        evening.after_play()

    def send_due(self) -> None:
        """The sender's thread."""
        for (due_ns, tick, message), sent_ns in self.port.send_due():
            assert self.transport.is_rolling, "nothing is sent on time while nothing rolls"
            truth_ns = self.player._line.due_ns(tick)
            assert abs(due_ns - truth_ns) <= RETIME_NS, "what leaves is due where the timeline has it"
            self.evening.late_ns = max(self.evening.late_ns, sent_ns - due_ns)
            if message[0] & 0xF0 == 0x90:
                self._ons.append((tick, message[1]))
        self.play()

    def _tell_played(self) -> None:
        for begun in self.player.take_begun():
            self._next_bar(begun)
            self.tell(pipes.BarStarted(begun.bar, begun.version, begun.is_fallback))
        for sounded in self.player.take_sounded():
            self.tell(pipes.Sounded(sounded.tick, sounded.message))

    def _next_bar(self, begun: BegunBar) -> None:
        """The bar before is over: what was heard of it must be what it was made of."""
        before, skipped = self._playing, self.scheduler.skipped_notes
        meter, evening = self.transport.meter, self.evening
        if evening.is_waking:
            self._ons.clear()
        elif before is not None and before.begun.bar.index + 1 == begun.bar.index and before.skipped == skipped:
            bar = before.begun.bar
            line, end = meter.tick_of_bar(bar.index), meter.tick_of_bar(bar.index + 1)
            heard = sorted(on for on in self._ons if line <= on[0] < end)
            made = sorted((line + note.onset_tick, note.pitch) for note in bar.notes)
            made = [on for on in made if on[0] >= self.scheduler._from_tick]  # it may have been entered in its middle
            assert heard == made, f"bar {bar.index} was not heard as it was made"
            evening.counts["whole bars"] += 1
        evening.counts["bars"] += 1
        evening.counts["fallbacks"] += begun.is_fallback
        evening.counts["silent bars"] += not begun.bar.notes
        evening.began(begun)
        self._ons = [on for on in self._ons if on[0] >= meter.tick_of_bar(begun.bar.index)]
        self._playing = None if evening.is_waking else _Playing(begun, skipped)

    # What is said of it.

    def _tell_state(self) -> None:
        self._tell_played()
        now_ns, transport = self.evening.clock.now_ns, self.transport
        is_locked = transport.is_locked and not transport.is_clock_lost(now_ns)
        self.tell(
            pipes.TransportState(
                transport.is_rolling, transport.position(now_ns), transport.tempo_bpm, is_locked, now_ns
            )
        )

    def _tell_regularly(self) -> None:
        if not self.is_gone:
            self._tell_state()
            self.evening.later(STATE_NS, self._tell_regularly)

    def _tell_health(self) -> None:
        if not self.is_gone:
            telemetry = self.player.telemetry
            lateness = telemetry.lateness(self.evening.clock.now_ns)
            self.tell(
                pipes.StageHealth(
                    lateness_p50_ns=lateness.p50_ns,
                    lateness_p99_ns=lateness.p99_ns,
                    lateness_max_ns=lateness.max_ns,
                    underruns=self.scheduler.underruns,
                    sounding=self.scheduler.sounding,
                    sent=telemetry.counts["sent"],
                    dropped_clocks=self.transport.dropped_clocks,
                )
            )
            self.evening.later(HEALTH_NS, self._tell_health)


class Leader:
    """A DAW: clocks without end, and its transport. Its own time is exact; what arrives has jitter. `is_known` says
    that everything since its last Start has arrived, so that its position is ours."""

    def __init__(self, evening: Evening, tempo_bpm: float = 120.0, jitter_ns: float = 0.0) -> None:
        self.evening = evening
        self.is_playing = False
        self.is_known = False
        self.is_mute = False  # its clocks do not arrive, it counts on
        self.doubled = 0.0  # the share of its clocks that arrive twice
        self.jitter_ns = jitter_ns
        self.period_ns = 60e9 / tempo_bpm / 24
        self.next_clock = 0  # of the position
        self.settled_ns = 0  # since when its tempo is steady and its clocks arrive
        self._true_ns = float(evening.clock.now_ns)  # when the next clock is sent
        self._arrived_ns = 0
        self._schedule()

    def start(self) -> None:
        self.next_clock, self.is_playing, self.is_known = 0, True, True
        self._transport(START)

    def stop(self) -> None:
        self.is_playing = False
        self._transport(STOP)

    def resume(self) -> None:
        self.is_playing = True
        self._transport(CONTINUE)

    def locate(self, sixteenth: int) -> None:
        """Song Position; where it rolls this is a mistake of the leader's, to be ignored."""
        if not self.is_playing:
            self.next_clock = 6 * sixteenth
            self.is_known = True
        self._transport(SONG_POSITION, sixteenth & 0x7F, sixteenth >> 7)

    def tempo(self, tempo_bpm: float) -> None:
        self.period_ns = 60e9 / tempo_bpm / 24
        self.settled_ns = self.evening.clock.now_ns

    def mute(self, is_mute: bool) -> None:
        self.is_mute = is_mute
        self.settled_ns = self.evening.clock.now_ns

    @property
    def to_safe_ns(self) -> int:
        """How long to the middle between two clocks, where a transport message is not taken for one too late."""
        now_ns = self.evening.clock.now_ns
        middle_ns = self._true_ns - self.period_ns / 2
        return round(middle_ns - now_ns if middle_ns > now_ns else middle_ns + self.period_ns - now_ns)

    def error_ns(self) -> float | None:
        """How far the next clock's place is from the leader's; None where there is nothing to compare."""
        stage = self.evening.stage
        if not (self.is_playing and self.is_known and stage is not None and stage.transport.is_rolling):
            return None
        if self.next_clock < 24 or self.evening.clock.now_ns - self.settled_ns < 4 * SECOND:
            return None
        return stage.transport.timeline.time_at(TICKS_PER_CLOCK * self.next_clock) - self._true_ns

    def _transport(self, *message: int) -> None:
        self.settled_ns = self.evening.clock.now_ns
        stage = self.evening.stage
        if stage is None or not stage.is_up:
            self.is_known = False
        else:
            stage.hear(*message)

    def _schedule(self) -> None:
        self._true_ns += self.period_ns
        drawn_ns = self.evening.rng.gauss(0, self.jitter_ns) if self.jitter_ns else 0
        jitter_ns = min(max(drawn_ns, -2 * self.jitter_ns), 2 * self.jitter_ns)  # it keeps the order of its clocks
        self._arrived_ns = max(self._arrived_ns + 1, round(self._true_ns + jitter_ns))
        self.evening.at(self._arrived_ns, self._clock)

    def _clock(self) -> None:
        if self.is_playing:
            self.next_clock += 1
        stage = self.evening.stage
        if not self.is_mute and stage is not None:
            if not stage.is_up:
                self.settled_ns = self.evening.clock.now_ns
            stage.hear(CLOCK)
            if self.evening.rng.random() < self.doubled:
                stage.hear(CLOCK)
        self._schedule()


class Evening:
    """The instrument and the world around it. `model` says how long the model takes for a request (or "fault",
    "never", "die")."""

    def __init__(
        self,
        folder: Path,
        sync: str = "internal",
        seed: int = 1,
        machine: Machine | None = None,
        patch: Patch | None = None,
        sends_clock: bool = False,
    ) -> None:
        self.clock = Clock()
        self.rng = random.Random(seed)
        self.ear = Ear()
        self.counts: Counter[str] = Counter()
        self.late_ns = 0
        self.is_waking = False  # it slept: what is missed now is missed
        self.model: Callable[[BarRequest], int | str] = lambda request: 80 * MS
        self.settings = RunSettings(
            patch or Patch(),
            machine or Machine(),
            folder / "none",
            sync,
            3,
            folder / "set.mid",
            sends_clock=sends_clock,
        )
        self._agenda: list[tuple[int, int, Callable[..., None], tuple[object, ...]]] = []
        self._number = 0
        self._newest_ns = 0

    def begin(self) -> None:
        """Inside `simulated`."""
        self.daemon = Daemon(self.settings)
        self.daemon.recording.save = lambda: None  # type: ignore[method-assign]  # no disk, no event loop
        self.daemon.model.start()
        self.daemon.stage.start()
        self._pump()
        self._ping()

    # Its parts.

    def start_child(
        self, name: str, entry: str, setup: object, on_message: Callable[[object], None], on_gone: Callable[[], None]
    ) -> SimulatedChild:
        """In place of `Child.start`."""
        if setup is None or isinstance(setup, ModelSetup):
            return SimulatedModel(self, setup, on_message, on_gone)
        assert isinstance(setup, pipes.StageSetup)
        return SimulatedStage(self, setup, on_message, on_gone)

    def child(self, is_model: bool) -> object:
        return self.daemon.model.child if is_model else self.daemon.stage.child

    @property
    def stage(self) -> SimulatedStage | None:
        """The one that lives."""
        stage = self.daemon.stage.child
        return stage if isinstance(stage, SimulatedStage) and not stage.is_gone else None

    @property
    def player(self) -> Player:
        assert self.stage is not None
        return self.stage.player

    @property
    def position(self) -> int:
        return self.player.transport.position(self.clock.now_ns)

    # Time.

    def at(self, at_ns: int, what: Callable[..., None], *arguments: object) -> None:
        self._number += 1
        heapq.heappush(self._agenda, (at_ns, self._number, what, arguments))

    def later(self, ns: int, what: Callable[..., None], *arguments: object) -> None:
        self.at(self.clock.now_ns + ns, what, *arguments)

    def pipe_ns(self) -> int:
        return MS

    def to_daemon(self, what: Callable[..., None], *arguments: object) -> None:
        """In order; now and then the daemon has something else to do."""
        busy_ns = 60 * MS if self.rng.random() < 0.001 else MS
        self._newest_ns = max(self._newest_ns, self.clock.now_ns + busy_ns)
        self.at(self._newest_ns, self._daemon_hears, what, arguments)

    def _daemon_hears(self, what: Callable[..., None], arguments: tuple[object, ...]) -> None:
        what(*arguments)
        self._turn()

    def _turn(self) -> None:
        wakes = self.daemon.live_set.wakes
        if wakes.is_set():
            wakes.clear()
            self.daemon._turn()

    def _pump(self) -> None:
        self.daemon.live_set.wakes.set()
        self._turn()
        self.later(250 * MS, self._pump)

    def _ping(self) -> None:
        """Rarer than in truth."""
        self.daemon.model_side.ping()
        self.later(SECOND, self._ping)

    def advance(self, ns: int) -> None:
        """Lets time pass."""
        end_ns = self.clock.now_ns + ns
        while True:
            stage = self.stage
            wake_ns = due_ns = None
            if stage is not None:
                wake_ns, due_ns = stage.wake_ns, stage.port.next_ns
            next_ns = self._agenda[0][0]
            is_due, is_wake = False, False
            if due_ns is not None and due_ns <= next_ns:
                next_ns, is_due = due_ns, True
            if wake_ns is not None and wake_ns < next_ns:
                next_ns, is_due, is_wake = wake_ns, False, True
            if next_ns > end_ns:
                self.clock.now_ns = end_ns
                return
            self.clock.now_ns = max(self.clock.now_ns, next_ns)
            if is_due:
                assert stage is not None
                stage.send_due()
            elif is_wake:
                assert stage is not None
                stage.play()
            else:
                _, _, what, arguments = heapq.heappop(self._agenda)
                what(*arguments)

    def seconds(self, count: float) -> None:
        self.advance(round(count * SECOND))

    def sleep(self, seconds: float) -> None:
        """Everything of ours stands still; the clock does not."""
        self.clock.now_ns += round(seconds * SECOND)
        self.is_waking = True

    # Hooks.

    def after_play(self) -> None:
        """The stage has had a turn."""

    def began(self, begun: BegunBar) -> None:
        """A bar has begun."""

    # The performer.

    def osc(self, address: str, *arguments: object) -> None:
        performer, now_ns = self.daemon.performer, self.clock.now_ns
        performer.obey(f"/fractal/{address}", arguments, ("127.0.0.1", 9), now_ns)
        performer.plan_for_moved(now_ns)
        self._turn()

    def shown(self, height: int = 40) -> str:
        """The dashboard as it is now."""
        daemon = self.daemon
        frame = daemon.status.frame(daemon.settings, daemon.planner, daemon.controls, daemon.live_set.osc_in)
        return render(frame, 120, height).plain


@contextlib.contextmanager
def simulated(folder: Path, kind: type[Evening] = Evening, **options: Any) -> Iterator[Evening]:
    """An evening whose daemon and keepers see its clock and its children."""
    evening = kind(folder, **options)

    class Child:
        start = staticmethod(evening.start_child)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fractal_live.daemon.time", evening.clock)
        patched.setattr("fractal_live.keeper.time", evening.clock)
        patched.setattr("fractal_live.reporter.time", evening.clock)
        patched.setattr("fractal_live.keeper.Child", Child)
        evening.begin()
        try:
            yield evening
        finally:
            evening.daemon.osc_out.close()


def footprint(*roots: object) -> int:
    """How many objects are held by these, notes and bytes not counted apart."""
    seen: set[int] = set()
    kept: list[object] = list(roots)
    while kept:
        thing = kept.pop()
        if id(thing) in seen or isinstance(thing, (str, bytes, bytearray, int, float, bool, type(None), type, Note)):
            continue
        seen.add(id(thing))
        if isinstance(thing, dict):
            kept += [*thing.keys(), *thing.values()]
        elif isinstance(thing, (list, tuple, set, frozenset, deque)):
            kept += thing
        elif type(thing).__module__.startswith("fractal_live") and not isinstance(thing, Bar):
            kept += list(getattr(thing, "__dict__", {}).values())
            names = [name for cls in type(thing).__mro__ for name in getattr(cls, "__slots__", ())]
            kept += [getattr(thing, name) for name in names if hasattr(thing, name)]
        elif isinstance(thing, np.ndarray):
            continue
    return len(seen)
