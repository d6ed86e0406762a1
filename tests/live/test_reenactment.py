"""The replay law: a recorded set is played again from its seeds and controls, note for note.

The evenings of `test_hours` hold it too, through everything that can happen to a set; here the model is a real one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mido
import pytest

from fractal_live.baselines.door import open_engine
from fractal_live.live.reenactment import Again, reenacted
from fractal_live.model.checkpoint import save
from fractal_live.music.notes import Bar
from fractal_live.music.request import BarReply, BarRequest, InfillRequest
from fractal_live.recorded_set import RecordedSet, compared, read_set, write_again
from tests.live.simulated_port import MS
from tests.live.simulation import Evening, simulated
from tests.model.tiny import lively

pytestmark = pytest.mark.slow

BAR_S = 2.0


@dataclass(frozen=True)
class Played:
    engine: Any
    recorded: RecordedSet
    again: list[Again]
    evening: Evening
    asked: list[BarRequest]
    begun: list[tuple[Bar, bool]]


class Told(Evening):
    """Keeps what truly began."""

    def begin(self) -> None:
        self.begun: list[tuple[Bar, bool]] = []
        super().begin()

    def began(self, begun: Any) -> None:
        self.begun.append((begun.bar, begun.is_fallback))


def perform(evening: Evening, rng: random.Random) -> None:
    """A set in which everything happens once."""
    evening.osc("plan/density", 4.0)
    evening.seconds(6 + 1.03)
    evening.osc("param/transpose", 5.0)
    evening.osc("param/velocity", 1.3)
    evening.osc("latent/walk", 0.5)
    for _ in range(30):
        evening.osc("param/temperature", rng.uniform(0.5, 1.5))
        evening.seconds(1 / 30)
    evening.osc("plan/density", *(rng.uniform(2, 7) for _ in range(8)))
    evening.osc("harmony/chroma", *(rng.random() for _ in range(12)))
    evening.seconds(BAR_S + 0.41)
    evening.osc("panic")
    evening.model = lambda request: "fault"
    evening.seconds(4 * BAR_S)
    evening.model = lambda request: 80 * MS
    evening.seconds(BAR_S)
    evening.osc("generate", 77.0)
    evening.seconds(BAR_S + 0.27)
    evening.osc("transport/start")  # the position jumps back to the top
    evening.seconds(BAR_S + 0.61)
    evening.osc("transport/stop")
    evening.seconds(1)
    evening.osc("transport/continue")
    evening.seconds(BAR_S + 0.33)
    evening.osc("transport/stop")
    evening.seconds(1)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("set")
    save(lively(1), folder / "tiny.safetensors", {"steps": 1})
    engine = open_engine(folder / "tiny.safetensors", "cpu")
    asked: list[BarRequest] = []

    def answer(request: BarRequest, took_ns: int) -> BarReply:
        asked.append(request)
        return replace(engine.bar(request), took_ns=took_ns)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tests.live.simulated_children.answer", answer)
        with simulated(folder, Told, seed=4) as evening:
            perform(evening, random.Random(8))
            assert asyncio.run(evening.daemon.recording.close())
    recorded = read_set(folder / "set.mid")
    again = list(reenacted(recorded.script, engine))
    yield Played(engine, recorded, again, evening, asked, evening.begun)


def test_every_bar_is_made_again_bit_for_bit(played: Played) -> None:
    found = compared(played.recorded, played.again)
    assert found.first_other is None
    assert (found.bars, found.same) == (len(played.begun) + 1, len(played.begun) + 1), "the continued bar counts twice"
    assert found.fallbacks == sum(is_fallback for _, is_fallback in played.begun) > 0


def test_nothing_is_taken_from_the_recorded_notes_but_what_was_cut_off(played: Played) -> None:
    """All bars come from the model or vary one that does; what is told of cuts has no pitch in it."""
    kinds = [kind for kind, _, _ in played.recorded.script.steps]
    assert set(kinds) <= {"made", "varied", "moved", "mended", "worn", "began"}
    assert not any("notes" in head for kind, head, _ in played.recorded.script.steps if kind == "began")
    assert not any(cut.others for cut in played.recorded.script.cuts.values())
    assert played.recorded.script.cuts and 0 not in played.recorded.script.cuts


def test_another_file_has_the_same_notes_and_tempo_map_and_can_itself_be_played_again(
    played: Played, tmp_path: Path
) -> None:
    write_again(played.recorded, played.again, tmp_path / "again.mid")
    written = read_set(tmp_path / "again.mid")
    assert (written.notes, written.tempos, written.end_tick) == (
        played.recorded.notes,
        played.recorded.tempos,
        played.recorded.end_tick,
    )
    assert compared(written, played.again).first_other is None


def test_it_takes_a_few_hundred_bytes_a_bar_however_much_is_moved(played: Played) -> None:
    log = mido.MidiFile(played.recorded.path).tracks[2]
    told = sum(len(message.data) for message in log if message.type == "sequencer_specific")
    assert told / len(played.begun) < 600


def test_a_model_that_answers_otherwise_is_found_at_its_bar(played: Played) -> None:
    """One velocity of the fourth bar."""

    class Other:
        def bar(self, request: BarRequest) -> BarReply:
            reply: BarReply = played.engine.bar(request)
            if request.index != 3 or not reply.bar.notes:
                return reply
            first, *others = reply.bar.notes
            other = replace(first, velocity=first.velocity % 127 + 1)
            return replace(reply, bar=replace(reply.bar, notes=(other, *others)))

        def infill(self, request: InfillRequest) -> tuple[Bar, ...]:
            return played.engine.infill(request)

    steps = played.recorded.script.steps
    begun = [place for place, (kind, _, _) in enumerate(steps) if kind == "began"]
    some = replace(played.recorded.script, steps=steps[: begun[4] + 1])
    again = list(reenacted(some, Other()))
    found = compared(replace(played.recorded, script=some), again)
    assert found.first_other == (4, "the model's answer is another one") and found.same < found.bars


def test_the_texts_say_what_was_done_each_control_once_a_bar(played: Played) -> None:
    tick, texts = 0, []
    for message in mido.MidiFile(played.recorded.path).tracks[2]:
        tick += message.time
        if message.type == "text":
            texts.append((tick // 1920, message.text))
    moved = [bar for bar, text in texts if text.startswith("/fractal/param/temperature")]
    assert 1 <= len(moved) == len(set(moved)) <= 2, "thirty moves in a second"
    said = [text for _, text in texts]
    for expected in (
        "patch untitled; seed 3; sync internal",
        "/fractal/plan/density 4",
        "/fractal/param/transpose 5",
        "/fractal/panic",
        "/fractal/generate 77",
        "/fractal/transport/stop",
        "goes on in bar 1",
    ):
        assert expected in said
    assert sum(text.startswith("fallback in bar") for text in said) == sum(late for _, late in played.begun)
    assert any(text.startswith("goes on in bar 2, beat ") for text in said)
