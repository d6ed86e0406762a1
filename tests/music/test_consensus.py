"""Of several attempts the one is kept that the others agree with most."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import pytest

from fractal_live.music.consensus import likeness, mended, most_agreed
from fractal_live.music.meter import Meter
from fractal_live.music.notes import Bar, Note
from fractal_live.music.request import BarReply, BarRequest, InfillRequest


def attempt(*pitches: int) -> tuple[Bar, ...]:
    """One bar with a note per beat."""
    return (Bar(0, tuple(Note(480 * beat, pitch, 240, 80) for beat, pitch in enumerate(pitches))),)


class Guesser:
    """Fills each missing bar with one note, whose pitch is the choice of its seed's turn."""

    checkpoint_id = "guesser"
    training: ClassVar[dict[str, Any]] = {}
    parameters = 0

    def __init__(self, *pitches: int) -> None:
        self.pitches = pitches
        self.seeds: list[int] = []

    def bar(self, request: BarRequest) -> BarReply:
        raise AssertionError("only gaps are filled here")

    def infill(self, request: InfillRequest) -> tuple[Bar, ...]:
        pitch = self.pitches[len(self.seeds)]
        self.seeds.append(request.seed)
        note = (Note(0, pitch, 120, 80),)
        return tuple(
            Bar(bar.index, note, bar.meter) if gone else bar
            for bar, gone in zip(request.bars, request.is_missing, strict=True)
        )


def test_a_gap_in_any_meter_gets_what_most_attempts_agree_on_and_the_rest_stays() -> None:
    waltz = Meter(3, 4)
    piece = (Bar(0, (Note(0, 40, 120, 80),), waltz), Bar(1, (), waltz), Bar(2, (Note(480, 41, 120, 80),), waltz))
    guesser = Guesser(60, 66, 70, 66)
    made = mended(guesser, InfillRequest(piece, (False, True, False), seed=3), candidates=4)
    assert made == (piece[0], Bar(1, (Note(0, 66, 120, 80),), waltz), piece[2])
    assert len(set(guesser.seeds)) == 4 and guesser.seeds[0] == 3


def test_the_attempt_that_most_others_resemble_is_chosen() -> None:
    attempts = [attempt(60, 61, 62, 63), attempt(40, 44, 47, 52), attempt(40, 44, 47, 50), attempt(40, 44, 45, 52)]
    assert most_agreed(attempts) == 1


def test_one_attempt_is_the_choice_and_none_is_refused() -> None:
    assert most_agreed([attempt(60)]) == 0
    with pytest.raises(ValueError, match="nothing to choose"):
        most_agreed([])


def test_likeness_is_symmetric_and_greatest_with_itself() -> None:
    rng = random.Random(5)
    attempts = [attempt(*rng.sample(range(50, 70), 4)) for _ in range(12)]
    for here in attempts:
        assert likeness(here, here) == pytest.approx(3)
        for there in attempts:
            assert likeness(here, there) == pytest.approx(likeness(there, here))
            assert likeness(here, there) <= 3 + 1e-9
