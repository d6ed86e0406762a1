"""What the timing benchmark plays: sixteenths, with a chord of four on each beat.

Every step's velocity tells which step it is, so that a message that was heard finds the time it was due at, even
where the port lost some.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fractal_live.music.meter import PPQN, STEPS_PER_BEAT, TICKS_PER_STEP
from fractal_live.music.notes import Bar, Note

CHORD = (48, 52, 55, 60)
MELODY = (72, 74, 76, 79)
STEPS_PER_BAR = 16
VELOCITIES = 127
FIRST_STEP = STEPS_PER_BEAT  # the beat before it is empty: nothing that begins at once can be on time
NOTE_ON, NOTE_OFF = 0x90, 0x80


def pitches(step: int) -> tuple[int, ...]:
    """What is struck at a step, counted from the beginning."""
    return CHORD if step % STEPS_PER_BEAT == 0 else (MELODY[step % STEPS_PER_BEAT],)


def velocity(step: int) -> int:
    return 1 + step % VELOCITIES


def bar(index: int) -> Bar:
    """A bar of 4/4; each note sounds for half a step."""
    notes = []
    for inside in range(FIRST_STEP if index == 0 else 0, STEPS_PER_BAR):
        step = index * STEPS_PER_BAR + inside
        notes += [Note(inside * TICKS_PER_STEP, pitch, TICKS_PER_STEP // 2, velocity(step)) for pitch in pitches(step)]
    return Bar(index, tuple(notes))


def strikes(step: int) -> list[bytes]:
    """The note-ons that are due at a step."""
    return [bytes((NOTE_ON, pitch, velocity(step))) for pitch in pitches(step)]


def releases(step: int) -> list[bytes]:
    """The note-offs that are due half a step later."""
    return [bytes((NOTE_OFF, pitch, 0)) for pitch in pitches(step)]


def step_ns(tempo_bpm: float) -> float:
    return 60e9 / tempo_bpm / STEPS_PER_BEAT


def origin_ns(positions: Iterable[tuple[int, int]], tempo_bpm: float) -> tuple[int, int]:
    """Between which two times tick 0 was, from (tick, time) at one tempo: a tick is known to have been reached, and
    the next not. Many positions make the gap narrow."""
    tick_ns = 60e9 / tempo_bpm / PPQN
    earliest, latest = [], []
    for tick, at_ns in positions:
        earliest.append(at_ns - (tick + 1) * tick_ns)
        latest.append(at_ns - tick * tick_ns)
    if not latest:
        raise ValueError("without a position nothing is known of the beginning")
    return round(max(earliest)), round(min(latest))


def placed(heard: Iterable[tuple[int, bytes]], start_ns: float, tempo_bpm: float) -> list[tuple[int, int]]:
    """Of each note-on of (arrival, message) its step, and how long after its time it was heard, in ns; step 0 was due
    at `start_ns`. Right for anything that is less than 63 steps late."""
    length_ns = step_ns(tempo_bpm)
    found = []
    for at_ns, message in heard:
        if message[0] & 0xF0 == NOTE_ON and message[2]:
            phase = message[2] - 1
            rounds = round(((at_ns - start_ns) / length_ns - phase) / VELOCITIES)
            step = phase + VELOCITIES * rounds
            found.append((step, round(at_ns - start_ns - step * length_ns)))
    return found


def lost(steps: Sequence[int]) -> int:
    """How many note-ons are missing between the first and the last of the steps that were heard, one entry a note."""
    if not steps:
        return 0
    return sum(len(pitches(step)) for step in range(min(steps), max(steps) + 1)) - len(steps)
