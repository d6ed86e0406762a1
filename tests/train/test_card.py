"""The card: read back from its Markdown, it says what the record and the config say, and nothing else."""

from __future__ import annotations

import sys
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fractal_live.model.config import ModelConfig
from fractal_live.train.card import DATA_NOTE, model_card
from fractal_live.train.curve import draw_curve
from fractal_live.train.schedule import TrainSettings

SETTINGS = TrainSettings(steps=900, seed=7, precision="float32", warmup_levels_steps=50, learning_rate=1e-3)
LEVELS = {
    "levels": (
        {"seq_len": 32, "embed_dim": 128, "num_blocks": 3, "num_heads": 4, "generator": "mar", "compressed_dim": 64},
        {"seq_len": 512, "embed_dim": 192, "num_blocks": 2, "num_heads": 6, "generator": "ar", "compressed_dim": 96},
    ),
    "leaf": {"kind": "lstm", "embed_dim": 48, "num_blocks": 1, "num_heads": 2},
    "dropout": 0.2,
    "step_dim": 96,
}


def record(**changes: Any) -> dict[str, Any]:
    history = [
        {"step": 450, "minutes": 5.0, "rate": 5e-4, "train_pitch": 3.0, "valid_pitch": 2.5, "valid_bits_per_note": 8.0},
        {"step": 900, "minutes": 9.9, "rate": 2e-5, "train_pitch": 2.0, "valid_pitch": 1.5, "valid_bits_per_note": 7.0},
    ]
    made = {
        "settings": asdict(SETTINGS),
        "weights": {"pitch": 1.0, "plan": 0.5},
        "songs": 714,
        "ranks": 1,
        "step": 900,
        "minutes": 9.9,
        "origin": None,
        "history": history,
    }
    return made | changes


def section(card: str, title: str) -> str:
    return card.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0].strip()


def rows(card: str, title: str) -> list[list[str]]:
    """The cells of a section's table, its head first."""
    lines = [line for line in section(card, title).splitlines() if line.startswith("|")]
    assert set(lines[1]) <= set("|- "), lines
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]
    assert {len(row) for row in cells} == {len(cells[0])}
    return cells


def test_the_recipe_is_that_of_the_record() -> None:
    recipe = dict(rows(model_card("live", LEVELS, 10**6, record()), "Recipe")[1:])
    assert recipe == {
        "steps": "900 of 900",
        "batch": "4 crops",
        "time": "10 minutes on one CPU thread",
        "seed": "7",
        "began from": "random weights",
        "optimiser": "AdamW (0.9, 0.95), weight decay 0.05 on matrices, gradients clipped to 1.0",
        "rate": "0.001: 200 steps of warm-up, a half cosine to 2% of it",
        "levels": "the notes' losses rise from 0.1 to 1 of their weight over the first 50 steps, "
        "those of the levels above are whole from the start",
        "averaging": "weights averaged with decay 0.999",
        "precision": "float32",
        "loss weights": "pitch 1, plan 0.5",
        "dropout": "dropout 0.2",
    }


@pytest.mark.parametrize(
    ("device", "threads", "ranks", "shown"),
    [
        ("cpu", 1, 1, "10 minutes on one CPU thread"),
        ("cpu", 3, 1, "10 minutes on 3 CPU threads"),
        ("cpu", 1, 2, "10 minutes on 2 processes of one CPU thread"),
        ("cuda:0", 1, 1, "10 minutes on one GPU"),
        ("cuda:0", 1, 4, "10 minutes on 4 GPUs"),
    ],
)
def test_the_machine_is_named_by_its_kind(device: str, threads: int, ranks: int, shown: str) -> None:
    made = record(settings=asdict(SETTINGS) | {"device": device, "threads": threads}, ranks=ranks)
    recipe = dict(rows(model_card("live", LEVELS, 1, made), "Recipe")[1:])
    assert recipe["time"] == shown
    assert recipe["batch"] == ("4 crops" if ranks == 1 else f"4 crops on each of {ranks} devices")


def test_a_run_bounded_by_minutes_and_begun_elsewhere_says_so() -> None:
    origin = {
        "checkpoint": "live",
        "steps": 8800,
        "minutes": 120.3,
        "taken": 40,
        "new": ["echo.a", "echo.b"],
        "left": [],
    }
    made = record(settings=asdict(SETTINGS) | {"minutes": 10.0, "warmup_levels_steps": 0}, origin=origin)
    recipe = dict(rows(model_card("live", LEVELS, 1, made), "Recipe")[1:])
    assert recipe["steps"] == "900 (bounded by 10 minutes, or 900 steps)"
    assert recipe["began from"] == "`live` (8800 steps, 120 minutes before), 40 tensors taken, new: echo.a, echo.b"
    assert recipe["levels"] == "all from the start"


def test_many_new_tensors_are_counted_by_their_part() -> None:
    new = [f"leaf.{place}" for place in range(9)] + ["echo.a", "echo.b", "echo.c", "start"]
    origin = {"checkpoint": "live", "steps": 1, "minutes": 2.0, "taken": 4, "new": new, "left": []}
    recipe = dict(rows(model_card("live", LEVELS, 1, record(origin=origin)), "Recipe")[1:])
    assert recipe["began from"].endswith("4 tensors taken, new: 9 of leaf, 3 of echo, 1 of start")


def test_levels_are_shown_whether_listed_or_named() -> None:
    assert rows(model_card("live", LEVELS, 1, record()), "Levels") == [
        ["level", "tokens", "width", "blocks", "heads", "generator", "kind", "handed down"],
        ["0", "32", "128", "3", "4", "mar", "", "64"],
        ["1", "512", "192", "2", "6", "ar", "", "96"],
        ["leaf", "", "48", "1", "2", "", "lstm", ""],
    ]
    named = {"structure": LEVELS["levels"][0], "width": 8}  # type: ignore[index]
    assert [row[0] for row in rows(model_card("live", named, 1, record()), "Levels")] == ["level", "structure"]
    assert "## Levels" not in model_card("rival", {"width": 8}, 1, record())


def test_the_default_config_has_its_levels_on_the_card() -> None:
    table = rows(model_card("live", ModelConfig().as_dict(), 1, record()), "Levels")
    assert len(table) == 1 + 5 and table[-1][0] == "leaf"


def test_the_curve_is_the_history_bits_last() -> None:
    assert rows(model_card("live", LEVELS, 1, record()), "Loss curve") == [
        ["step", "valid pitch", "valid bits per note"],
        ["450", "2.500", "8.000"],
        ["900", "1.500", "7.000"],
    ]


def test_the_curve_of_a_run_without_held_out_songs_is_that_of_its_own() -> None:
    history = [{"step": 450, "rate": 1.0, "train_pitch": 3.0}]
    assert rows(model_card("live", LEVELS, 1, record(history=history)), "Loss curve") == [
        ["step", "train pitch"],
        ["450", "3.000"],
    ]
    assert "No step was measured." in model_card("live", LEVELS, 1, record(history=[]))


def test_a_long_curve_is_thinned_evenly_and_keeps_its_end() -> None:
    history = [{"step": 10 * (place + 1), "valid_pitch": 1.0} for place in range(1000)]
    steps = [int(row[0]) for row in rows(model_card("live", LEVELS, 1, record(history=history)), "Loss curve")[1:]]
    assert len(steps) <= 24 and steps[-1] == 10_000
    assert len({after - before for before, after in pairwise(steps)}) == 1


def test_figures_stand_beside_what_must_and_should_be_reached() -> None:
    table: dict[str, dict[str, float | str | None]] = {
        "onsets, divergence": {"must": 0.05, "aim": 0.02, "reached": 0.0312},
        "scale consistency": {"aim": ">= 0.95", "reached": 0.968},
        "repeats": {"must": None, "reached": 3},
    }
    card = model_card("live", LEVELS, 1, record(), evaluation={"What it invents": table}, weaknesses="It is shy. ")
    assert rows(card, "What it invents") == [
        ["", "must", "aim", "reached"],
        ["onsets, divergence", "0.050", "0.020", "0.031"],
        ["scale consistency", "", ">= 0.95", "0.968"],
        ["repeats", "", "", "3"],
    ]
    assert section(card, "Known weaknesses") == "It is shy."


def test_the_card_says_what_it_is_of_and_under_what_licence() -> None:
    card = model_card("live", LEVELS, 6_290_000, record())
    assert card.startswith("# live\n\n6.29 million parameters. ")
    assert section(card, "Data") == f"{DATA_NOTE} 714 songs."
    assert "licence" in DATA_NOTE


@pytest.mark.slow
def test_the_curve_is_drawn_where_matplotlib_is(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the picture is optional")
    assert draw_curve(record()["history"], tmp_path / "model.png")
    assert (tmp_path / "model.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert not draw_curve([], tmp_path / "nothing.png") and not (tmp_path / "nothing.png").exists()


def test_without_matplotlib_there_is_no_picture_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert not draw_curve(record()["history"], tmp_path / "model.png")
    assert list(tmp_path.iterdir()) == []
