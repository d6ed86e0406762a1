"""What the shipped model answers belongs to what was played: nearer to its own call than to the others'.

The planner, the listening and the engine as they play; only time is made up.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mido
import numpy as np
import pytest
import torch

from fractal_live.live.controls import Controls
from fractal_live.live.listening import Listening
from fractal_live.live.planner import Planner
from fractal_live.model.engine import Engine
from fractal_live.music.harmony import chroma_of_bar
from fractal_live.music.meter import FOUR_FOUR, TICKS_PER_STEP
from fractal_live.music.notes import Bar, Note, on_grid
from tests.live.calls import Call, written_calls

pytestmark = pytest.mark.slow

RESPOND = 2
SONG_CALLS = 12
FIRST_BAR = 16  # of a song: its introduction is over
FEWEST_NOTES = 3
BAR = FOUR_FOUR.ticks_per_bar
BAR_NS = 2_000_000_000
LINE_NS = 500_000_000  # so long before a line the planner is asked for the last time


@pytest.fixture(scope="module")
def engine(live_checkpoint: Path) -> Engine:
    torch.set_num_threads(1)
    return Engine(live_checkpoint, "cpu")


def melody_of(path: Path) -> list[tuple[int, Note]]:
    """The notes of a song's melody: the tick of their bar, and the note in it."""
    track = next(track for track in mido.MidiFile(path).tracks if track.name == "MELODY")
    tick, held, notes = 0, {}, []
    for message in track:
        tick += message.time
        if message.type == "note_on" and message.velocity:
            held[message.note] = (tick, message.velocity)
        elif message.type in ("note_on", "note_off") and message.note in held:
            begun, velocity = held.pop(message.note)
            line = begun // BAR * BAR
            notes.append((line, Note(begun - line, message.note, max(1, tick - begun), velocity)))
    return notes


def song_calls(folder: Path) -> tuple[Call, ...]:
    """From each song the first bars of its melody that are full enough."""
    calls = []
    for path in sorted((folder / "valid").glob("*.mid")):
        notes = melody_of(path)
        for first in range(FIRST_BAR, FIRST_BAR + 64):
            bars = tuple(
                on_grid(Bar(place, tuple(sorted(note for line, note in notes if line == (first + place) * BAR))))
                for place in range(RESPOND)
            )
            if all(len(bar.notes) >= FEWEST_NOTES for bar in bars):
                calls.append(bars)
                break
        if len(calls) == SONG_CALLS:
            break
    return tuple(calls)


def answer_to(call: Call, engine: Engine, seed: int) -> Call:
    """A set of one call and one answer. Shortly before each bar line the planner asks for what it wants."""
    planner, listening = Planner(), Listening(respond=RESPOND)
    planner.controls_changed(Controls(seed=seed).snapshot)
    sounding: dict[int, Bar] = {}
    keys = sorted(
        event
        for bar in call
        for note in bar.notes
        for event in (
            (bar.index * BAR + note.onset_tick, 1, bytes((0x90, note.pitch, note.velocity))),
            (bar.index * BAR + note.onset_tick + note.duration_ticks, 0, bytes((0x80, note.pitch, 0))),
        )
    )
    planner.hearing = listening.at(0)
    offers = planner.rests()
    for index in range(2 * RESPOND):
        sounding |= {offer.bar.index: offer.bar for offer in offers}
        version = next((offer.version for offer in offers if offer.bar.index == index), 0)
        planner.bar_began(sounding[index], version, False)
        planner.transport_moved(True, index, 120.0)
        asked_tick = (index + 1) * BAR - BAR * LINE_NS // BAR_NS
        for tick, _, message in keys:
            if index * BAR <= tick < asked_tick:
                listening.hear(message, tick)
        planner.hearing = listening.at(asked_tick)
        offers = planner.rests()
        while index >= RESPOND - 1 and (request := planner.next_request(LINE_NS)) is not None:
            if (offer := planner.answered(engine.bar(request))) is not None:
                offers.append(offer)
        for tick, _, message in keys:
            if asked_tick <= tick < (index + 1) * BAR:
                listening.hear(message, tick)
    return tuple(sounding[index] for index in range(RESPOND, 2 * RESPOND))


def rhythm(bar: Bar) -> np.ndarray:
    struck = np.zeros(bar.meter.steps_per_bar)
    struck[[note.onset_tick // TICKS_PER_STEP for note in bar.notes]] = 1
    return struck


def harmony(bar: Bar) -> np.ndarray:
    return chroma_of_bar(bar).ravel()


def likeness(one: Call, other: Call, seen_as: Callable[[Bar], np.ndarray]) -> float:
    """The mean cosine of the bars, in their order."""
    cosines = []
    for a, b in zip(map(seen_as, one), map(seen_as, other), strict=True):
        size = float(np.linalg.norm(a) * np.linalg.norm(b))
        cosines.append(float(a @ b) / size if size else 0.0)
    return float(np.mean(cosines))


def own_and_others(
    answers: list[Call], calls: tuple[Call, ...], seen_as: Callable[[Bar], np.ndarray]
) -> tuple[float, float]:
    """Medians over the answers: the likeness to their own call, and its mean to the other calls."""
    table = np.array([[likeness(answer, call, seen_as) for call in calls] for answer in answers])
    is_own = np.eye(len(calls), dtype=bool)
    others = np.where(is_own, np.nan, table)
    return float(np.median(table[is_own])), float(np.median(np.nanmean(others, axis=1)))


def judge(calls: tuple[Call, ...], engine: Engine) -> None:
    assert len(calls) >= 12
    answers = [answer_to(call, engine, seed) for seed, call in enumerate(calls)]
    assert all(bar.notes for answer in answers for bar in answer), "every call is answered"
    figures = {name: own_and_others(answers, calls, seen) for name, seen in (("rhythm", rhythm), ("chroma", harmony))}
    told = ", ".join(f"{name}: own call {own:.3f}, others {others:.3f}" for name, (own, others) in figures.items())
    assert all(own > others for own, others in figures.values()), told


def test_answers_to_written_calls_are_nearer_to_their_own(engine: Engine) -> None:
    judge(written_calls(), engine)


def test_answers_to_songs_nobody_trained_on_are_nearer_to_their_own_call(engine: Engine, pop909: Path) -> None:
    judge(song_calls(pop909), engine)
