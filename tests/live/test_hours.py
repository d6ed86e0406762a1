"""Hours of set in seconds: the laws of notes and of time through whole evenings on a fake clock.

Every message is judged as it is sent and every bar as it ends (see `simulation`); what is asserted here is what only
shows after hours.
"""

from __future__ import annotations

import asyncio
import io
import math
import random
from pathlib import Path

import mido
import pytest

from fractal_live.live.reenactment import reenacted
from fractal_live.live.scheduler import BegunBar
from fractal_live.live.timeline import beat_ns_at
from fractal_live.music.meter import FOUR_FOUR, PPQN
from fractal_live.music.plan import COLUMN
from fractal_live.music.request import BarRequest
from fractal_live.recorded_set import compared, read_set
from fractal_live.settings import Machine, Patch
from tests.live.evening import Fake
from tests.live.simulated_leader import Leader
from tests.live.simulated_port import MS, SECOND
from tests.live.simulation import HOUR, Evening, footprint, simulated

DENSITY = COLUMN["density"]
SILENT = 0.5  # onsets per bar: below this a plan says silence
NEWS_NS = 400 * MS  # from the performer's hand to the stage, with a daemon that has something else to do
BYTES_PER_NOTE, BYTES_PER_BAR = 12, 300

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Watched(Evening):
    """Knows which bars are meant to be silent, and measures what is held in memory."""

    quiet_ns: dict[int, int]  # when the plan was last known to say silence
    has_played = False

    def begin(self) -> None:
        self.quiet_ns = {}
        super().begin()

    def began(self, begun: BegunBar) -> None:
        bar, planner = begun.bar, self.daemon.planner
        self.note_quiet()
        if not begun.is_fallback:
            known = (
                planner._under_way.bars.get(bar.index),
                planner._under_way.replaced.get(bar.index),
                planner._top.bars.get(bar.index),
            )
            assert begun.version in {planned.version for planned in known if planned is not None}, "an old bar"
        if bar.notes:
            self.has_played = True
        elif begun.is_fallback:
            quiet_ns = self.clock.now_ns - self.quiet_ns.get(bar.index, 0)
            assert not self.has_played or quiet_ns < NEWS_NS, f"bar {bar.index} is silent by accident"
        elif bar.plan:  # a stage that was started again is given the fallback that sounded as a bar, without a plan
            assert bar.plan[DENSITY] <= SILENT, f"bar {bar.index} wants notes and has none"

    def note_quiet(self) -> None:
        planner = self.daemon.planner
        first = max(0, planner.position)
        plan = planner.plan()
        quiet = (first + row for row in range(8) if plan[row, DENSITY] <= SILENT)
        self.quiet_ns |= dict.fromkeys(quiet, self.clock.now_ns)

    def osc(self, address: str, *arguments: object) -> None:
        self.note_quiet()
        super().osc(address, *arguments)
        self.note_quiet()

    def held(self) -> int:
        daemon, stage = self.daemon, self.stage
        assert stage is not None
        return footprint(
            daemon.planner, daemon.controls, daemon.recording.recorder, daemon.status, stage.player, stage.port._waiting
        )


def test_ten_steady_hours_keep_the_tick_and_the_memory(tmp_path: Path) -> None:
    """At 41 bpm a beat is no whole number of milliseconds, and a tick no whole number of nanoseconds."""
    tempo_bpm = 41.0
    with simulated(tmp_path, Watched, patch=Patch(tempo_bpm=tempo_bpm, plan={"density": 4.0})) as evening:
        while evening.stage is None or not evening.stage.transport.is_rolling:
            evening.advance(MS)
        started_ns = evening.stage.transport.timeline.origin_ns
        evening.advance(HOUR)
        after_an_hour = evening.held()
        notes, size = evening.daemon.recording.recorder.notes, len(evening.daemon.recording.recorder.midi_bytes())
        for _ in range(9):
            evening.advance(HOUR)
            elapsed_ns = evening.clock.now_ns - started_ns
            assert evening.position == elapsed_ns * PPQN // beat_ns_at(tempo_bpm), "the position is the time elapsed"
            assert evening.held() <= 1.02 * after_an_hour, "what is held does not grow"
        bars = evening.counts["bars"]
        assert bars == evening.position // FOUR_FOUR.ticks_per_bar + 1 > 6000
        assert evening.counts["whole bars"] == bars - 1 and evening.counts["fallbacks"] == 0
        assert evening.late_ns == 0, "everything leaves at its time"
        recorder = evening.daemon.recording.recorder
        evening.advance(5 * MS)  # what was just sent is on its way to the daemon
        assert recorder.notes == evening.ear.ons
        room = BYTES_PER_NOTE * (recorder.notes - notes) + BYTES_PER_BAR * bars
        assert len(recorder.midi_bytes()) - size < room


class Model:
    """Quick as a rule; sometimes slower than the music, failing, silent or dead, for some seconds."""

    def __init__(self, rng: random.Random) -> None:
        self.mood = "quick"
        self._rng = rng

    def __call__(self, request: BarRequest) -> int | str:
        if self.mood == "slow":
            return self._rng.randint(1_500 * MS, 5_000 * MS)
        if self.mood in ("fault", "never", "die") and self._rng.random() < 0.5:
            return self.mood
        return self._rng.randint(10 * MS, 300 * MS)

    def turn(self) -> None:
        moods = ("quick", "quick", "quick", "slow", "fault", "never", "die")
        self.mood = self._rng.choice(moods)


class Performer:
    """Turns everything that can be turned, at random."""

    def __init__(self, evening: Evening, leader: Leader | None, rng: random.Random) -> None:
        self._evening = evening
        self._leader = leader
        self._rng = rng
        self._model = Model(rng)
        evening.model = self._model

    def act(self) -> None:
        kind = self._rng.randrange(10)
        if kind < 5:
            self._turn_a_control()
        elif kind < 8:
            self._move_the_transport()
        elif kind == 8:
            self._model.turn()
        elif self._rng.random() < 0.3:
            self._kill_the_stage()

    def _turn_a_control(self) -> None:
        rng, osc = self._rng, self._evening.osc
        turns = (
            lambda: osc("plan/density", rng.choice((0.0, 1.0, 3.0, 8.0))),
            lambda: osc("plan/density", *(rng.uniform(0, 9) for _ in range(rng.randint(2, 32)))),
            lambda: osc("plan/density", 5.0),
            lambda: osc("plan/register", *(rng.uniform(40, 90) for _ in range(rng.choice((0, 1, 7))))),
            lambda: osc(f"latent/level0/{rng.randrange(16)}", rng.uniform(-3, 3)),
            lambda: osc("latent/glide", rng.choice((0, 3, 30))),
            lambda: osc("latent/walk", rng.choice((0.0, 0.5))),
            lambda: osc("param/lead_bars", rng.randint(1, 8)),
            lambda: osc("param/transpose", rng.randint(-24, 24)),
            lambda: osc("param/temperature", rng.choice((0.5, 1.0, math.nan, math.inf, "hot", -3.0))),
            lambda: osc("harmony/chroma", *(rng.random() for _ in range(rng.choice((0, 12, 36))))),
            lambda: osc("generate", rng.randint(2, 9999)),
            lambda: osc("reroll"),
            lambda: osc("panic"),
        )
        rng.choice(turns)()

    def _move_the_transport(self) -> None:
        rng, evening = self._rng, self._evening
        if self._leader is not None:
            evening.advance(self._leader.to_safe_ns)
            self._lead(self._leader)
        elif evening.settings.sync == "osc":
            self._bang()
        else:
            moves = ("start", "stop", "continue", "continue", "tempo", "tempo", "plan tempo")
            move = rng.choice(moves)
            if move == "tempo":
                evening.osc("transport/tempo", rng.uniform(60, 240))
            elif move == "plan tempo":
                evening.osc("plan/tempo", *(rng.uniform(60, 200) for _ in range(rng.choice((0, 1, 9)))))
            else:
                evening.osc(f"transport/{move}")

    def _lead(self, leader: Leader) -> None:
        move = self._rng.choice(("start", "stop", "continue", "continue", "locate", "tempo", "hole"))
        if move == "start":
            leader.start()
        elif move == "stop":
            leader.stop()
        elif move == "continue" and not leader.is_playing:
            leader.resume()
        elif move == "locate":
            leader.locate(self._rng.choice((0, 7, 16, 250, 1600)))
        elif move == "tempo":
            leader.tempo(self._rng.uniform(70, 180))
        elif move == "hole":
            leader.mute(True)
            self._evening.seconds(self._rng.uniform(0.1, 3.5))
            leader.mute(False)

    def _bang(self) -> None:
        evening, rng = self._evening, self._rng
        kind = rng.randrange(4)
        if kind == 0:
            evening.osc(f"transport/{rng.choice(('start', 'stop', 'continue'))}")
        elif kind == 1:
            spacing_s = rng.uniform(0.3, 0.9)
            for _ in range(rng.randint(4, 40)):
                evening.osc("clock/beat")
                evening.seconds(spacing_s + rng.gauss(0, 0.002))
        else:
            for _ in range(rng.randint(1, 5)):
                evening.osc("trigger/bar")
                evening.seconds(rng.choice((0.1, 1.5, 2.5)))

    def _kill_the_stage(self) -> None:
        stage = self._evening.stage
        if stage is not None and stage.is_up:
            stage.die()


def wild(evening: Watched, hours: float, seed: int, jitter_ns: float = 0.0) -> list[float]:
    """So many hours of chance; returns how far the position was from the leader's, nanoseconds, where both are known
    and the leader's tempo had been steady for some seconds."""
    rng = random.Random(seed)
    leader = Leader(evening, jitter_ns=jitter_ns) if evening.settings.sync == "midi" else None
    performer = Performer(evening, leader, rng)
    evening.seconds(10)
    evening.osc("plan/density", 5.0)
    if leader is not None:
        evening.advance(leader.to_safe_ns)
        leader.start()
    errors, samples, acts = [], [], 0
    ends_ns = evening.clock.now_ns + round(hours * HOUR)
    while evening.clock.now_ns < ends_ns:
        evening.seconds(rng.expovariate(1 / 12))
        performer.act()
        error_ns = None if leader is None else leader.error_ns()
        if error_ns is not None:
            errors.append(error_ns)
        acts += 1
        if acts % 10 == 0 and evening.stage is not None:
            samples.append(evening.held())
            assert len(evening.shown().splitlines()) <= 40
    third = len(samples) // 3
    if third >= 4:  # a short set is still filling what it keeps
        assert max(samples[-third:]) <= 1.5 * max(samples[:-third]), "what is held does not grow"
    return errors


def at_the_end(evening: Watched) -> None:
    """Stop, and look back: everything was closed, and the recording is a whole one."""
    evening.model = lambda request: 50 * MS
    evening.seconds(10)
    evening.osc("transport/stop")
    evening.seconds(1)
    assert not evening.ear.sounding
    assert evening.ear.ons == evening.ear.offs + evening.ear.cut
    recorded = mido.MidiFile(file=io.BytesIO(evening.daemon.recording.recorder.midi_bytes()))
    kinds = [message.type for track in recorded.tracks for message in track]
    assert kinds.count("note_on") == kinds.count("note_off") == evening.daemon.recording.recorder.notes
    assert asyncio.run(evening.daemon.recording.close())
    played = read_set(evening.settings.record)
    again = compared(played, list(reenacted(played.script, Fake())))
    assert again.first_other is None and again.same == again.bars, "what was recorded can be played again"
    evening.counts["told bars"] = again.bars
    assert evening.counts["whole bars"] > 0.5 * evening.counts["bars"]
    planner, lead = evening.daemon.planner, evening.daemon.controls.snapshot.lead_bars
    is_at_top = planner.position == 0  # the stage keeps two bars for a Start
    assert planner.lead_bars >= (min(lead, 2) if is_at_top else lead)


@pytest.mark.parametrize("seed", [1, 2])
def test_sets_at_our_own_tempo_hold_every_law_whatever_happens(tmp_path: Path, seed: int) -> None:
    with simulated(tmp_path, Watched, seed=seed, sends_clock=seed == 2) as evening:
        wild(evening, 0.5, seed)
        at_the_end(evening)
        assert evening.counts["bars"] > 300
        assert evening.daemon.model.restarts > 1 and evening.daemon.stage.restarts > 1


@pytest.mark.parametrize(("seed", "latency_ms"), [(3, 0.0), (4, -15.0), (5, 30.0)])
def test_sets_behind_a_trembling_leader_hold_every_law_and_the_phase(
    tmp_path: Path, seed: int, latency_ms: float
) -> None:
    machine = Machine(latency_ms=latency_ms, clock_loss="stop" if seed == 5 else "hold")
    with simulated(tmp_path, Watched, seed=seed, sync="midi", machine=machine) as evening:
        errors = sorted(abs(error_ns) for error_ns in wild(evening, 0.15, seed, jitter_ns=MS))
        at_the_end(evening)
        assert evening.counts["bars"] > 60
        assert len(errors) > 3
        assert errors[-1] < 5 * MS, "in phase with the leader, whatever was before"


def test_a_set_led_by_bangs_holds_every_law(tmp_path: Path) -> None:
    with simulated(tmp_path, Watched, seed=6, sync="osc") as evening:
        wild(evening, 0.5, 6)
        at_the_end(evening)
        assert evening.counts["bars"] > 200


def test_after_25_minutes_behind_a_trembling_leader_the_phase_is_as_at_first(tmp_path: Path) -> None:
    with simulated(tmp_path, Watched, seed=7, sync="midi", patch=Patch(plan={"density": 2.0})) as evening:
        leader = Leader(evening, 43.7, jitter_ns=MS)
        evening.seconds(10)
        evening.advance(leader.to_safe_ns)
        leader.start()
        evening.seconds(10)
        errors = []
        while len(errors) < 150:
            evening.seconds(10)
            error_ns = leader.error_ns()
            assert error_ns is not None
            errors.append(error_ns)
        early, late = (sorted(map(abs, part)) for part in (errors[:50], errors[-50:]))
        assert max(early[-1], late[-1]) < 2 * MS
        assert early[-4] < MS and late[-4] < MS
        mean_ns = sum(errors[-50:]) / 50
        assert abs(mean_ns) < 0.3 * MS, "no drift"
        assert evening.counts["whole bars"] == evening.counts["bars"] - 1
        assert evening.counts["fallbacks"] == 0
        assert evening.position // FOUR_FOUR.ticks_per_bar >= 1500 * SECOND // (4 * beat_ns_at(43.7))
