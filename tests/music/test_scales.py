from __future__ import annotations

import pytest

from fractal_live.music.scales import CHORDS, NOTE_NAMES, SCALE_NAMES, SCALES, chord_chroma, in_scale, key_named


@pytest.mark.parametrize("scale", range(len(SCALE_NAMES)), ids=SCALE_NAMES)
@pytest.mark.parametrize("key", (0, 3, 11))
def test_every_pitch_finds_the_nearest_of_its_scale_and_those_of_it_stay(scale: int, key: int) -> None:
    steps = SCALES[SCALE_NAMES[scale]]
    own = [pitch for pitch in range(128) if (pitch - key) % 12 in steps]
    for pitch in range(128):
        assert in_scale(pitch, key, scale) == min(own, key=lambda there: (abs(there - pitch), there))


def test_every_name_of_a_note_is_its_place() -> None:
    assert [key_named(name) for name in NOTE_NAMES] == list(range(12))
    assert [key_named(name) for name in ("Db", "d#", "Gb", "G#", "A#", "Cb", "E#")] == [1, 3, 6, 8, 10, 11, 5]


def test_a_chord_has_its_tones_the_root_strongest_and_its_bass() -> None:
    assert {i for i, weight in enumerate(chord_chroma("Am7")) if weight} == {9, 0, 4, 7}
    assert chord_chroma("Am7").index(1.0) == 9
    assert [i for i, weight in enumerate(chord_chroma("G/B")) if weight == 1.0] == [7, 11]
    for kind, steps in CHORDS.items():
        assert sum(weight > 0 for weight in chord_chroma(f"F#{kind}")) == len(steps)


@pytest.mark.parametrize("text", ["", "H", "Cfoo", "C/", "7", "major"])
def test_what_is_no_chord_is_refused_with_what_is_allowed(text: str) -> None:
    if text == "C/":
        assert chord_chroma(text) == chord_chroma("C")
        return
    with pytest.raises(ValueError, match=r"allowed|one of"):
        chord_chroma(text)
