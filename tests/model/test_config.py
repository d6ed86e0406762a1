"""The shape of a model: what ships can be built and plays, what cannot be built is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fractal_live.model.config import (
    DEFAULT_LEVELS,
    DURATIONS,
    ConfigError,
    LeafConfig,
    LevelConfig,
    ModelConfig,
    chroma_level,
    duration_class,
    velocity_bin,
    velocity_of_bin,
)
from fractal_live.model.fractal import Fractal
from fractal_live.model.unfold import unfold_bar, unfold_piece
from fractal_live.music.plan import COLUMN
from fractal_live.music.request import BarRequest, Sampling
from fractal_live.toml_values import read_table
from tests.model.material import dense
from tests.model.tiny import CONFIGS, shape

FOLDER = Path(__file__).parent.parent.parent / "config" / "model"
SHIPPED = sorted(FOLDER.glob("*.toml"))
MOST_PLAYED = 20_000_000
"""Parameters; a larger model is built, but too slow to be played in a test."""


def test_what_is_said_to_ship_ships() -> None:
    names = {path.stem for path in SHIPPED}
    assert {"live", "fractal-all-mar", "fractal-all-ar", "hybrid-large", "widths-128", "widths-512"} <= names


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_shape_can_be_built_and_makes_a_bar(path: Path) -> None:
    config = ModelConfig.from_dict(read_table(path))
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in Fractal(config).parameters())
    if size > MOST_PLAYED:
        return
    request = BarRequest(0, plan=dense(7))
    request.plan[:2] = float("nan")
    request.plan[0, COLUMN["density"]] = 7
    with torch.inference_mode():
        result = unfold_bar(Fractal(config).eval(), request, torch.Generator().manual_seed(0))
    assert len(result.bars[0]) == 7


def test_the_generators_of_the_shipped_shapes_are_what_their_names_say() -> None:
    def kinds(name: str) -> set[str]:
        return {level.generator for level in ModelConfig.from_dict(read_table(FOLDER / f"{name}.toml")).levels}

    assert kinds("fractal-all-mar") == {"mar"} and kinds("fractal-all-ar") == {"ar"}
    assert kinds("hybrid-large") == {"mar", "ar"}
    for width in (128, 512):
        assert ModelConfig.from_dict(read_table(FOLDER / f"widths-{width}.toml")).levels[-1].seq_len == width


def test_the_default_shape_is_the_shipped_one() -> None:
    shipped = ModelConfig.from_dict(read_table(FOLDER / "live.toml"))
    assert replace(shipped, dropout=0.0) == ModelConfig()


@pytest.mark.parametrize("config", [ModelConfig(), *CONFIGS.values()])
def test_a_shape_survives_json(config: ModelConfig) -> None:
    assert ModelConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config


@pytest.mark.parametrize("width", [128, 256, 512, 1024])
def test_every_width_of_crop_has_its_levels(width: int) -> None:
    lengths = (width // 16, width // 8, width // 4, width)
    levels = tuple(replace(level, seq_len=length) for level, length in zip(DEFAULT_LEVELS, lengths, strict=True))
    config = ModelConfig(levels=levels)
    assert config.spans == (16, 8, 4, 1) and config.plan_bars == width // 16


@pytest.mark.parametrize("bars", [1, 3, 11])
def test_a_piece_is_as_long_as_its_plan_whatever_the_crop_was(bars: int) -> None:
    model = Fractal(shape("mmaa")).eval()
    with torch.inference_mode():
        chance = torch.Generator().manual_seed(0)
        result = unfold_piece(model, dense(3, bars), Sampling(iterations=2), chance, (0.0,) * 16, 0.0)
    assert [len(bar) for bar in result.bars] == [3] * bars


def lengths(*seq_lens: int) -> dict[str, Any]:
    return {"levels": tuple(LevelConfig(length, 32, 1, 2, "mar") for length in seq_lens)}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (lengths(32, 64), r"\[32, 64\].*at least three"),
        (lengths(), r"\[\].*at least three"),
        (lengths(32, 64, 0), "at least three"),
        (lengths(32, 64, 256), "8.0, 4.0, 1.0"),
        (lengths(32, 128, 512), "half bar"),
        (lengths(32, 64, 100, 512), "5.12"),
        (lengths(32, 64, 512, 512), r"1\.0, 1\.0"),
        (lengths(32, 64, 256, 128, 512), r"2\.0, 4\.0"),
        (lengths(32, 64, 128, 128, 512), r"4\.0, 4\.0"),
        (lengths(64, 32, 512), "8.0, 16.0"),
        ({"scan_order": "diagonal"}, "diagonal.*column_major, row_major"),
        ({"pitch_bands": 0}, "pitch_bands is 0.*1 to 8"),
        ({"pitch_bands": 9}, "pitch_bands is 9.*1 to 8"),
        ({"pitch_low": 90, "pitch_high": 60}, "90 to 60.*0 to 127"),
        ({"pitch_low": -1}, "-1 to 127"),
        ({"pitch_high": 128}, "0 to 128"),
        ({"pitch_low": 60, "pitch_high": 60}, "low below high"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dropout": -0.1}, "dropout is -0.1"),
    ],
    ids=str,
)
def test_a_shape_that_cannot_be_built_is_refused_with_what_is_allowed(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ModelConfig(**values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"generator": "gan"}, "'gan'.*mar, ar"),
        ({"embed_dim": 30, "num_heads": 4}, "30.*multiple of 2 x num_heads 4"),
        ({"num_heads": 0}, "num_heads 0"),
    ],
)
def test_a_level_that_cannot_be_built_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(LevelConfig(32, 32, 1, 2, "ar"), **values)


def test_a_leaf_that_cannot_be_built_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'gru'.*transformer, lstm"):
        LeafConfig("gru")
    with pytest.raises(ConfigError, match="multiple"):
        LeafConfig(embed_dim=10, num_heads=4)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"flavour": 1}, "flavour.*known.*pitch_bands"),
        ({"levels": [{"seq_len": 32, "colour": 3}]}, "colour"),
        ({"levels": [{"seq_len": 32}]}, "missing"),
        ({"leaf": {"colour": 3}}, "colour"),
    ],
    ids=str,
)
def test_unknown_and_missing_keys_are_refused_by_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ModelConfig.from_dict(values)


def test_every_duration_is_its_own_class_and_others_go_to_the_nearest() -> None:
    assert [DURATIONS[index] for index in duration_class(np.array(DURATIONS))] == list(DURATIONS)
    assert [DURATIONS[index] for index in duration_class(np.array([17, 19, 22, 50, 1000]))] == [16, 20, 20, 48, 64]


def test_the_middle_of_a_velocity_bin_lies_in_it() -> None:
    bins = np.arange(32)
    assert velocity_bin(np.array([velocity_of_bin(int(index)) for index in bins])).tolist() == bins.tolist()
    assert velocity_bin(np.array([1, 127])).tolist() == [0, 31]


def test_every_velocity_comes_back_within_two() -> None:
    velocities = np.arange(1, 128)
    back = np.array([velocity_of_bin(int(index)) for index in velocity_bin(velocities)])
    assert np.abs(back - velocities).max() == 2 and abs((back - velocities).mean()) < 0.51, "no bias to speak of"


def test_chroma_has_four_levels() -> None:
    assert chroma_level(np.array([0, 0.01, 0.3, 0.6, 1], dtype=np.float32)).tolist() == [0, 1, 2, 3, 3]
