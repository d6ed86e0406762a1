"""The shape of a model: what the shipped file says is the default, and travels unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fractal_live.model.config import (
    DURATIONS,
    ModelConfig,
    chroma_level,
    duration_class,
    velocity_bin,
    velocity_of_bin,
)
from fractal_live.settings import read_table

SHIPPED = Path(__file__).parent.parent.parent / "config" / "model" / "live.toml"


def test_the_shipped_shape_is_the_default() -> None:
    assert ModelConfig.from_dict(read_table(SHIPPED)) == ModelConfig()


def test_a_shape_survives_json() -> None:
    assert ModelConfig.from_dict(json.loads(json.dumps(ModelConfig().as_dict()))) == ModelConfig()


def test_every_duration_is_its_own_class_and_others_go_to_the_nearest() -> None:
    assert [DURATIONS[index] for index in duration_class(np.array(DURATIONS))] == list(DURATIONS)
    assert [DURATIONS[index] for index in duration_class(np.array([17, 19, 22, 50, 1000]))] == [16, 20, 20, 48, 64]


def test_the_middle_of_a_velocity_bin_lies_in_it() -> None:
    bins = np.arange(32)
    assert velocity_bin(np.array([velocity_of_bin(int(index)) for index in bins])).tolist() == bins.tolist()
    assert velocity_bin(np.array([1, 127])).tolist() == [0, 31]


def test_chroma_has_four_levels() -> None:
    assert chroma_level(np.array([0, 0.01, 0.3, 0.6, 1], dtype=np.float32)).tolist() == [0, 1, 2, 3, 3]
