"""Windows of tokens: a function of the seed, true to the song; and a run that learns from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fractal_live.baselines.event_checkpoint import load
from fractal_live.baselines.events import MOST_NOTES_PER_STEP, PITCHES, quantised, tokens_from_notes, vocabulary
from fractal_live.model.config import BAR_STEPS, HALF_STEPS
from fractal_live.model.grid import IntArray
from fractal_live.music.meter import Meter
from fractal_live.music.notes import Bar, Note, Score
from fractal_live.train.corpus import Song, read_corpus, song_from_score
from fractal_live.train.dataset import ENDING_BARS, Dataset
from fractal_live.train.event_dataset import (
    EVENT_OBJECTIVE,
    LOSSES,
    EventDataset,
    collate_events,
    comparable_crops,
    crop_tokens,
    event_task,
    event_validation,
    song_tokens,
    transposed,
    window,
)
from fractal_live.train.loop import Trainer
from fractal_live.train.schedule import TrainSettings
from fractal_live.train.task import validated
from tests.baselines.small import SMALL, needs_miditok
from tests.model.tiny import TINY, TINY_BARS
from tests.train.songs import write_folder

needs_miditok()


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> list[Song]:
    return read_corpus(write_folder(tmp_path_factory.mktemp("songs")))


def pitches(tokens: IntArray) -> IntArray:
    first = vocabulary().pitch
    return tokens[(tokens >= first) & (tokens < first + PITCHES)] - first


def test_a_window_depends_on_the_generator_alone(songs: list[Song]) -> None:
    dataset = EventDataset(songs, SMALL)
    one, same, other = (dataset.draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_every_window_is_full_and_goes_on_from_a_bar_line_of_its_song_transposed(songs: list[Song]) -> None:
    dataset = EventDataset(songs, replace(SMALL, context=128))
    words = vocabulary()
    found = set()
    for seed in range(20):
        drawn = dataset.draw(np.random.default_rng(seed))
        assert len(drawn) == 129 and drawn[0] == words.begin and drawn[1] == words.bar
        places = [
            (index, shift)
            for index, song in enumerate(dataset.songs)
            for low in song.bars[:-1]
            for shift in range(-5, 7)
            if np.array_equal(transposed(song.tokens[low:], shift)[:128], drawn[1:])
        ]
        assert places
        found.add(places[0])
    assert len(found) > 10


def test_a_song_s_tokens_are_its_notes_all_but_the_ending(songs: list[Song]) -> None:
    song = songs[0]
    tokens = song_tokens(song)
    end = song.bar_start[song.bars - ENDING_BARS]
    kept = quantised(song.notes[song.notes[:, 0] < end])
    assert np.array_equal(pitches(tokens), kept[:, 1])
    assert (tokens == vocabulary().bar).sum() == song.bars - ENDING_BARS + 1


def test_a_transposition_keeps_within_the_keyboard() -> None:
    """A song that spans every pitch cannot be moved; one at the top only down."""
    full = Bar(0, tuple(Note(480 * (pitch > 60), pitch, 120, 64) for pitch in (0, 127)))
    high = Bar(0, (Note(0, 127, 120, 64), Note(480, 100, 120, 64)))
    for bar, allowed in ((full, {0}), (high, set(range(-5, 1)))):
        song = song_from_score("edge", Score(tuple(bar.moved_to(index) for index in range(10))))
        dataset = EventDataset([song], SMALL)
        lowest = int(pitches(dataset.songs[0].tokens).min())
        moves = {int(pitches(dataset.draw(np.random.default_rng(seed))).min()) - lowest for seed in range(60)}
        assert moves == allowed


def test_a_short_song_is_padded() -> None:
    words = vocabulary()
    assert window(np.array([words.bar, words.bar]), 5).tolist() == [words.begin, words.bar, words.bar, 0, 0]
    assert window(np.array([words.bar, 9, 9, 9, 9]), 3).tolist() == [words.begin, words.bar, 9]


def test_collated_windows_keep_their_order(songs: list[Song]) -> None:
    dataset = EventDataset(songs, SMALL)
    samples = [dataset.draw(np.random.default_rng(seed)) for seed in range(3)]
    assert torch.equal(collate_events(samples).tokens, torch.tensor(np.stack(samples)))


def irregular(name: str, lengths: list[int]) -> Song:
    bars = [
        Bar(index, tuple(Note(0, 60 + k, 120, 64) for k in range(12)), Meter(length, 16))
        for index, length in enumerate(lengths)
    ]
    return song_from_score(name, Score(tuple(bars)))


def test_comparable_crops_are_full_bars_side_by_side_outside_the_ending() -> None:
    lengths = [16] * 3 + [8] + [16] * 9 + [20] + [16] * 7
    found = comparable_crops([irregular("a", lengths), irregular("b", [16] * 6)], bars=4)
    assert [(crop.song.name, crop.first_bar) for crop in found] == [("a", 4), ("a", 8), ("a", 14), ("b", 0)]
    few = comparable_crops([irregular("a", lengths)], bars=4, count=2)
    assert [crop.first_bar for crop in few] == [4, 8]


def test_a_crop_says_as_many_notes_as_the_fractal_would() -> None:
    [crop] = comparable_crops([irregular("a", [8] + [16] * 6)], bars=4)
    tokens = crop_tokens(crop)
    assert len(pitches(tokens)) == 4 * MOST_NOTES_PER_STEP
    assert (tokens == vocabulary().bar).sum() == 5


def test_a_crop_s_tokens_say_the_very_notes_that_the_fractal_is_given(songs: list[Song]) -> None:
    fractal = Dataset(songs, TINY)
    for crop in comparable_crops(songs, bars=TINY_BARS):
        time_order = np.arange(fractal.steps // HALF_STEPS)
        sample = fractal.sample(crop.song, crop.first_bar, 0, np.random.default_rng(0), time_order)
        starts = range(0, TINY_BARS * BAR_STEPS, BAR_STEPS)
        assert np.array_equal(crop_tokens(crop), tokens_from_notes(np.asarray(sample["notes"]), starts))


def test_long_bars_become_several() -> None:
    tokens = song_tokens(irregular("a", [20, 40]), 0, 2)
    assert (tokens == vocabulary().bar).sum() == -(-20 // BAR_STEPS) + -(-40 // BAR_STEPS) + 1


@pytest.mark.slow
def test_a_run_learns_and_leaves_a_checkpoint_that_costs_what_it_measured(songs: list[Song], tmp_path: Path) -> None:
    """False alarms: none; seeds are fixed, and thirty steps take more than a bit off a note."""
    dataset = EventDataset(songs, SMALL)
    settings = TrainSettings(
        steps=30, batch_size=4, learning_rate=1e-2, warmup_steps=3, ema_decay=0.8, validate_every=10
    )
    trainer = Trainer(event_task(SMALL, dataset, 0), settings, tmp_path)
    held = event_validation(dataset, count=3, batch_size=2)
    reports = list(trainer.run(held))
    measured = [report.held_out for report in reports if report.held_out]
    assert [set(figures.losses) for figures in measured] == [set(LOSSES)] * 3
    bits = [figures.bits_per_note or 0.0 for figures in measured]
    assert bits[0] - bits[-1] > 1
    model = load(tmp_path / "model.safetensors").model
    kept = validated(model, held, EVENT_OBJECTIVE, "cpu").bits_per_note
    assert kept == pytest.approx(bits[-1], rel=1e-2)  # weights are kept in half precision
