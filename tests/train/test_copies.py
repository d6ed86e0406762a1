"""The last stage of training: echoes learn to follow their sources, and nothing else moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fractal_live.model.config import RETURNS
from fractal_live.model.echo import MOST_RUN, NO_ECHO, echo_before, run_before, source_of
from fractal_live.model.pitch import STOP, PitchRange, Recall
from fractal_live.train.copies import COPIED, fit_copies, fit_returns
from fractal_live.train.dataset import Dataset
from tests.model.material import batch_of, random_song
from tests.model.tiny import TINY, lively

LEARNED = {"heads.copied_chroma", "heads.copied_count", "leaf.copied"}


def test_fitting_copies_lowers_their_cost_and_moves_nothing_else() -> None:
    model = lively(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = batch_of(TINY, random_song(1))
    with torch.inference_mode():
        costly = model.losses(batch)
    fit_copies(model, Dataset([random_song(1)], TINY), 20, seed=0)
    with torch.inference_mode():
        fitted = model.losses(batch)
    assert sum(float(fitted[name]) for name in COPIED) < sum(float(costly[name]) for name in COPIED)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == LEARNED
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_fitting_returns_lowers_the_cost_of_songs_whose_bars_return_and_moves_nothing_else() -> None:
    model, song = lively(4), random_song(5, bars=32)
    song = replace(song, plan=np.tile(song.plan[:4], (8, 1)))
    dataset = Dataset([song], TINY)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, last = fit_returns(model, dataset, 30, seed=0)
    assert last < first - 0.5
    assert {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])} == {
        "structure.returned"
    }
    favour = (model.structure.returned - before["structure.returned"])[:, :, 3, 0].mean(0)
    assert RETURNS[int(favour.argmax())] in (4, -4, 8, -8), "four bars that come again and again"
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_run_of_echoes_is_scored_only_where_the_half_bar_before_is_known() -> None:
    echo, group = torch.tensor([[4, 7, 9, 12]]), torch.tensor([[0, 3, 3, 1]])
    assert echo_before(echo, group).tolist() == [[NO_ECHO, 4, NO_ECHO, NO_ECHO]]


def test_a_run_is_of_one_distance_whatever_its_grades_and_ends_where_nothing_is_echoed_or_known() -> None:
    first, *others = source_of(torch.tensor([1, 2, 3, 4])).tolist()
    assert others[:2] == [first, first] != others[1:]
    echo = torch.tensor([[NO_ECHO, 1, 2, 3, 4, 1, NO_ECHO, 1]])
    in_time = torch.arange(8)[None]
    assert run_before(echo, in_time).tolist() == [[0, 0, 1, 2, 3, 1, 1, 0]]
    assert run_before(echo, torch.tensor([[0, 1, 9, 3, 4, 5, 6, 7]])).tolist() == [[0, 0, 1, 0, 1, 1, 1, 0]]
    assert run_before(echo, in_time.flip(1)).tolist() == [[0] * 8]
    assert run_before(torch.ones(1, 40, dtype=torch.long), torch.arange(40)[None]).max() == MOST_RUN


def test_going_on_from_the_same_distance_is_favoured_by_how_closely_it_was_echoed_and_for_how_long() -> None:
    heads = lively(2).heads
    for weights in (heads.continued, heads.lasting, heads.balance.lasting):
        weights.zero_()
    heads.continued[3, 2] = 5.0
    heads.lasting[4, 2] = 2.0
    hidden, before = torch.zeros(1, TINY.levels[1].embed_dim), torch.tensor([3])
    allowed = torch.ones(1, heads.echo.out_features, dtype=torch.bool)
    alone = heads.echo_scores(hidden, allowed, torch.tensor([NO_ECHO]), torch.tensor([0]))
    for run, favour in ((1, 5.0), (4, 7.0)):
        gain = heads.echo_scores(hidden, allowed, before, torch.tensor([run])) - alone
        favoured = torch.nonzero(gain[0])[:, 0].tolist()
        assert favoured == [2] and source_of(torch.tensor(2)) == source_of(before[0])
        assert float(gain[0, 2]) == pytest.approx(favour)


def test_the_balance_of_free_play_keeps_out_of_half_bars_of_which_something_is_asked() -> None:
    heads = lively(2).heads
    heads.balance.lasting.fill_(1.0)
    hidden, before, run = torch.zeros(2, TINY.levels[1].embed_dim), torch.tensor([3, 3]), torch.tensor([1, 1])
    allowed = torch.ones(2, heads.echo.out_features, dtype=torch.bool)
    scores = heads.echo_scores(hidden, allowed, before, run, torch.tensor([True, False]))
    free = heads.echo_scores(hidden, allowed, before, run)
    assert torch.equal(scores[0], free[0])
    differs = (free[1] - scores[1]).nonzero()[:, 0].tolist()
    assert differs == [2, 3] and (free[1] - scores[1])[differs].tolist() == pytest.approx([1.0, 1.0])


def test_the_leaf_is_pulled_to_what_the_echoed_step_does_next() -> None:
    """From below the step's pitches to each of them in turn, then to stopping; not at all where nothing is echoed."""
    leaf = lively(3).leaf
    source = torch.zeros(1, 3, 128)
    source[0, 0, [40, 52]] = 1
    hidden = torch.zeros(1, 3, TINY.leaf.embed_dim)
    below = torch.tensor([[-1, 40, 52]])
    within = PitchRange(torch.tensor([0]), torch.tensor([127]))

    def scores(grade: int) -> torch.Tensor:
        recall = Recall(torch.zeros(1, TINY.recall_channels, 128), torch.zeros(1, 10), source, torch.tensor([grade]))
        return leaf.pitch_logits(hidden, below, recall, leaf.pitch_table(), within)[0]

    leaf.copied.copy_(torch.tensor([9.0, 0.0, 0.0, 2.0]))
    gain = torch.nan_to_num(scores(3) - scores(1), nan=0.0)
    expected = torch.zeros(3, 129)
    expected[torch.arange(3), torch.tensor([40, 52, STOP])] = 2.0
    assert torch.allclose(gain, expected, atol=1e-5)
    assert torch.equal(scores(0), scores(1))
