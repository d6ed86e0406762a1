"""The instrument listens while it plays: call and response, harmony and context on a fake clock, the real daemon's
decisions between a simulated stage and a simulated model."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fractal_live.live.listening import ANSWER_ECHO, FOLLOWS
from fractal_live.live.midi_map import BUTTONS, Place
from fractal_live.live.reenactment import reenacted
from fractal_live.live.scheduler import BegunBar
from fractal_live.music.meter import FOUR_FOUR
from fractal_live.music.notes import Bar
from fractal_live.music.plan import COLUMN
from fractal_live.music.request import BarRequest
from fractal_live.recorded_set import compared, read_set
from fractal_live.settings import Patch
from tests.live.evening import Fake, answer
from tests.live.simulated_port import MS
from tests.live.simulation import Evening, simulated

BAR = FOUR_FOUR.ticks_per_bar
Played = tuple[int, int, int]  # first tick, last tick, pitch


class Duet(Evening):
    """Keeps what was asked and what began. 4/4 at 120 bpm: a bar lasts two seconds."""

    def began(self, begun: BegunBar) -> None:
        self.bars.append(begun)

    def begin(self) -> None:
        self.bars: list[BegunBar] = []
        self.requests: list[tuple[int, BarRequest]] = []

        def model(request: BarRequest) -> int:
            self.requests.append((self.clock.now_ns, request))
            return 80 * MS

        self.model = model
        super().begin()

    def until(self, tick: int) -> None:
        """Lets time pass until the music is there."""
        while self.stage is None or not self.player.transport.is_rolling:
            self.advance(10 * MS)
        self.advance(max(0, self.player.transport.timeline.time_at(tick) - self.clock.now_ns))

    def play(self, *notes: Played) -> None:
        """Keys are pressed and let go at these ticks."""
        events = [(first, 0x90, pitch, 80) for first, _, pitch in notes] + [
            (last, 0x80, pitch, 0) for _, last, pitch in notes
        ]
        for tick, *message in sorted(events):
            self.until(tick)
            assert self.stage is not None
            self.stage.hear(*message)

    def asked(self, index: int) -> list[BarRequest]:
        return [request for _, request in self.requests if request.index == index]


@contextmanager
def duet(folder: Path, seed: int = 1, **patch: object) -> Iterator[Duet]:
    with simulated(folder, Duet, seed=seed, patch=Patch(**patch)) as evening:  # type: ignore[arg-type]
        assert isinstance(evening, Duet)
        yield evening


def pitches(bar: Bar) -> list[int]:
    return [note.pitch for note in bar.notes]


def pitch_classes(request: BarRequest) -> list[list[int]]:
    assert request.chroma is not None
    return [np.flatnonzero(half).tolist() for half in request.chroma]


def call(index: int, *pitches: int) -> tuple[Played, ...]:
    """One note a beat in a bar."""
    return tuple(
        (index * BAR + 480 * beat, index * BAR + 480 * beat + 400, pitch) for beat, pitch in enumerate(pitches)
    )


def test_in_the_call_we_are_silent_and_no_bar_is_late(tmp_path: Path) -> None:
    for respond in (1, 2, 3, 8):
        with duet(tmp_path, respond=respond, plan={"density": 8.0}) as evening:
            evening.until(20 * BAR + 100)
            assert [begun.bar.index for begun in evening.bars] == list(range(21))
            silent = [not begun.bar.notes for begun in evening.bars]
            assert silent == [index // respond % 2 == 0 for index in range(21)]
            assert not any(begun.is_fallback for begun in evening.bars)
            assert evening.stage is not None and evening.stage.scheduler.underruns == 0
            assert {request.index // respond % 2 for _, request in evening.requests} == {1}
            assert len(evening.requests) == len({request.index for _, request in evening.requests}), (
                "each asked for once"
            )


def test_where_nobody_played_the_requests_are_as_if_our_bars_followed_each_other(tmp_path: Path) -> None:
    with duet(tmp_path, respond=2) as evening:
        evening.until(8 * BAR)
        (request,) = evening.asked(6)
        assert request.chroma is None and request.sampling.echo == 0
        made = {begun.bar.index: begun.bar.notes for begun in evening.bars}
        assert [(bar.index, bar.notes) for bar in request.past] == [(2, made[2]), (3, made[3])]


def test_an_answer_knows_the_call_bar_by_bar(tmp_path: Path) -> None:
    with duet(tmp_path, respond=2) as evening:
        evening.play(*call(0, 60, 64, 67, 72), *call(1, 62, 65))
        evening.until(4 * BAR + 100)
        first, second = evening.asked(2)[-1], evening.asked(3)[-1]
        assert [pitches(bar) for bar in first.past] == [[60, 64, 67, 72], [62, 65]]
        assert [pitches(bar) for bar in second.past[:2]] == [[60, 64, 67, 72], [62, 65]]
        assert second.past[2].notes == evening.bars[2].bar.notes
        assert pitch_classes(first) == [[0, 4], [0, 7]]
        assert pitch_classes(second) == [[2, 5], [2, 5]], "a silent half takes its neighbour's"
        assert [request.plan[0, COLUMN["density"]] for request in (first, second)] == [4, 2]
        assert [request.sampling.echo for request in (first, second)] == [ANSWER_ECHO] * 2
        assert [len(evening.bars[index].bar.notes) for index in (2, 3)] == [4, 2], "what was asked last is what sounds"
        assert evening.stage is not None and evening.stage.scheduler.underruns == 0


def test_what_is_played_late_in_the_call_is_still_in_the_answer(tmp_path: Path) -> None:
    """What was heard so far makes the coming answer stale; it is asked for again as long as its line can be met."""
    with duet(tmp_path, respond=1) as evening:
        evening.play(*call(0, 60, 62, 64), (BAR - 600, BAR - 500, 65))
        evening.until(BAR + 100)
        asked = evening.asked(1)
        assert pitches(asked[-1].past[-1]) == [60, 62, 64, 65]
        assert 1 < len(asked) <= 1 + BAR // 240
        assert len(evening.bars[1].bar.notes) == 4


def test_notes_in_an_answer_are_not_heard_unless_in_context(tmp_path: Path) -> None:
    for follow, expected in (("off", []), ("context", [61, 61])):
        with duet(tmp_path, respond=1, follow=follow) as evening:
            evening.play(*call(0, 60), *call(1, 61, 61))
            evening.until(3 * BAR + 100)
            answered = evening.bars[1].bar
            past = next(bar for bar in evening.asked(3)[-1].past if bar.index == 1)
            assert sorted(pitches(past)) == sorted([*pitches(answered), *expected])


def test_what_is_heard_is_never_sent_out(tmp_path: Path) -> None:
    with duet(tmp_path, respond=1, follow="context") as evening:
        evening.play(*call(0, 1, 2, 3, 4), *call(2, 5, 6, 7, 8))
        evening.until(6 * BAR)
        sent = {message[1] for _, message in evening.ear.heard if message[0] & 0xF0 == 0x90}
        assert sent and not sent & set(range(1, 9))


def test_the_harmony_that_is_heard_in_a_bar_is_that_of_the_next_bar_line(tmp_path: Path) -> None:
    with duet(tmp_path, follow="harmony") as evening:
        evening.play(*((2 * BAR + 10, 3 * BAR - 200, pitch) for pitch in (60, 64, 67)))
        evening.until(6 * BAR)
        last = {index: evening.asked(index)[-1] for index in range(2, 6)}
        assert [index for index, request in last.items() if request.chroma is not None] == [3, 4]
        assert pitch_classes(last[3]) == pitch_classes(last[4]) == [[0, 4, 7], [0, 4, 7]]
        assert evening.bars[3].bar == answer(last[3]).bar, "what was asked last is what sounds"
        assert len(evening.asked(3)) == 2, "a chord that is held is one harmony"


def test_a_harmony_that_the_performer_gives_stands_before_the_one_that_is_heard(tmp_path: Path) -> None:
    with duet(tmp_path, follow="harmony") as evening:
        evening.until(BAR)
        evening.osc("harmony/chord", "D")
        evening.play(*((2 * BAR + 10, 3 * BAR - 200, pitch) for pitch in (60, 64, 67)))
        evening.until(5 * BAR)
        assert pitch_classes(evening.asked(3)[-1]) == [[2, 6, 9], [2, 6, 9]]


def test_in_context_what_was_heard_joins_the_past(tmp_path: Path) -> None:
    with duet(tmp_path, follow="context") as evening:
        evening.play(*call(2, 30, 31))
        evening.until(5 * BAR)
        own = evening.bars[2].bar
        past = next(bar for bar in evening.asked(4)[-1].past if bar.index == 2)
        assert sorted(pitches(past)) == sorted([*pitches(own), 30, 31])


def test_a_key_that_the_patch_maps_is_obeyed_and_not_heard(tmp_path: Path) -> None:
    with duet(tmp_path, respond=1, notes={Place(None, 36): BUTTONS["reroll"]}) as evening:
        evening.play(*call(0, 36, 60))
        evening.until(2 * BAR)
        assert pitches(evening.asked(1)[-1].past[-1]) == [60]
        assert evening.daemon.controls.snapshot.rerolls == 1


def test_a_new_start_has_heard_nothing_and_a_change_of_patch_keeps_the_promise_of_its_bars(tmp_path: Path) -> None:
    with duet(tmp_path, respond=1) as evening:
        evening.play(*call(0, 60, 62))
        evening.until(3 * BAR)
        evening.osc("transport/stop")
        evening.seconds(1)
        evening.bars.clear()
        evening.requests.clear()
        evening.osc("transport/start")
        evening.seconds(3)
        assert [not begun.bar.notes for begun in evening.bars] == [True, False]
        assert all(not bar.notes for request in evening.asked(1) for bar in request.past)

        evening.daemon.listening.change("off", 0, 0)
        evening.seconds(10)
        tail = evening.bars[-3:]
        assert all(begun.bar.notes for begun in tail) and not any(begun.is_fallback for begun in tail)
        evening.daemon.listening.change("off", 2, 0)
        evening.seconds(16)
        tail = [begun for begun in evening.bars if begun.bar.index >= 9]
        assert [not begun.bar.notes for begun in tail] == [begun.bar.index // 2 % 2 == 0 for begun in tail]


def test_a_loop_goes_round_through_the_calls_too_and_then_they_are_silent_again(tmp_path: Path) -> None:
    with duet(tmp_path, respond=1, plan={"density": 8.0}) as evening:
        evening.until(4 * BAR - 900)
        evening.osc("freeze", 3)
        evening.until(9 * BAR + 100)
        bars = [begun.bar.notes for begun in evening.bars]
        assert bars[4:10] == bars[1:4] * 2, "a loop of three is out of step with calls of one"
        evening.osc("freeze", 0)
        evening.until(16 * BAR)
        assert [not begun.bar.notes for begun in evening.bars[12:16]] == [True, False] * 2
        assert not any(begun.is_fallback for begun in evening.bars)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_the_calls_are_silent(tmp_path: Path, seed: int) -> None:
    """Keys, stops, starts, other controls, new cycles and a dying model, at any moment; the ear at the port judges the
    notes themselves."""
    respond, rng = seed % 3 + 1, random.Random(seed)
    with duet(tmp_path, respond=respond, follow=FOLLOWS[seed % 3], seed=seed, plan={"density": 8.0}) as evening:
        evening.until(100)
        down: set[int] = set()
        for _ in range(300):
            evening.advance(rng.randint(1, 800) * MS)
            kind = rng.random()
            assert evening.stage is not None
            if kind < 0.75:
                pitch = rng.randint(40, 44)
                evening.stage.hear(0x80 if pitch in down else 0x90, pitch, 80)
                down ^= {pitch}
            elif kind < 0.9:
                address = rng.choice(
                    ("param/temperature", "param/echo", "param/transpose", "plan/density", "param/lead_bars")
                )
                evening.osc(address, rng.uniform(1, 6))
            elif kind < 0.93:
                evening.osc(rng.choice(("generate", "reroll")))
            elif kind < 0.97:
                evening.osc("transport/stop")
                evening.advance(rng.randint(1, 3000) * MS)
                evening.osc(rng.choice(("transport/start", "transport/continue")))
            elif kind < 0.98:
                evening.osc("transport/start")
            elif evening.daemon.model.child is not None:
                evening.daemon.model.child.process.kill()
        heard = [(begun.bar.index // respond % 2 == 0, bool(begun.bar.notes)) for begun in evening.bars]
        assert len(heard) > 40
        assert {has_notes for is_call, has_notes in heard if is_call} == {False}
        answers = [has_notes for is_call, has_notes in heard if not is_call]
        assert sum(answers) > 0.9 * len(answers)
        evening.osc("transport/stop")
        evening.seconds(1)
        assert asyncio.run(evening.daemon.recording.close())
        played = read_set(evening.settings.record)
        again = compared(played, list(reenacted(played.script, Fake())))
        assert again.first_other is None and again.same == again.bars, "with what was heard it can be played again"


def test_a_model_that_dies_leaves_the_calls_as_they_are(tmp_path: Path) -> None:
    """Silent bars need no model: while it is started again nothing of the call is late."""
    with duet(tmp_path, respond=2, plan={"density": 8.0}) as evening:
        evening.until(4 * BAR - 1000)
        assert evening.daemon.model.child is not None
        evening.daemon.model.child.process.kill()
        evening.until(9 * BAR)
        assert [begun.bar.index for begun in evening.bars if not begun.bar.notes] == [0, 1, 4, 5, 8, 9]
        assert [begun.bar.index for begun in evening.bars if begun.is_fallback] == []
