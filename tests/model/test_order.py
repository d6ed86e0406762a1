"""In what order a piece is opened, how onsets are counted down, and what echoes what."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fractal_live.model.config import ECHO_SOURCES, ECHO_STRENGTHS, HALF_STEPS, ModelConfig
from fractal_live.model.echo import (
    NO_ECHO,
    allowed_echoes,
    can_source,
    echoes,
    onsets_per_half,
    source_of,
    strength_index,
    strength_of,
)
from fractal_live.model.grid import left_in_half, visible_content
from fractal_live.model.order import band_of, cell_order, cells_per_half, draw_ranks, is_sequential, scan
from fractal_live.model.unfold import _groups
from fractal_live.music.meter import Meter
from fractal_live.music.notes import Bar
from tests.model.tiny import CONFIGS

EVERY_CONFIG = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


@EVERY_CONFIG
def test_ranks_open_every_cell_once_and_each_level_whole_tokens(config: ModelConfig) -> None:
    """Inside a half bar the cells of a token are opened in a row, and those of a sequential level's in time."""
    ranks = draw_ranks(config, 50, np.random.default_rng(0))
    cells = cells_per_half(config)
    assert (np.sort(ranks, axis=1) == np.arange(cells)).all()
    if is_sequential(config):
        assert (ranks[:, scan(config)] == np.arange(cells)).all()
        return
    for level, span, above in zip(config.levels[2:], config.spans[2:], config.spans[1:], strict=False):
        tokens = ranks.reshape(50, -1, span * config.pitch_bands)
        assert (np.ptp(tokens, axis=2) == span * config.pitch_bands - 1).all(), "a token's cells follow one another"
        first = tokens.min(2).reshape(50, -1, above // span)  # the tokens of each one above
        in_time = (np.diff(first, axis=2) > 0).all(axis=(1, 2))
        assert in_time.all() if level.generator == "ar" else not in_time.all()


@pytest.mark.parametrize("name", ["all-mar", "bands-column"])
def test_either_beat_of_a_half_bar_comes_first_where_beats_are_masked(name: str) -> None:
    """Of 400 half bars 200 either way are expected; fewer than 100 has odds below 1e-20."""
    ranks = draw_ranks(CONFIGS[name], 400, np.random.default_rng(1))
    second_first = ranks[:, -1] < ranks[:, 0]
    assert 100 < second_first.sum() < 300


def test_a_later_group_is_opened_after_every_cell_of_an_earlier_one() -> None:
    group, ranks = np.array([2, 0, 1, 0]), draw_ranks(CONFIGS["all-mar"], 4, np.random.default_rng(2))
    order = cell_order(group, ranks).reshape(4, -1)
    assert order[1].max() < order[2].min() and order[2].max() < order[0].min()
    assert sorted(order[1]) == sorted(order[3]) == list(range(8))


@EVERY_CONFIG
def test_every_pitch_has_one_band_and_bands_are_in_order(config: ModelConfig) -> None:
    bands = band_of(config, np.arange(config.pitch_low, config.pitch_high + 1))
    assert set(bands.tolist()) == set(range(config.pitch_bands))
    assert (np.diff(bands) >= 0).all()


@pytest.mark.parametrize("rounds", [1, 3, 4, 7, 100])
def test_what_is_known_is_opened_first_and_the_rest_in_so_many_rounds(rounds: int) -> None:
    bars = tuple(Bar(index, (), Meter(3, 4) if index % 2 else Meter(4, 4)) for index in range(12))
    is_missing = np.arange(12) % 3 > 0
    missing = np.repeat(is_missing, 2)
    group, first = _groups(bars, is_missing, rounds, np.random.default_rng(0))
    assert group[~missing].tolist() == list(range(8)) and first == 8
    assert np.unique(group[missing]).tolist() == list(range(8, 8 + min(rounds, 16)))
    sizes = np.bincount(group[missing] - 8)
    assert rounds > 16 or (np.diff(sizes) >= -1).all(), "later rounds open more"


def test_what_remains_of_a_half_bar_counts_down_in_the_order_of_opening() -> None:
    rng = np.random.default_rng(3)
    for config in CONFIGS.values():
        ranks = draw_ranks(config, 6, rng)
        amount = rng.integers(0, 4, ranks.size)
        left = left_in_half(amount, ranks).reshape(ranks.shape)
        for half, own in enumerate(amount.reshape(ranks.shape)):
            assert left[half].tolist() == [own[ranks[half] >= rank].sum() for rank in ranks[half]]


def content_of(note: list[int], group: list[int], ranks: list[int]) -> np.ndarray:
    """What is drawn of one note's sound, step by step."""
    order = cell_order(np.array(group), np.tile(ranks, (len(group), 1)))
    content = visible_content(np.array([note]), np.array([0]), order, len(order))
    return content[:, 2, note[1]] * 16


def test_sound_is_drawn_only_where_it_was_known_when_the_step_was_opened() -> None:
    time, mixed = list(range(8)), [0, 2, 4, 6, 1, 3, 5, 7]
    note = [2, 60, 100, 10]
    assert content_of(note, [0, 1], time)[2:13].tolist() == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert content_of(note, [1, 0], time)[2:13].tolist() == [10, 9, 8, 7, 6, 5, 0, 0, 0, 0, 0], "into an earlier half"
    assert content_of(note, [0, 0], time)[2:13].tolist() == [10, 9, 8, 7, 6, 5, 0, 0, 0, 0, 0], "opened side by side"
    assert content_of(note, [0, 1], mixed)[2:13].tolist() == [10, 9, 0, 0, 6, 5, 4, 3, 2, 1, 0], "steps opened before"


def half_bars(*halves: list[tuple[int, int]]) -> np.ndarray:
    """Notes of half bars given as (step, pitch)."""
    rows = [[half * 8 + step, pitch, 80, 1] for half, notes in enumerate(halves) for step, pitch in notes]
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


MOTIF = [(0, 60), (2, 64), (4, 67), (6, 72)]
OTHER = [(0, 40), (1, 43), (3, 45), (5, 48)]


def told(notes: np.ndarray, group: np.ndarray, half: int) -> tuple[int, float]:
    """How far away the source of a half bar's echo lies, and how closely it repeats it."""
    found = torch.from_numpy(echoes(notes, group))
    assert (0.0, *ECHO_STRENGTHS)[strength_index(found)[half]] == pytest.approx(float(strength_of(found)[half]))
    return int(source_of(found)[half]), float(strength_of(found)[half])


@pytest.mark.parametrize("lag", [1, 2, 4, 8])
def test_an_exact_repeat_is_found_with_its_source(lag: int) -> None:
    halves = [[(step, 30 + 5 * half + step)] * 1 for half in range(9) for step in (half % 8,)]
    halves[8] = MOTIF
    halves[8 - lag] = MOTIF
    group = np.arange(9)
    assert told(half_bars(*halves), group, 8) == (-lag, 1.0)
    assert told(half_bars(*halves), group[::-1].copy(), 8 - lag) == (lag, 1.0), "from behind, where that is known first"


def test_looser_repeats_are_weaker_and_strangers_are_none() -> None:
    """Likeness is shared onsets over the root of both numbers: 4/4, 3/4, 2/4, 1/4."""
    found = [
        told(half_bars(MOTIF, MOTIF[:shared] + OTHER[: 4 - shared]), np.arange(2), 1) for shared in (4, 3, 2, 1, 0)
    ]
    assert found[0] == (-1, 1.0)
    assert [source for source, _ in found[1:3]] == [-1, -1]
    assert [strength for _, strength in found[1:3]] == pytest.approx([0.78, 0.5])
    assert found[3] == found[4] == (0, 0.0)


def test_silence_echoes_nothing_and_nothing_echoes_silence() -> None:
    assert echoes(half_bars([], [], MOTIF, []), np.arange(4)).tolist() == [NO_ECHO] * 4
    assert echoes(half_bars(), np.arange(0)).tolist() == []


def test_of_equally_good_sources_the_nearest_is_taken_and_of_unequal_ones_the_best() -> None:
    near, far = half_bars(MOTIF, OTHER, MOTIF, OTHER, MOTIF), half_bars(MOTIF, OTHER, MOTIF[:3], OTHER, MOTIF)
    assert told(near, np.arange(5), 4)[0] == -2
    assert told(far, np.arange(5), 4) == (-4, 1.0)


def test_a_source_is_always_one_that_was_opened_before() -> None:
    """Random half bars of few onsets in random groups: each source is known, has onsets and may be chosen."""
    rng = np.random.default_rng(4)
    found_any = 0
    for _ in range(60):
        H = 20
        notes = half_bars(*[[(int(step), 60) for step in rng.permutation(8)[: rng.integers(0, 3)]] for _ in range(H)])
        notes = notes[np.lexsort((notes[:, 1], notes[:, 0]))]
        group = rng.integers(0, 6, H)
        found = torch.from_numpy(echoes(notes, group))
        source = np.arange(H) + source_of(found).numpy()
        is_echo = found.numpy() != NO_ECHO
        assert (group[source[is_echo]] < group[is_echo]).all()
        has_onsets = torch.from_numpy(onsets_per_half(notes, H) > 0)
        assert has_onsets.numpy()[is_echo].all() and has_onsets.numpy()[source[is_echo]].all()
        allowed = allowed_echoes(can_source(torch.from_numpy(group), has_onsets))
        assert allowed.gather(1, found[:, None]).all()
        found_any += is_echo.sum()
    assert found_any > 100


def test_only_what_is_known_and_sounds_may_be_echoed() -> None:
    group, has_onsets = torch.tensor([0, 1, 2, 2, 1]), torch.tensor([True, False, True, True, True])
    may = can_source(group, has_onsets)
    for half in range(5):
        for place, offset in enumerate(ECHO_SOURCES):
            there = half + offset
            expected = 0 <= there < 5 and bool(has_onsets[there]) and bool(group[there] < group[half])
            assert bool(may[half, place]) == expected
    assert allowed_echoes(may)[:, NO_ECHO].all()
    assert HALF_STEPS == 8
