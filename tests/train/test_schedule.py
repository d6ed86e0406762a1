"""The rate and the weights of a run, as functions of the step and of the time spent."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fractal_live.train.objective import WEIGHTS, Objective
from fractal_live.train.schedule import TrainSettings, learning_rate_at, lower_weight_at, resolved, share_done

SETTINGS = TrainSettings(steps=100, warmup_steps=10, learning_rate=1.0, floor_share=0.1)


def test_the_rate_warms_up_and_falls_along_a_cosine_to_its_floor() -> None:
    rates = [learning_rate_at(step, share_done(step, 0.0, SETTINGS), SETTINGS) for step in range(101)]
    cosine = [learning_rate_at(10**6, step / 100, SETTINGS) for step in range(101)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 * cosine[step] for step in range(10)])
    assert rates[10:] == cosine[10:]
    assert cosine[0] == 1.0 and cosine[50] == pytest.approx(0.55) and cosine[100] == pytest.approx(0.1)
    assert cosine == sorted(cosine, reverse=True)
    assert [1.1 - rate for rate in reversed(cosine)] == pytest.approx(cosine)


def test_the_default_rate_is_that_of_the_recipe() -> None:
    assert TrainSettings().learning_rate == 1e-4


def test_the_share_is_that_of_the_steps_or_of_the_minutes_whichever_is_further() -> None:
    timed = replace(SETTINGS, minutes=2.0)
    assert [share_done(step, seconds, timed) for step, seconds in ((0, 0), (50, 0), (0, 30), (50, 90), (0, 500))] == [
        0.0,
        0.5,
        0.25,
        0.75,
        1.0,
    ]
    assert share_done(50, 10**6, SETTINGS) == 0.5


def test_the_lower_levels_are_ramped_in_on_a_straight_line() -> None:
    settings = replace(SETTINGS, warmup_levels_steps=20, lower_start=0.1)
    weights = [lower_weight_at(step, settings) for step in range(30)]
    assert weights == pytest.approx([0.1 + 0.9 * step / 20 for step in range(20)] + [1.0] * 10)
    assert {lower_weight_at(step, replace(settings, warmup_levels_steps=0)) for step in range(5)} == {1.0}


def test_the_ramp_is_of_the_notes_and_leaves_the_structure_whole() -> None:
    scaled = Objective().weights_at(0.25)
    notes = {"pitch", "velocity", "duration"}
    assert scaled == {name: value * (0.25 if name in notes else 1.0) for name, value in WEIGHTS.items()}


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"precision": "float8"}, {"warmup_steps": 0}, {"floor_share": 2.0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(SETTINGS, **wrong)


@pytest.mark.parametrize(
    ("device", "able", "expected"),
    [
        ("cpu", {"avx2": True}, "float32"),
        ("cpu", {"avx512_bf16": True}, "bfloat16"),
        ("cpu", {"amx_bf16": True}, "bfloat16"),
        ("cuda:1", {}, "bfloat16"),
    ],
)
def test_the_precision_is_what_the_device_computes_in(
    device: str, able: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    settings = replace(SETTINGS, device=device)
    assert resolved(settings) == replace(settings, precision=expected)
    for chosen in ("float32", "bfloat16"):
        assert resolved(replace(settings, precision=chosen)).precision == chosen
