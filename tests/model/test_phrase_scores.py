"""What is decided about half bars is scored in numpy as the modules score it that are trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fractal_live.model.balance import HARMONY_LAGS, earlier_harmony
from fractal_live.model.config import ECHOES, MAX_HALF_ONSETS
from fractal_live.model.echo import allowed_echoes, can_source, echo_before, run_before
from fractal_live.model.phrase import PhraseHeads, Source
from fractal_live.model.phrase_scores import PhraseScores, before

DIM, HALVES, BRANCHES = 24, 70, 2


@pytest.fixture(params=["in time", "in rounds"])
def piece(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    """Half bars with runs of echoes of one distance, some of them empty."""
    rng = np.random.default_rng(5)
    group = np.arange(HALVES) if request.param == "in time" else rng.integers(0, 4, HALVES)
    return {
        "group": group,
        "echo": np.repeat(rng.integers(0, 9, HALVES // 5), 5),
        "chroma": rng.integers(0, 4, (HALVES, 12)),
        "onsets": rng.integers(0, 3, HALVES) * MAX_HALF_ONSETS // 2,
    }


def lively_heads() -> PhraseHeads:
    """Heads of which no weight is zero."""
    torch.manual_seed(3)
    heads = PhraseHeads(DIM).eval()
    with torch.no_grad():
        balance = heads.balance
        for weight in (*heads.parameters(), balance.lags, balance.foreign, balance.lasting):
            weight.normal_(std=0.5)
    return heads


def close(found: np.ndarray, expected: torch.Tensor) -> bool:
    return np.allclose(found, expected.detach().numpy(), atol=2e-5, rtol=1e-4)


def test_what_half_bars_know_of_those_before_is_what_the_modules_are_told(piece: dict[str, np.ndarray]) -> None:
    halves = np.random.default_rng(0).permutation(HALVES)[:40]
    group, echo, chroma = (torch.from_numpy(piece[name]) for name in ("group", "echo", "chroma"))
    found = before(halves, piece["group"], piece["echo"], piece["chroma"], piece["onsets"] > 0)
    allowed = allowed_echoes(can_source(group, torch.from_numpy(piece["onsets"] > 0)))
    for own, expected in (
        (found.allowed, allowed),
        (found.echo, echo_before(echo, group)),
        (found.run, run_before(echo, group)),
    ):
        assert own.tolist() == expected[halves].tolist()
    assert close(found.harmony, earlier_harmony(chroma, group)[halves])


def test_decisions_are_scored_as_the_heads_score_them(piece: dict[str, np.ndarray]) -> None:
    heads, rng = lively_heads(), np.random.default_rng(1)
    scores, halves = PhraseScores(heads), np.arange(20, 60)
    known = before(halves, piece["group"], piece["echo"], piece["chroma"], piece["onsets"] > 0)
    hidden = rng.standard_normal((BRANCHES, len(halves), DIM)).astype(np.float32)
    is_free, chosen = rng.random(len(halves)) < 0.5, rng.integers(0, ECHOES, len(halves))
    held, onsets, drawn = piece["chroma"][halves - 20], piece["onsets"][halves - 20], piece["chroma"][halves]
    there = [torch.from_numpy(values) for values in (chosen, held, onsets, known.harmony)]
    states, told = torch.from_numpy(hidden), [torch.from_numpy(own) for own in (known.allowed, known.echo, known.run)]
    assert close(scores.echoes(hidden, known, is_free), heads.echo_scores(states, *told, torch.from_numpy(is_free)))
    expected = heads.chroma_scores(states, torch.from_numpy(drawn).expand(BRANCHES, -1, -1), Source(*there))
    harmony = scores.harmony(hidden, known, chosen, held)
    for pitch_class in range(12):
        assert close(scores.pitch_class(harmony, pitch_class, drawn), expected[:, :, pitch_class])
    assert close(scores.counts(hidden, chosen, onsets), heads.count_scores(states, Source(*there)))
    assert known.harmony.shape == (len(halves), len(HARMONY_LAGS) + 1, 12)
