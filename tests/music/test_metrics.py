"""The yardsticks in numpy: figures, histograms, distances, n-grams, each on music whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from fractal_live.music.distances import (
    correlation,
    cosine,
    divergence,
    frechet,
    overlap,
    rank_correlation,
    shrunk_covariance,
    space_of,
)
from fractal_live.music.excerpt import (
    BAR_STEPS,
    Excerpt,
    chroma_by,
    cut,
    cuts,
    excerpt_of,
    in_order,
    onset_roll,
    rhythm_by_bar,
    sounding_roll,
    struck_classes_by_bar,
)
from fractal_live.music.features import FEATURES, GROUPS, feature_names, features
from fractal_live.music.meter import Meter
from fractal_live.music.metrics import (
    FIGURES,
    bass_line,
    duration_histogram,
    empty_beats,
    entropy,
    figures,
    groove,
    onset_histogram,
    pitch_histogram,
    polyphony,
    top_line,
)
from fractal_live.music.ngrams import bar_patterns, note_ngrams, onset_f1
from fractal_live.music.notes import Bar, Note


def music(rows: list[tuple[int, int, int, int]], bars: int) -> Excerpt:
    """Notes as (step, pitch, velocity, duration in steps)."""
    return Excerpt(np.array(sorted(rows), dtype=np.int64).reshape(-1, 4), bars)


def drawn(seed: int, bars: int = 8, per_bar: int = 12) -> Excerpt:
    rng = np.random.default_rng(seed)
    cells = np.sort(rng.choice(bars * BAR_STEPS * 40, bars * per_bar, replace=False))
    count = len(cells)
    columns = [cells // 40, cells % 40 + 40, rng.integers(40, 110, count), rng.integers(1, 9, count)]
    return Excerpt(np.stack(columns, axis=1), bars)


def transposed(excerpt: Excerpt, semitones: int) -> Excerpt:
    return Excerpt(excerpt.notes + np.array([0, semitones, 0, 0]), excerpt.bars)


def test_bars_become_notes_on_the_grid_and_a_struck_pitch_ends_there() -> None:
    first = Bar(0, (Note(0, 60, 4000, 90), Note(130, 64, 100, 80)))
    second = Bar(1, (Note(240, 60, 480, 70),))
    found = excerpt_of([first, second])
    assert found.notes.tolist() == [[0, 60, 90, 18], [1, 64, 80, 1], [18, 60, 70, 4]]
    assert found.bars == 2


def test_a_bar_that_is_not_four_four_is_refused() -> None:
    with pytest.raises(ValueError, match="3/4"):
        excerpt_of([Bar(0, (), Meter(3, 4))])


@pytest.mark.parametrize("seed", range(3))
def test_cuts_and_orders_keep_every_note(seed: int) -> None:
    whole = drawn(seed)
    parts = cuts(whole, 2)
    back = np.concatenate([part.notes + np.array([place * 32, 0, 0, 0]) for place, part in enumerate(parts)])
    assert back.tolist() == whole.notes.tolist()
    assert in_order(whole, range(8)).notes.tolist() == whole.notes.tolist()
    turned = in_order(whole, range(7, -1, -1))
    assert cut(turned, 0, 1).notes.tolist() == cut(whole, 7, 1).notes.tolist()


def test_rolls_chroma_and_rhythm_of_a_known_bar() -> None:
    found = music([(0, 60, 90, 4), (0, 64, 90, 40), (8, 60, 90, 2)], 1)
    assert np.argwhere(onset_roll(found)).tolist() == [[0, 60], [0, 64], [8, 60]]
    assert sounding_roll(found).sum(0)[[60, 64]].tolist() == [6, 16]
    assert chroma_by(found, 8)[:, [0, 4]].tolist() == [[4, 8], [2, 8]]
    assert rhythm_by_bar(found)[0].tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert struck_classes_by_bar(found)[0, [0, 4]].tolist() == [2, 1]


def test_figures_of_a_known_piece() -> None:
    found = music([(0, 60, 80, 4), (0, 64, 100, 4), (16, 67, 90, 16)], 2)
    named = dict(zip(FIGURES, figures(found), strict=True))
    assert named == pytest.approx(
        {
            "pitches_used": 3,
            "classes_used": 3,
            "pitch_range": 7,
            "onsets_per_bar": 1.5,
            "onset_gap": 16,
            "melodic_step": 3,
            "polyphony": (4 * 2 + 16) / 20,
            "pitch_class_entropy": np.log2(3),
            "scale_consistency": 1,
            "duration": 8,
            "pitch_entropy": np.log2(3),
            "groove": 1,
            "empty_beats": 3 / 8,
            "velocity": 90,
        }
    )
    assert top_line(found).tolist() == [64, 67] and bass_line(found).tolist() == [60, 67]


def test_silence_has_figures_and_features() -> None:
    silent = music([], 8)
    assert np.isfinite(figures(silent)).all() and np.isfinite(features(silent)).all()
    assert groove(silent) == 1 and empty_beats(silent) == 1 and polyphony(silent) == 0
    assert entropy(np.zeros(12, dtype=np.int64)) == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_has_muspys_name_is_muspys_figure() -> None:
    """But groove and empty beats, where MusPy counts a bar and a beat that are not there."""
    muspy = pytest.importorskip("muspy", reason="muspy is in the extra `evaluate`")
    for seed in range(4):
        piece = excerpt_of_drawn(seed)
        notes = [muspy.Note(int(s), int(p), int(d), int(v)) for s, p, v, d in piece.notes]
        song = muspy.Music(resolution=4, tracks=[muspy.Track(notes=notes)])
        named = dict(zip(FIGURES, figures(piece), strict=True))
        assert named["pitch_class_entropy"] == pytest.approx(muspy.pitch_class_entropy(song))
        assert named["pitch_entropy"] == pytest.approx(muspy.pitch_entropy(song))
        assert named["scale_consistency"] == pytest.approx(muspy.scale_consistency(song))
        assert named["pitches_used"] == muspy.n_pitches_used(song)
        assert named["classes_used"] == muspy.n_pitch_classes_used(song)
        assert named["pitch_range"] == muspy.pitch_range(song)
        assert named["polyphony"] == pytest.approx(muspy.polyphony(song))


def excerpt_of_drawn(seed: int) -> Excerpt:
    """Ends inside its last bar, no pitch overlapping itself: where MusPy and a roll agree on what sounds."""
    piece = drawn(seed)
    ends: dict[int, int] = {}
    for row in piece.notes[::-1]:
        row[3] = min(row[3], ends.get(int(row[1]), piece.steps) - row[0])
        ends[int(row[1])] = int(row[0])
    return piece


def test_groove_counts_each_neighbouring_pair_once() -> None:
    """MusPy compares the last bar with one that is not there."""
    same = music([(step, 60, 80, 1) for step in (0, 4, 16, 20)], 2)
    assert groove(same) == 1
    other = music([(0, 60, 80, 1), (4, 60, 80, 1), (16, 60, 80, 1)], 2)
    assert groove(other) == pytest.approx(1 - 1 / 16)


def test_histograms_count_every_note_once() -> None:
    pieces = [drawn(0), drawn(1)]
    notes = sum(len(piece.notes) for piece in pieces)
    for histogram in (onset_histogram(pieces), pitch_histogram(pieces), duration_histogram(pieces)):
        assert histogram.sum() == notes


def test_features_are_named_and_do_not_depend_on_the_octave_bar_register() -> None:
    assert len(feature_names()) == FEATURES == 142 == len(features(drawn(0)))
    here, there = features(drawn(0)), features(transposed(drawn(0), 12))
    register = [place for place, name in enumerate(feature_names()) if name.startswith("register")]
    same = np.setdiff1d(np.arange(FEATURES), register)
    assert np.allclose(here[same], there[same])
    assert not np.allclose(here[register], there[register])


def test_features_do_not_depend_on_the_key() -> None:
    scale = (0, 2, 4, 5, 7, 9, 11)
    rng = np.random.default_rng(0)
    rows = [(step, 60 + scale[rng.integers(7)], 80, 2) for step in range(0, 128, 2)]
    here, there = features(music(rows, 8)), features(transposed(music(rows, 8), 5))
    keyless = [place for place, name in enumerate(feature_names()) if not name.startswith("register")]
    assert np.allclose(here[keyless], there[keyless])


def test_shares_sum_to_one_in_every_group_of_shares() -> None:
    found, start = features(drawn(3)), 0
    for group, size in GROUPS.items():
        if group not in ("bar_likeness", "rhythm_likeness", "density", "harmony"):
            assert found[start : start + size].sum() == pytest.approx(1), group
        start += size


def test_divergence_is_nothing_between_equals_and_one_bit_between_strangers() -> None:
    a, b = np.array([1.0, 3.0, 0.0]), np.array([2.0, 6.0, 0.0])
    assert divergence(a, b) == pytest.approx(0.0)
    assert divergence(np.array([1.0, 0.0]), np.array([0.0, 5.0])) == pytest.approx(1.0)


def test_cosine_of_nothing_is_one_with_nothing_and_none_with_something() -> None:
    nothing, something = np.zeros(3), np.array([1.0, 0.0, 2.0])
    assert (cosine(nothing, nothing), cosine(nothing, something)) == (1.0, 0.0)
    assert cosine(something, 3 * something) == pytest.approx(1.0)


def test_frechet_of_gaussians_is_what_the_formula_says() -> None:
    """Means 3 apart in one direction, deviations 1 and 2 in both: 9 + 2 (1 - 2)^2; sampled, within a tenth."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((20000, 2))
    b = 2 * rng.standard_normal((20000, 2)) + [3, 0]
    assert frechet(a, b) == pytest.approx(11, rel=0.05)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, b) == pytest.approx(frechet(b, a))


@pytest.mark.slow
def test_shrunk_covariance_is_scikit_learns_ledoit_wolf() -> None:
    covariance = pytest.importorskip("sklearn.covariance", reason="scikit-learn is in the extra `evaluate`")
    for size in (5, 40):
        sample = np.random.default_rng(size).standard_normal((30, size)) * np.linspace(1, 3, size)
        assert np.allclose(shrunk_covariance(sample), covariance.ledoit_wolf(sample)[0])


def test_a_space_puts_the_widest_directions_first() -> None:
    rng = np.random.default_rng(0)
    common = rng.standard_normal((500, 1))
    sample = np.concatenate([common + 0.1 * rng.standard_normal((500, 3)), rng.standard_normal((500, 2))], axis=1)
    spread = space_of(sample, 5).place(sample).var(0)
    assert (np.diff(spread) <= 1e-9).all()
    assert spread[0] == pytest.approx(3, rel=0.1)


def test_overlap_is_whole_for_equals_and_nothing_for_strangers() -> None:
    rng = np.random.default_rng(0)
    sample = rng.standard_normal(400)
    assert overlap(sample, sample) == pytest.approx(1, abs=0.01)
    assert overlap(sample, sample + 50) == pytest.approx(0, abs=0.01)
    assert overlap(sample, np.full(400, 1.0)) == 0.0
    assert overlap(np.ones(4), np.ones(3)) == 1.0


def test_correlations_ignore_what_is_unknown_and_ranks_ignore_the_scale() -> None:
    a = np.array([1.0, 2.0, np.nan, 4.0])
    b = np.array([2.0, 4.0, 100.0, 8.0])
    assert correlation(a, b) == pytest.approx(1)
    assert correlation(a, np.ones(4)) == 0
    rising = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(rising, np.exp(rising)) == pytest.approx(1)
    assert rank_correlation(rising, -(rising**3)) == pytest.approx(-1)
    assert rank_correlation(rising, np.array([1.0, 2.0, 2.0, 3.0])) == pytest.approx(0.9486832)


def test_ngrams_know_music_in_every_key_and_place_and_nothing_else() -> None:
    piece = drawn(0, bars=4)
    moved = Excerpt(transposed(piece, 5).notes + np.array([7, 0, 0, 0]), 5)
    assert note_ngrams(piece, 12).tolist() == note_ngrams(moved, 12).tolist()
    assert len(note_ngrams(piece, 12)) == len(piece.notes) - 12
    assert set(note_ngrams(piece, 8).tolist()) & set(note_ngrams(drawn(1, bars=4), 8).tolist()) == set()
    assert len(note_ngrams(music([(0, 60, 80, 1)], 1), 8)) == 0


def test_one_changed_note_changes_every_ngram_that_holds_it() -> None:
    piece = music([(step, 60 + step % 7, 80, 1) for step in range(64)], 4)
    other = Excerpt(piece.notes.copy(), 4)
    other.notes[30, 1] += 1
    differs = note_ngrams(piece, 8) != note_ngrams(other, 8)
    assert np.flatnonzero(differs).tolist() == list(range(22, 31))


def test_bar_patterns_are_the_same_in_every_key_and_thin_bars_have_none() -> None:
    full = [(step, 60 + step, 80, 1) for step in range(6)]
    thin = [(16 + step, 60, 80, 1) for step in range(4)]
    piece = music(full + thin, 2)
    assert len(bar_patterns(piece)) == 1
    assert bar_patterns(piece).tolist() == bar_patterns(transposed(piece, 3)).tolist()


def test_onset_f1_counts_steps_and_pitches() -> None:
    truth = music([(0, 60, 80, 1), (4, 62, 80, 1)], 1)
    assert onset_f1(truth, truth) == 1
    assert onset_f1(music([(0, 60, 10, 9), (8, 62, 80, 1), (9, 62, 80, 1)], 1), truth) == pytest.approx(2 / 5)
    assert onset_f1(music([], 1), music([], 1)) == 1
    assert onset_f1(music([], 1), truth) == 0
