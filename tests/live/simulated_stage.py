"""What stands in for the stage's process: its loop around the real player, and what must hold of all that is heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fractal_live.live.player import RETIME_NS, Player
from fractal_live.live.scheduler import BegunBar, Scheduler
from fractal_live.live.transport import Transport
from fractal_live.ports import pipes
from tests.live.simulated_children import SimulatedChild
from tests.live.simulated_port import MS, SECOND, Port

if TYPE_CHECKING:
    from tests.live.simulation import Evening

STAGE_START_NS = SECOND // 2
STATE_NS, HEALTH_NS = 400 * MS, 5 * SECOND  # rarer than in truth: it is only read
LEAST_WAIT_NS = MS // 2
CLOCK = 0xF8


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
        self.tell(pipes.StageReady("out", "in", self.evening.priority, ahead_ns=self.port.ahead_ns))
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
                    ignored_song_positions=self.transport.ignored_song_positions,
                )
            )
            self.evening.later(HEALTH_NS, self._tell_health)
