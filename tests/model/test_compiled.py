"""The compiled arithmetic: its functions are what they stand for, and all of it is compiled before a set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch

from fractal_live.model import chord, compiled, lean, lean_canvas, lean_structure, lengths, pitch, sampling
from fractal_live.model.checkpoint import save
from fractal_live.model.engine import Engine
from fractal_live.model.lean import arrays, pack
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.plan import unknown_plan
from fractal_live.music.request import BarRequest, Sampling
from tests.model.material import dense, played
from tests.model.tiny import lively


def test_what_can_be_kept_nowhere_is_compiled_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_folder(cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available for file")
        return numba.njit(**options)

    monkeypatch.setattr(compiled, "njit", no_folder)
    doubled = compiled.compiled(lambda x: x * 2)
    assert doubled(21) == 42 and len(doubled.signatures) == 1


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (compiled.gelu, torch.nn.functional.gelu),
        (compiled.gelu_tanh, lambda x: torch.nn.functional.gelu(x, approximate="tanh")),
        (lambda x: compiled.exponential(x, np.empty(len(x), dtype=np.int32)), torch.exp),
    ],
    ids=["gelu", "gelu by tanh", "exponential"],
)
def test_polynomials_are_the_functions_they_stand_for(ours: Any, theirs: Any) -> None:
    x = np.linspace(-80, 10, 90001, dtype=np.float32)
    expected = theirs(torch.from_numpy(x.astype(np.float64))).numpy()
    ours(x)
    np.testing.assert_allclose(x, expected, rtol=2e-7, atol=2e-6)


def test_what_is_masked_weighs_nothing() -> None:
    x = np.array([-np.inf, -1000, 0], dtype=np.float32)
    compiled.exponential(x, np.empty(3, dtype=np.int32))
    assert x[:2].max() < 1e-37
    assert x[2] == 1


@pytest.mark.parametrize("tokens", [1, 2, 7, compiled.MANY, 33])
def test_packed_lines_are_the_layer_to_a_sixteenth_bit_of_its_largest_weight(tokens: int) -> None:
    layer = torch.nn.Linear(37, 21)
    layer.weight.data[3] = 0
    x = torch.randn(tokens, 37, generator=torch.Generator().manual_seed(0))
    expected = layer(x).detach()
    assert np.allclose(lean.Lines(layer)(x.numpy()), expected, atol=2e-6)
    pack(layer)
    weight, scale, _ = arrays(layer)
    assert weight.dtype == np.int16 and abs(weight).max() == lean.STEPS
    allowed = x.abs().sum(1, keepdim=True).numpy() * scale / 2 + 2e-6
    assert (np.abs(lean.Lines(layer)(x.numpy()) - expected.numpy()) <= allowed).all()


def test_after_the_warm_up_nothing_is_left_to_be_compiled(tmp_path: Path) -> None:
    """A function that met other arguments in the middle of a set would take a second."""
    save(lively(4), tmp_path / "small.safetensors", {})
    engine = Engine(tmp_path / "small.safetensors", "cpu")

    def forms() -> dict[str, int]:
        modules = (chord, compiled, lean_canvas, lean_structure, lengths, pitch, sampling)
        every = {name: made for module in modules for name, made in vars(module).items()}
        return {name: len(made.signatures) for name, made in every.items() if hasattr(made, "signatures")}

    engine.warm_up()
    warm = forms()
    assert warm["block"] and warm["_tilt"] and warm["_chosen"] and warm["_add_returns"]
    past = played(3)
    for index, (asked, meter, drawn_as) in enumerate(
        (
            (unknown_plan(), FOUR_FOUR, Sampling()),
            (dense(40), Meter(7, 8), Sampling(cfg_scale=1.5, mask_p=0.2)),
            (dense(0), FOUR_FOUR, Sampling(temperature=2, top_p=1, mask_k=2)),
        )
    ):
        engine.bar(BarRequest(index, past, asked, latent_gain=0.5, meter=meter, sampling=drawn_as))
        engine.bar(
            BarRequest(
                index, (), asked, chroma=np.ones((-(-meter.steps_per_bar // 8), 12), dtype=np.float32), meter=meter
            )
        )
    assert forms() == warm
