"""A bar that repeats another one exactly: what was imagined of it gives way, what was asked does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fractal_live.model.config import HALF_STEPS
from fractal_live.model.echo import GRADE_OF, SOURCE_OF
from fractal_live.model.repeats import EXACT
from fractal_live.model.unfold import Unfolded, unfold_bar
from fractal_live.music.meter import FOUR_FOUR, TICKS_PER_STEP
from fractal_live.music.notes import Bar
from fractal_live.music.plan import COLUMN, PlanTable, measure, unknown_plan
from fractal_live.music.request import BarRequest, Sampling
from tests.model.material import played
from tests.model.tiny import lively

HEARD = 5
REPEATING = Sampling(echo=100.0)  # so much favour that nothing but an exact echo is drawn


def half_onsets(bars: tuple[Bar, ...]) -> list[int]:
    found = []
    for bar in bars:
        place = [note.onset_tick // TICKS_PER_STEP // HALF_STEPS for note in bar.notes]
        found += [place.count(0), place.count(1)]
    return found


def next_bar(asked: PlanTable, seed: int = 0) -> tuple[tuple[Bar, ...], Unfolded]:
    past = played(HEARD, FOUR_FOUR)
    request = BarRequest(HEARD, past, asked, sampling=REPEATING)
    with torch.inference_mode():
        result = unfold_bar(lively(3), request, torch.Generator().manual_seed(seed))
    assert (GRADE_OF[list(result.echo)] == EXACT).all()
    return past, result


def sources(result: Unfolded) -> list[int]:
    """The half bars that the two of the new bar repeat."""
    return [HEARD * 2 + half + int(SOURCE_OF[echo]) for half, echo in enumerate(result.echo)]


@pytest.mark.parametrize("seed", range(6))
def test_an_exact_repetition_has_as_many_onsets_as_its_source(seed: int) -> None:
    past, result = next_bar(unknown_plan(), seed)
    counts = half_onsets(past)
    first = sources(result)[0]
    assert result.onsets[0] == counts[first]
    second = sources(result)[1]
    assert result.onsets[1] == (counts[second] if second < len(counts) else result.onsets[0])
    assert result.plan[0, COLUMN["density"]] == sum(result.onsets) == len(result.bars[0])


def test_the_row_of_the_plan_becomes_that_of_the_bar_repeated_save_for_tempo_and_density() -> None:
    for seed in range(20):
        past, result = next_bar(unknown_plan(), seed)
        source = sources(result)[0]
        if source % 2 == 0:
            break
    else:
        pytest.fail("no bar is repeated from its beginning")
    own = [COLUMN[name] for name in ("polyphony", "duration", "register", "loudness")]
    np.testing.assert_allclose(result.plan[0, own], measure(past[source // 2])[own], rtol=1e-6)
    with torch.inference_mode():
        tempo = unknown_plan()
        tempo[:, COLUMN["tempo"]] = 77
        _, at_tempo = next_bar(tempo, seed)
    assert at_tempo.plan[0, COLUMN["tempo"]] == 77


@pytest.mark.parametrize("name", ["density", "polyphony", "duration", "register", "loudness"])
def test_what_was_asked_of_a_bar_stays_however_exactly_it_repeats(name: str) -> None:
    asked = unknown_plan()
    asked[:, COLUMN[name]] = {"density": 9, "register": 71, "loudness": 50}.get(name, 2)
    for seed in range(4):
        _, result = next_bar(asked, seed)
        assert result.plan[0, COLUMN[name]] == asked[0, COLUMN[name]]
        assert round(float(result.plan[0, COLUMN["density"]])) == len(result.bars[0])


@pytest.mark.parametrize("echo", [0.0, 4.0, 30.0])
@pytest.mark.parametrize("imagined", [0, 1, 12, 47])
def test_whatever_was_imagined_the_plan_that_is_told_is_the_one_played(imagined: int, echo: float) -> None:
    plan = unknown_plan()
    plan[:, COLUMN["density"]] = imagined
    for seed in range(3):
        request = BarRequest(HEARD, played(HEARD, FOUR_FOUR), plan, sampling=Sampling(echo=echo), asked=unknown_plan())
        with torch.inference_mode():
            result = unfold_bar(lively(3), request, torch.Generator().manual_seed(seed))
        assert result.plan[0, COLUMN["density"]] == sum(result.onsets) == len(result.bars[0])
