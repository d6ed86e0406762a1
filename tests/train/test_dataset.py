"""Batches: a function of the seed, true to the song, blind where the order says so."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from fractal_live.model.config import HALF_STEPS
from fractal_live.model.grid import limit_chords, remaining_onsets, steps_left, visible_content
from fractal_live.train.corpus import read_corpus
from fractal_live.train.dataset import Dataset, batches, collate
from tests.model.tiny import TINY
from tests.train.songs import write_folder

CONFIG = replace(TINY, plan_bars=8, past_bars=8)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(read_corpus(write_folder(tmp_path)), CONFIG, crop_bars=8)


def test_a_batch_depends_on_the_seed_and_its_number_alone(dataset: Dataset) -> None:
    whole = list(islice(batches(dataset, 2, seed=5), 4))
    resumed = list(islice(batches(dataset, 2, seed=5, first_step=2), 2))
    other = next(batches(dataset, 2, seed=6))
    for field in fields(whole[0]):
        for a, b in zip(whole[2:], resumed, strict=True):
            assert torch.equal(torch.nan_to_num(getattr(a, field.name)), torch.nan_to_num(getattr(b, field.name)))
    assert not torch.equal(whole[0].content, other.content)


def test_a_transposed_crop_is_the_crop_moved(dataset: Dataset) -> None:
    song = dataset.songs[0]
    order = np.arange(16)
    plain = dataset.sample(song, 0, 0, np.random.default_rng(0), order)
    moved = dataset.sample(song, 0, 3, np.random.default_rng(0), order)
    assert (moved["notes"] - plain["notes"] == [0, 3, 0, 0]).all()
    assert np.array_equal(moved["content"][:, :, 3:], plain["content"][:, :, :-3])
    assert np.array_equal(moved["chroma"], np.roll(plain["chroma"], 3, axis=1))


def test_content_in_order_of_time_shows_every_note_until_it_ends() -> None:
    notes = np.array([[2, 60, 127, 8], [9, 64, 64, 1]])
    content = visible_content(notes, np.arange(2), 16)
    expected = np.zeros((16, 3, 128), dtype=np.float32)
    expected[2, :2, 60] = 1
    expected[2:10, 2, 60] = np.arange(8, 0, -1) / 16
    expected[9, 0, 64], expected[9, 1, 64], expected[9, 2, 64] = 1, 64 / 127, 1 / 16
    assert np.array_equal(content, expected)


def test_a_tie_from_a_half_bar_that_is_opened_later_is_not_drawn() -> None:
    notes = np.array([[2, 60, 127, 12]])
    content = visible_content(notes, np.array([1, 0]), 16)
    assert content[:HALF_STEPS, 2, 60].any()
    assert not content[HALF_STEPS:].any()


def test_what_remains_of_a_half_bar_counts_down_to_nothing() -> None:
    notes = np.array([[0, 60, 1, 1], [0, 64, 1, 1], [5, 60, 1, 1], [15, 60, 1, 1]])
    assert remaining_onsets(notes, 16).tolist() == [3, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    is_valid = np.arange(16) < 12
    assert steps_left(is_valid).tolist() == [8, 7, 6, 5, 4, 3, 2, 1, 4, 3, 2, 1, 0, 0, 0, 0]


def test_a_crowded_step_keeps_its_lowest_and_loudest() -> None:
    notes = np.array([[0, 30, 1, 1], [0, 40, 9, 1], [0, 50, 5, 1], [0, 60, 7, 1], [1, 30, 1, 1]])
    assert limit_chords(notes, 3).tolist() == [[0, 30, 1, 1], [0, 40, 9, 1], [0, 60, 7, 1], [1, 30, 1, 1]]


def test_hidden_cells_lie_in_the_horizon_and_every_cell_is_sometimes_hidden_and_sometimes_not(dataset: Dataset) -> None:
    rng = np.random.default_rng(0)
    hidden = np.stack([dataset.draw(rng)["hidden_cells"] for _ in range(200)])
    assert not hidden[:, : CONFIG.past_bars].any()
    share = hidden[:, CONFIG.past_bars :].mean(0)
    assert (share > 0.05).all() and (share < 0.95).all()


def test_collated_notes_count_their_steps_through_the_batch(dataset: Dataset) -> None:
    samples = [dataset.draw(np.random.default_rng(seed)) for seed in range(3)]
    batch = collate(samples)
    assert batch.notes[:, 0].tolist() == sorted(batch.notes[:, 0].tolist())
    assert batch.is_valid.flatten()[batch.notes[:, 0]].all()
    assert len(batch.notes) == sum(len(sample["notes"]) for sample in samples)
