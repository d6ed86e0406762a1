from __future__ import annotations

import random

import pytest

from fractal_live.bench import score
from fractal_live.bench.isobar_rival import against_its_earliest

MS = 1_000_000


def heard(steps: range, start_ns: int, tempo_bpm: float, late_ns: list[int]) -> list[tuple[int, bytes]]:
    """The note-ons of these steps, each step so late."""
    length_ns = score.step_ns(tempo_bpm)
    return [
        (round(start_ns + step * length_ns) + late, message)
        for step, late in zip(steps, late_ns, strict=True)
        for message in score.strikes(step)
    ]


def test_a_bar_has_sixteen_onsets_of_which_each_fourth_is_a_chord_of_four() -> None:
    notes = score.bar(3).notes
    assert len(notes) == 4 * 4 + 12
    assert [note.pitch for note in notes if note.onset_tick == 480] == list(score.CHORD)
    assert {note.onset_tick for note in notes} == {120 * step for step in range(16)}
    assert {note.duration_ticks for note in notes} == {60}


def test_what_is_offered_to_the_stage_and_what_the_rivals_send_are_the_same_notes() -> None:
    for index in (0, 7, 8, 100):
        for note in score.bar(index).notes:
            step = 16 * index + note.onset_tick // 120
            assert bytes((0x90, note.pitch, note.velocity)) in score.strikes(step)
        steps = range(max(16 * index, score.FIRST_STEP), 16 * index + 16)
        assert len(score.bar(index).notes) == sum(len(score.strikes(step)) for step in steps)


def test_every_heard_note_finds_its_step_and_its_lateness_however_long_it_plays() -> None:
    rng = random.Random(4)
    late_ns = [rng.randrange(0, 40 * MS) for _ in range(1000)]
    arrivals = heard(range(1000), 5_000_000_000, 180, late_ns)
    noise = [(arrivals[50][0], b"\x80\x30\x00"), (arrivals[50][0], b"\xb0\x7b\x00"), (arrivals[50][0], b"\x90\x30\x00")]
    found = score.placed(arrivals[:50] + noise + arrivals[50:], 5_000_000_000, 180)
    wanted = [(step, late_ns[step]) for step in range(1000) for _ in score.pitches(step)]
    assert [step for step, _ in found] == [step for step, _ in wanted]
    assert max(abs(late - true) for (_, late), (_, true) in zip(found, wanted, strict=True)) <= 1  # rounding


def test_what_the_port_lost_is_counted() -> None:
    arrivals = heard(range(300), 0, 180, [0] * 300)
    missing = set(random.Random(2).sample(range(10, len(arrivals) - 10), 17))
    kept = [message for number, message in enumerate(arrivals) if number not in missing]
    assert score.lost([step for step, _ in score.placed(kept, 0, 180)]) == 17
    assert score.lost([step for step, _ in score.placed(arrivals, 0, 180)]) == 0
    assert score.lost([]) == 0


def test_positions_narrow_down_when_the_piece_began() -> None:
    rng = random.Random(3)
    start_ns, tick_ns = 123_456_789, 60e9 / 180 / 480
    times = [start_ns + rng.randrange(10_000_000_000) for _ in range(200)]
    positions = [(int((at_ns - start_ns) / tick_ns), at_ns) for at_ns in times]
    earliest_ns, latest_ns = score.origin_ns(positions, 180)
    assert earliest_ns - 1 <= start_ns <= latest_ns + 1
    assert latest_ns - earliest_ns < tick_ns / 10
    with pytest.raises(ValueError, match="without a position"):
        score.origin_ns([], 180)


def test_a_sender_that_does_not_say_its_times_is_measured_against_its_earliest_note() -> None:
    late_ns = [7 * MS, 3 * MS, 12 * MS, 4 * MS, 3 * MS]
    struck = [(at_ns, message[2]) for at_ns, message in heard(range(5), 1_000, 120, late_ns)]
    played = against_its_earliest(struck, 99, 120)
    assert played.start_ns == 1_000 + 3 * MS
    assert played.late_ns == (4 * MS,) * 4 + (0, 9 * MS, 1 * MS) + (0,) * 4
    assert played.sent == 99
