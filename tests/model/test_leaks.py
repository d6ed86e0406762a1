"""No leak: what is predicted at a place never moves when what is not yet known there changes.

A place is predicted when its first cell is opened. So whatever happens in a cell may move only what is predicted
later than that cell is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fractal_live.model.balance import earlier_harmony
from fractal_live.model.batch import Batch
from fractal_live.model.config import HALF_STEPS, RETURNS, ModelConfig
from fractal_live.model.echo import allowed_echoes, can_source, echo_before, run_before, source_of
from fractal_live.model.fractal import Fractal, Levels
from fractal_live.model.grid import IntArray
from fractal_live.model.order import band_of, scan
from fractal_live.model.phrase import Source
from fractal_live.model.pitch import ChordTokens, Leaf, PitchRange, Recall
from fractal_live.model.structure import Wish
from fractal_live.train.dataset import collate
from tests.model.material import ORDERS, batch_of, random_song, sample_of, with_note
from tests.model.tiny import CONFIGS, TINY, lively

STEPS = (3, 20, 44, 47, 72)


def levels_of(model: Fractal, batch: Batch) -> Levels:
    with torch.inference_mode():
        levels: Levels = model(batch)
    return levels


def said(config: ModelConfig, levels: Levels, order: IntArray) -> Iterator[tuple[str, Tensor, IntArray]]:
    """Everything the only sample of a batch is told: name, values (places, ...), and when each place is predicted."""
    bands = config.pitch_bands
    states = (levels.phrase, *levels.hidden)
    for index, (span, state) in enumerate(zip(config.spans[1:], states, strict=True), start=1):
        cells = span * bands if span > 1 else 1
        yield f"level {index}", state[0], order.reshape(-1, cells).min(1)
    yield "leaf condition", levels.leaf_cond[0], order
    yield "features", levels.recall.features, order
    yield "rhythm", levels.recall.rhythm, order
    yield "source", levels.recall.source, order


def assert_only_later_moved(config: ModelConfig, before: Levels, after: Levels, order: IntArray, cell: int) -> set[str]:
    """Says what has moved at all."""
    moved = set()
    for (name, a, predicted), (_, b, _) in zip(said(config, before, order), said(config, after, order), strict=True):
        has_moved = (a != b).flatten(1).any(1).numpy()
        early = np.flatnonzero(has_moved & (predicted <= order[cell]))
        assert not len(early), f"{name} at places {early.tolist()} saw cell {cell} too early"
        if has_moved.any():
            moved.add(name)
    return moved


@pytest.mark.parametrize("order_name", ORDERS)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_nothing_sees_the_content_of_a_cell_that_is_not_opened_yet(config: ModelConfig, order_name: str) -> None:
    model, bands = lively(0, config), config.pitch_bands
    batch = batch_of(config, random_song(1), ORDERS[order_name])
    order = batch.order[0].numpy()
    before, moved = levels_of(model, batch), set()
    for step in STEPS:
        band = step % bands
        of_band = torch.from_numpy(band_of(config, np.arange(128)) == band)
        content = batch.content.clone()
        content[0, step] = torch.where(of_band, torch.rand(3, 128), content[0, step])
        after = levels_of(model, replace(batch, content=content))
        moved |= assert_only_later_moved(config, before, after, order, step * bands + band)
    everything = {name for name, _, _ in said(config, before, order)}
    assert moved == everything, "what never moves proves nothing"


@pytest.mark.parametrize("order_name", ORDERS)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_nothing_sees_a_note_of_a_song_before_its_cell_is_opened(config: ModelConfig, order_name: str) -> None:
    """The note is drawn by the data set, with the sound it leaves behind in later steps: in an order that is not that
    of time those may be opened earlier. What the phrase decides is given, so it is held fixed."""
    model, song, bands = lively(1, config), random_song(2), config.pitch_bands
    sample = sample_of(config, song, ORDERS[order_name])
    order = np.asarray(sample["order"], dtype=np.int64)
    before, moved = levels_of(model, collate([sample])), set()
    for step, pitch in ((3, 24), (20, 105), (47, 24), (72, 105)):  # pitches that the song leaves alone
        other = sample_of(config, with_note(song, step, pitch, 100, 14), ORDERS[order_name])
        assert np.array_equal(other["order"], order)
        after = levels_of(model, collate([{**sample, "content": other["content"]}]))
        cell = step * bands + int(band_of(config, np.array(pitch)))
        moved |= assert_only_later_moved(config, before, after, order, cell)
    assert {"level 1", "leaf condition", "features"} <= moved


def decisions(model: Fractal, batch: Batch, phrase: Tensor) -> dict[str, Tensor]:
    """Scores of what every half bar decides, as training has them."""
    there = (torch.arange(batch.echo.shape[1]) + source_of(batch.echo)).clamp(0, batch.echo.shape[1] - 1)
    held = batch.chroma.gather(1, there[..., None].expand(-1, -1, 12)), batch.onsets.gather(1, there)
    source = Source(batch.echo, *held, earlier_harmony(batch.chroma, batch.group))
    return {
        "echo": model.heads.echo_scores(
            phrase,
            allowed_echoes(can_source(batch.group, batch.onsets > 0)),
            echo_before(batch.echo, batch.group),
            run_before(batch.echo, batch.group),
        )[0],
        "chroma": model.heads.chroma_scores(phrase, batch.chroma, source)[0],
        "onsets": model.heads.count_scores(phrase, source)[0],
    }


@pytest.mark.parametrize("order_name", ORDERS)
def test_what_a_half_bar_decides_depends_on_no_decision_of_one_opened_with_it_or_later(order_name: str) -> None:
    model = lively(2)
    batch = batch_of(TINY, random_song(3), ORDERS[order_name])
    phrase, group = levels_of(model, batch).phrase, batch.group[0]
    before, moved = decisions(model, batch, phrase), set()
    for half in range(len(group)):
        chroma, onsets = batch.chroma.clone(), batch.onsets.clone()
        chroma[0, half] = (chroma[0, half] + 1) % 4
        onsets[0, half] = 0 if onsets[0, half] else 3
        after = decisions(model, replace(batch, chroma=chroma, onsets=onsets), phrase)
        for name, scores in after.items():
            has_moved = (scores != before[name]).flatten(1).any(1)
            if name == "chroma":
                has_moved[half] = False  # of itself it sees the pitch classes decided before
            assert not (has_moved & (group <= group[half])).any(), f"{name} saw what half bar {half} decides"
            if has_moved.any():
                moved.add(name)
    assert moved == {"echo", "chroma", "onsets"}


def test_a_pitch_class_sees_only_those_decided_before_it() -> None:
    model = lively(3)
    batch = batch_of(TINY, random_song(4))
    phrase = levels_of(model, batch).phrase
    before = decisions(model, batch, phrase)["chroma"]
    for pitch_class in range(12):
        chroma = batch.chroma.clone()
        chroma[0, -1, pitch_class] = (chroma[0, -1, pitch_class] + 1) % 4  # no half bar comes after it
        no_echo = replace(batch, echo=torch.zeros_like(batch.echo))
        before = decisions(model, no_echo, phrase)["chroma"][-1]
        after = decisions(model, replace(no_echo, chroma=chroma), phrase)["chroma"][-1]
        assert torch.equal(before[: pitch_class + 1], after[: pitch_class + 1])
        assert pitch_class == 11 or not torch.equal(before, after)


def imagined(model: Fractal, known: Tensor, full: Tensor) -> Tensor:
    config = model.config
    is_present = torch.ones(1, known.shape[1], dtype=torch.bool)
    is_present[0, :3] = False
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(1, 16, generator=generator)
    sketch = torch.rand(1, config.plan_bars, 6, generator=generator)
    with torch.inference_mode():
        wish = Wish(z, sketch, torch.ones(1))
        return model.structure.scores(known, full, is_present, wish)[0]


@pytest.mark.parametrize("kind", ["live", "all-ar"])
def test_the_plan_level_does_not_see_the_cells_it_imagines(kind: str) -> None:
    """Whatever cells are given: a masked level 0 sees no other, a sequential one those of earlier rows as well."""
    config = CONFIGS[kind]
    model, rng = lively(4, config), np.random.default_rng(0)
    rows, past = config.past_bars + config.plan_bars, config.past_bars
    moved = 0
    for share in (0.0, 0.1, 0.5, 0.9, 0.98):
        plan = torch.from_numpy(rng.random((1, rows, 6)).astype(np.float32))
        hidden = torch.from_numpy(rng.random((1, rows, 6)) >= share)
        hidden[:, :past] = False
        known = plan.masked_fill(hidden, float("nan"))
        before = imagined(model, known, plan)
        for row in range(past, rows):
            full = plan.clone()
            full[0, row] = torch.where(hidden[0, row], 1 - plan[0, row], plan[0, row])
            after = imagined(model, known, full)
            assert torch.equal(before[: row + 1], after[: row + 1]), f"row {row} was seen too early"
            moved += not torch.equal(before, after)
    assert (moved > 0) == (kind == "all-ar")


def test_a_cell_of_the_plan_that_is_given_is_seen_everywhere() -> None:
    for kind in ("live", "all-ar"):
        model = lively(5, CONFIGS[kind])
        plan = torch.full((1, 16, 6), float("nan"))
        given = plan.clone()
        given[0, 13, 2] = 0.7
        moved = (imagined(model, plan, plan) != imagined(model, given, plan)).flatten(1).any(1)
        assert moved[3:].all(), kind


@pytest.mark.parametrize("kind", ["live", "all-ar"])
def test_a_row_returns_only_from_rows_that_are_known(kind: str) -> None:
    """Nothing but the scores of returning rows is heard: neither a row before the music began nor a cell that is not
    opened yet favours a bin, and a row that is known favours its own, the more the more of the two rows agrees."""
    config = CONFIGS[kind]
    model = lively(10, config)
    structure, past = model.structure, config.past_bars
    structure.returned.zero_()
    structure.returned[0, RETURNS.index(4)] = torch.tensor([[1.0, 0.5, 0.2], [2, 1, 0], [3, 2, 1], [4, 3, 2]])
    full = torch.full((1, past + config.plan_bars, 6), float("nan"))
    is_present = torch.ones(full.shape[:2], dtype=torch.bool)
    wish = Wish(torch.zeros(1, 16), torch.zeros(1, config.plan_bars, 6), torch.zeros(1))

    def favour(known: Tensor, is_present: Tensor = is_present) -> Tensor:
        with torch.inference_mode():
            own = structure.logits(structure.imagine(known, known, is_present, wish), wish)
            gain: Tensor = structure.scores(known, known, is_present, wish) - own
        return gain[0, past]

    known = full.clone()
    known[0, past - 4] = torch.tensor([10, 20, 30, 40, 5, 15]) / 47
    expected = torch.zeros(6, 48)
    for others, amount in (({}, 1.0), ({3: 40}, 2.0), ({3: 40, 5: 15}, 3.0), ({3: 40, 5: 16}, 1.0), ({1: 20}, 1.0)):
        row = known.clone()
        for column, index in others.items():
            row[0, past, column] = index / 47
        expected[0, 10] = amount
        assert torch.allclose(favour(row), expected, atol=1e-5), others
    began_later = is_present.clone()
    began_later[0, : past - 3] = False
    assert not favour(known, began_later).abs().max() > 1e-5
    assert not favour(full).abs().max() > 1e-5


@pytest.mark.parametrize("kind", ["live", "lstm-leaf"])
def test_the_leaf_sees_only_the_notes_below(kind: str) -> None:
    """The pitch of a note knows the notes below it, its velocity its pitch as well, its duration both."""
    config = CONFIGS[kind]
    leaf: Leaf = lively(6, config).leaf
    torch.manual_seed(0)
    cond = torch.randn(1, config.levels[-1].compressed_dim + config.guide_dim)
    recall = Recall(
        torch.randn(1, config.recall_channels, 128), torch.randn(1, 10), torch.rand(1, 3, 128), torch.tensor([2])
    )
    within = PitchRange(torch.tensor([0]), torch.tensor([127]))
    notes = ChordTokens(torch.tensor([[40, 50, 61, 70]]), torch.tensor([[3, 9, 9, 20]]), torch.tensor([[1, 2, 3, 4]]))

    def scores(tokens: ChordTokens) -> tuple[Tensor, Tensor, Tensor]:
        table = leaf.pitch_table()
        hidden = leaf.hidden(torch.cat([leaf.begin(cond, recall), leaf.embed_notes(tokens, table)], 1), cond)
        below = torch.cat([torch.tensor([[-1]]), tokens.pitch], 1)
        return (
            leaf.pitch_logits(hidden, below, recall, table, within)[0],
            leaf.velocity_logits(hidden[:, :4], tokens.pitch, recall, table)[0],
            leaf.duration_logits(hidden[:, :4], tokens.pitch, tokens.velocity, recall, table)[0],
        )

    before = scores(notes)
    for note in range(4):
        for part, seen_from in (("pitch", (1, 0, 0)), ("velocity", (1, 1, 0)), ("duration", (1, 1, 1))):
            changed = getattr(notes, part).clone()
            changed[0, note] += 1
            after = scores(replace(notes, **{part: changed}))
            for a, b, later in zip(before, after, seen_from, strict=True):
                assert torch.equal(a[: note + later], b[: note + later]), f"{part} of note {note}"
                assert note + later >= len(a) or not torch.equal(a, b)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_what_is_predicted_with_nothing_visible_differs_from_place_to_place(config: ModelConfig) -> None:
    """A masked token keeps its position, its bar and its meter (in earlier systems all such predictions were alike):
    everything is opened at once, every guide is alike, and no two places of a bar are told the same."""
    model = lively(7, config)
    batch = batch_of(config, random_song(5), np.zeros(16, dtype=np.int64))
    alike = replace(
        batch,
        order=torch.zeros_like(batch.order),
        plan=torch.full_like(batch.plan, float("nan")),
        bar_of_half=torch.zeros_like(batch.bar_of_half),
        chroma=torch.zeros_like(batch.chroma),
        echo=torch.zeros_like(batch.echo),
        remaining=torch.ones_like(batch.remaining),
        steps_left=torch.ones_like(batch.steps_left),
    )
    levels = levels_of(model, alike)
    for name, values, _ in said(config, levels, alike.order[0].numpy()):
        if not name.startswith("level"):
            continue
        own = values[: len(values) // (len(batch.bar_of_half[0]) // 2)]  # the places of a bar
        apart = (own[:, None] - own).abs().amax(-1) + torch.eye(len(own))
        assert apart.min() > 1e-3, name


def test_another_meter_is_told_to_masked_tokens() -> None:
    model = lively(8)
    batch = batch_of(TINY, random_song(5), np.zeros(16, dtype=np.int64))
    other = levels_of(model, replace(batch, bar_len=torch.full_like(batch.bar_len, 12)))
    for (name, a, _), (_, b, _) in zip(
        said(TINY, levels_of(model, batch), batch.order[0].numpy()),
        said(TINY, other, batch.order[0].numpy()),
        strict=True,
    ):
        assert not name.startswith("level") or not torch.allclose(a, b, atol=1e-3), name


def test_rows_of_a_plan_of_which_nothing_is_known_differ_once_anything_before_them_is() -> None:
    for kind in ("live", "all-ar"):
        model = lively(9, CONFIGS[kind])
        plan = torch.full((1, 16, 6), float("nan"))
        plan[0, :8] = torch.rand(8, 6)
        with torch.inference_mode():
            wish = Wish(torch.zeros(1, 16), torch.zeros(1, 8, 6), torch.zeros(1))
            rows = model.structure.imagine(plan, plan, torch.ones(1, 16, dtype=torch.bool), wish)[0, 8:]
        apart = (rows[:, None] - rows).abs().amax(-1) + torch.eye(8)
        assert apart.min() > 1e-3, kind


def test_the_scan_takes_all_bands_of_a_step_or_all_steps_of_a_band_first() -> None:
    column, row = CONFIGS["bands-column"], CONFIGS["bands-row"]
    cells = [(step, band) for step in range(HALF_STEPS) for band in range(2)]
    assert [cells[cell] for cell in scan(column)] == cells
    assert [cells[cell] for cell in scan(row)] == sorted(cells, key=lambda cell: (cell[1], cell[0]))
