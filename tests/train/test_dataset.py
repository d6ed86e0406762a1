"""Batches: a function of the seed, true to the song, blind where the order says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fractal_live.model.batch import Batch, Plans
from fractal_live.model.config import HALF_STEPS, ModelConfig, duration_class, velocity_bin
from fractal_live.model.grid import left_in_half, limit_chords, visible_content
from fractal_live.model.order import band_of
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar, Note, Score
from fractal_live.train.corpus import Song, read_corpus, song_from_score
from fractal_live.train.dataset import MORE_PLANS, Dataset, collate
from tests.model.tiny import CONFIGS, TINY
from tests.train.songs import write_folder

H = 2 * TINY.plan_bars
EVERY_CONFIG = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> list[Song]:
    return read_corpus(write_folder(tmp_path_factory.mktemp("songs")))


@pytest.fixture(scope="module")
def dataset(songs: list[Song]) -> Dataset:
    return Dataset(songs, TINY)


def tensors(batch: Batch | Plans) -> Iterator[tuple[str, Tensor]]:
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Plans):
            yield from tensors(value)
        else:
            yield field.name, value


@EVERY_CONFIG
def test_a_sample_is_a_function_of_the_generators_state(songs: list[Song], config: ModelConfig) -> None:
    dataset = Dataset(songs, config)
    first, again, other = (collate([dataset.draw(np.random.default_rng(seed))]) for seed in (5, 5, 6))
    for (name, a), (_, b) in zip(tensors(first), tensors(again), strict=True):
        assert torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)), name
    assert not torch.equal(first.content, other.content)


@EVERY_CONFIG
def test_a_batch_has_the_shapes_it_says(songs: list[Song], config: ModelConfig) -> None:
    dataset = Dataset(songs, config)
    batch = collate([dataset.draw(np.random.default_rng(seed)) for seed in range(2)])
    T, R, C = 128, 16, 128 * config.pitch_bands
    found = {name: tuple(value.shape) for name, value in tensors(batch) if name not in ("notes", *vars_of(Plans))}
    assert found == {
        "content": (2, T, 3, 128),
        "group": (2, H),
        "order": (2, C),
        "step_in_bar": (2, T),
        "bar_len": (2, T),
        "is_valid": (2, T),
        "bar_of_half": (2, H),
        "chroma": (2, H, 12),
        "echo": (2, H),
        "onsets": (2, H),
        "remaining": (2, C),
        "steps_left": (2, C),
        "plan_given": (2,),
        "texture_given": (2,),
    }
    assert batch.plan.shape == (2, R, 6) and batch.plans.plan.shape == (2 * MORE_PLANS, R, 6)
    assert batch.hidden_cells.shape == (2, R, 6) and batch.plans.noise.shape == (2 * MORE_PLANS, 16)


def vars_of(kind: type[Plans]) -> tuple[str, ...]:
    return tuple(kind.__dataclass_fields__)


@EVERY_CONFIG
def test_what_a_sample_counts_is_what_its_notes_say(songs: list[Song], config: ModelConfig) -> None:
    dataset = Dataset(songs, config)
    for seed in range(4):
        sample = dataset.draw(np.random.default_rng(seed))
        notes, order = (np.asarray(sample[name], dtype=np.int64) for name in ("notes", "order"))
        per_half = len(order) // H
        struck = np.bincount(notes[:, 0], minlength=len(order))
        assert np.asarray(sample["onsets"]).tolist() == struck.reshape(H, -1).sum(1).tolist()
        halves = np.arange(len(order)) // per_half
        for cell in range(0, len(order), 7):
            ahead = (halves == halves[cell]) & (order >= order[cell])
            assert np.asarray(sample["remaining"])[cell] == struck[ahead].sum()
        assert (notes[:, 0] % config.pitch_bands == band_of(config, notes[:, 1])).all()
        onsets = np.asarray(sample["content"])[:, 0]
        assert sorted(map(tuple, np.argwhere(onsets).tolist())) == sorted(
            (int(cell) // config.pitch_bands, int(pitch)) for cell, pitch in notes[:, :2]
        )


def test_a_transposed_crop_is_the_crop_moved(dataset: Dataset) -> None:
    song, group = dataset.songs[0], np.arange(H)
    plain = dataset.sample(song, 0, 0, np.random.default_rng(0), group)
    moved = dataset.sample(song, 0, 3, np.random.default_rng(0), group)
    assert np.array_equal(moved["notes"], np.asarray(plain["notes"], dtype=np.int64) + np.array([0, 3, 0, 0]))
    assert np.array_equal(moved["content"][:, :, 3:], plain["content"][:, :, :-3])
    assert np.array_equal(moved["chroma"], np.roll(plain["chroma"], 3, axis=1))
    assert np.array_equal(moved["echo"], plain["echo"])
    registers = [np.asarray(sample["plan"], dtype=np.float64)[:, 4] for sample in (plain, moved)]
    assert np.nanmax(np.abs(registers[1] - registers[0] - 3 / 60)) < 1e-5


def test_crops_begin_anywhere_and_reach_the_whole_range_of_transpositions(dataset: Dataset) -> None:
    """Of 300 crops each of 11 first bars and 12 shifts is missed with odds below 1e-10."""
    rng = np.random.default_rng(0)
    crops = [dataset._crop(rng)[1:] for _ in range(300)]
    assert {first for first, _ in crops} == set(range(dataset.songs[0].bars - 2 - 8 + 1))
    assert {shift for _, shift in crops} == set(range(-5, 7))


def test_a_bar_begins_at_step_zero_of_its_place_in_every_meter() -> None:
    meters = (FOUR_FOUR, Meter(3, 4), Meter(7, 8), Meter(5, 4))
    bars = tuple(Bar(index, (Note(0, 60, 120, 80), Note(240, 64, 120, 80)), meters[index % 4]) for index in range(16))
    sample = Dataset([song_from_score("meters", Score(bars))], TINY).sample(
        song_from_score("meters", Score(bars)), 0, 0, np.random.default_rng(0)
    )
    step, length, valid = (np.asarray(sample[name]) for name in ("step_in_bar", "bar_len", "is_valid"))
    expected_step, expected_length, expected_valid = [], [], []
    for index in range(8):
        steps = meters[index % 4].steps_per_bar
        padded = -(-steps // HALF_STEPS) * HALF_STEPS
        expected_step += list(range(padded))
        expected_length += [steps] * padded
        expected_valid += [place < steps for place in range(padded)]
    n = len(expected_step)
    assert n >= 128
    assert step.tolist() == expected_step[:128] and length.tolist() == expected_length[:128]
    assert valid.tolist() == expected_valid[:128]
    notes = np.asarray(sample["notes"])
    assert (step[notes[::2, 0]] == 0).all() and (step[notes[1::2, 0]] == 2).all()


def test_content_in_order_of_time_shows_every_note_until_it_ends() -> None:
    notes = np.array([[2, 60, 127, 8], [9, 64, 64, 1]])
    content = visible_content(notes, np.zeros(2, dtype=np.int64), np.arange(16), 16)
    expected = np.zeros((16, 3, 128), dtype=np.float32)
    expected[2, :2, 60] = 1
    expected[2:10, 2, 60] = np.arange(8, 0, -1) / 16
    expected[9, 0, 64], expected[9, 1, 64], expected[9, 2, 64] = 1, 64 / 127, 1 / 16
    assert np.array_equal(content, expected)


def test_a_tie_from_a_half_bar_that_is_opened_later_is_not_drawn() -> None:
    notes = np.array([[2, 60, 127, 12]])
    content = visible_content(notes, np.array([0]), np.concatenate([np.arange(8) + 8, np.arange(8)]), 16)
    assert content[:HALF_STEPS, 2, 60].any()
    assert not content[HALF_STEPS:].any()


def test_what_remains_of_a_half_bar_counts_down_to_nothing() -> None:
    struck = np.bincount([0, 0, 5, 15], minlength=16)
    time = np.tile(np.arange(8), (2, 1))
    assert left_in_half(struck, time).tolist() == [3, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    is_valid = (np.arange(16) < 12).astype(np.int64)
    assert left_in_half(is_valid, time).tolist() == [8, 7, 6, 5, 4, 3, 2, 1, 4, 3, 2, 1, 0, 0, 0, 0]


def test_a_crowded_step_keeps_its_lowest_and_loudest() -> None:
    notes = np.array([[0, 30, 1, 1], [0, 40, 9, 1], [0, 50, 5, 1], [0, 60, 7, 1], [1, 30, 1, 1]])
    assert limit_chords(notes, 3).tolist() == [[0, 30, 1, 1], [0, 40, 9, 1], [0, 60, 7, 1], [1, 30, 1, 1]]


def test_hidden_cells_lie_in_the_horizon_and_every_cell_is_sometimes_hidden_and_sometimes_not(dataset: Dataset) -> None:
    rng = np.random.default_rng(0)
    hidden = np.stack([dataset.draw(rng)["hidden_cells"] for _ in range(200)])
    assert not hidden[:, : TINY.past_bars].any()
    share = hidden[:, TINY.past_bars :].mean(0)
    assert (share > 0.05).all() and (share < 0.95).all()


def test_plans_beside_the_crop_hide_cells_as_well(dataset: Dataset) -> None:
    batch = collate([dataset.draw(np.random.default_rng(seed)) for seed in range(3)])
    assert batch.plans.hidden_cells.any(dim=(1, 2)).float().mean() > 0.8
    assert not batch.plans.hidden_cells[:, : TINY.past_bars].any()
    assert not torch.equal(torch.nan_to_num(batch.plans.plan[0]), torch.nan_to_num(batch.plans.plan[1]))


def test_orders_are_mostly_time_and_sometimes_rounds_or_a_gap(dataset: Dataset) -> None:
    """Of 400 orders 70 % are time; beyond 60 to 80 % has odds below 1e-4."""
    rng = np.random.default_rng(1)
    groups = [dataset._groups(H, rng) for _ in range(400)]
    in_time = np.mean([np.array_equal(group, np.arange(H)) for group in groups])
    assert 0.6 < in_time < 0.8
    assert any(len(np.unique(group)) < H for group in groups), "some open half bars side by side"
    gaps = [group for group in groups if group.max() >= H]
    assert gaps
    for group in gaps:
        gap = group >= H
        assert np.array_equal(group[~gap], np.flatnonzero(~gap)), "what surrounds a gap is known in time"
        assert np.ptp(np.flatnonzero(gap)) == gap.sum() - 1 and gap.sum() >= 2


@EVERY_CONFIG
def test_collated_notes_count_their_cells_through_the_batch(songs: list[Song], config: ModelConfig) -> None:
    dataset = Dataset(songs, config)
    samples = [dataset.draw(np.random.default_rng(seed)) for seed in range(3)]
    batch = collate(samples)
    cells = batch.notes[:, 0]
    assert cells.tolist() == sorted(cells.tolist())
    assert batch.is_valid.repeat_interleave(config.pitch_bands, 1).flatten()[cells].all()
    assert len(batch.notes) == sum(len(sample["notes"]) for sample in samples)


def test_notes_out_of_the_models_range_are_left_out(songs: list[Song]) -> None:
    config = replace(TINY, pitch_low=60, pitch_high=72)
    sample = Dataset(songs, config).sample(songs[0], 0, 0, np.random.default_rng(0))
    assert {60 <= pitch <= 72 for pitch in np.asarray(sample["notes"])[:, 1]} == {True}
    assert not np.asarray(sample["content"])[:, :, :60].any()


def test_a_note_is_told_in_the_classes_that_the_leaf_speaks(songs: list[Song]) -> None:
    dataset = Dataset(songs, TINY)
    sample, song = dataset.sample(songs[0], 2, 0, np.random.default_rng(0)), songs[0]
    own = song.notes[(song.notes[:, 0] >= 32) & (song.notes[:, 0] < 32 + 128)]
    expected = np.stack([own[:, 0] - 32, own[:, 1], velocity_bin(own[:, 2]), duration_class(own[:, 3])], 1)
    assert np.array_equal(sample["notes"], expected)
