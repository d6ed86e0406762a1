from __future__ import annotations

import random

import pytest

from fractal_live.music.loudness import levelled
from fractal_live.music.notes import Note


@pytest.mark.parametrize("seed", range(40))
def test_the_mean_is_what_was_asked_and_no_accent_turns_round(seed: int) -> None:
    rng = random.Random(seed)
    notes = [Note(120 * place, 60, 100, rng.randint(1, 127)) for place in range(rng.randint(1, 30))]
    wanted = rng.uniform(1, 127)
    after = levelled(notes, wanted)
    assert abs(sum(note.velocity for note in after) / len(after) - wanted) <= 0.5
    assert [(note.onset_tick, note.pitch, note.duration_ticks) for note in after] == [
        (note.onset_tick, note.pitch, note.duration_ticks) for note in notes
    ]
    by_loudness = sorted(zip((note.velocity for note in notes), (note.velocity for note in after), strict=True))
    assert [new for _, new in by_loudness] == sorted(new for _, new in by_loudness)


def test_what_is_right_already_stays_and_silence_is_silence() -> None:
    notes = (Note(0, 60, 100, 40), Note(120, 60, 100, 60))
    assert levelled(notes, 50) == notes
    assert levelled((), 50) == ()
