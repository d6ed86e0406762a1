"""Each judge hears generators whose answer is known: the best and the worst must be told apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fractal_live.music.excerpt import cuts, excerpt_of
from fractal_live.music.midifile import read_score
from fractal_live.music.ngrams import onset_f1
from fractal_live.music.plan import unknown_plan
from fractal_live.music.request import BarRequest, Sampling
from fractal_live.train.corpus import Song
from fractal_live.train.judges.anchors import Anchors
from fractal_live.train.judges.court import judge, pieces_heard
from fractal_live.train.judges.infill import FIRST, MISSING, infill
from fractal_live.train.judges.latent import influence, latent, slider_values
from fractal_live.train.judges.live import compare as compare_live
from fractal_live.train.judges.live import live
from fractal_live.train.judges.memory import memory
from fractal_live.train.judges.plan import plan, plays
from fractal_live.train.judges.playing import Wish, play
from fractal_live.train.judges.quality import compare, quality
from fractal_live.train.judges.real import bars_of, excerpts, pieces, whole
from fractal_live.train.judges.remembered import F1_BARS
from fractal_live.train.judges.trial import JudgeError, Trial, needed
from fractal_live.train.judges.two_sample import Heard, told_apart
from tests.train.judges.fakes import Copying, Dreaming, Knowing, Obedient, Repeating, Wild, aligned_dream, song

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Both(Copying, Dreaming):
    """Fills gaps and has a latent."""

    def __init__(self, dream: Callable[[np.ndarray], np.ndarray]) -> None:
        Dreaming.__init__(self, dream)
        self.bars_back, self.spoils = 4, False


def has_sklearn() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is in the extra `evaluate`")


def test_a_missing_package_is_named_with_its_remedy() -> None:
    with pytest.raises(JudgeError, match=r"no_such_package is not installed.*fractal-live\[evaluate\]"):
        needed("no_such_package")


@pytest.mark.slow
def test_the_two_sample_test_is_blind_between_equals_and_sees_a_difference() -> None:
    """200 rows a side, one feature 2 apart: a judge is right in about 0.84; between equals within 0.1 of a half."""
    has_sklearn()
    rng = np.random.default_rng(0)
    rows, piece = rng.standard_normal((400, 6)), np.arange(200) // 4
    same = told_apart(Heard(rows[:200], piece), Heard(rows[200:], piece))
    moved = told_apart(Heard(rows[:200] + np.array([2, 0, 0, 0, 0, 0]), piece), Heard(rows[200:], piece))
    assert abs(same - 0.5) < 0.1
    assert moved > 0.75


@pytest.mark.slow
def test_quality_knows_songs_of_the_same_kind_from_another_kind(anchors: Anchors, tmp_path: Path) -> None:
    has_sklearn()
    pytest.importorskip("matplotlib", reason="matplotlib is in the extra `evaluate`")
    alike = [excerpt for _, excerpt in excerpts([song(seed) for seed in range(50, 56)], 32)]
    near = compare(alike, anchors, Trial(6, 32, plots=tmp_path / "plots"))
    far = quality(Repeating([bars_of(song(9), 0, 1)[0]]), anchors, Trial(6, 32, keep=tmp_path / "kept"))
    for name, column in (("told_apart", None), ("frechet", None), ("frechet", "noise")):
        assert (near.value(name) or 0) < (far.value(name, column) or 0), name
    assert near.columns == ("model", "real valid", "real test", "shuffled", "noise")
    assert any("too kind" in remark for remark in near.remarks)
    assert sorted(path.stem for path in (tmp_path / "plots").iterdir()) == ["duration", "likeness", "onset", "pitch"]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [f"quality-00000{n}.mid" for n in range(6)]


@pytest.mark.slow
def test_quality_of_short_pieces_says_that_structure_was_not_judged(anchors: Anchors) -> None:
    has_sklearn()
    report = quality(Wild(), anchors, Trial(6, 16))
    assert "told_apart_by_structure" not in {line.name for line in report.lines if line.values[0] is not None}
    assert any("these pieces are shorter" in remark for remark in report.remarks)
    with pytest.raises(JudgeError, match="at least 5 pieces of 8 bars"):
        quality(Wild(), anchors, Trial(4, 16))


@pytest.mark.slow
def test_a_thief_is_caught_and_a_fresh_player_is_not(anchors: Anchors, songs: list[Song], tmp_path: Path) -> None:
    stolen = memory(Repeating(bars_of(songs[0], 0, 32)), anchors, Trial(3, 16, keep=tmp_path))
    fresh = memory(Wild(), anchors, Trial(3, 16))
    assert (stolen.value("ngrams_12"), stolen.value("ngrams_24"), stolen.value("bar_patterns")) == (1, 1, 1)
    parts = cuts(excerpt_of(bars_of(songs[0], 0, 16)), F1_BARS)
    alike = np.mean([onset_f1(one, other) for one in parts for other in parts])
    assert stolen.value("cross_f1") == pytest.approx(alike, abs=0.05)  # the judge draws its pairs
    assert fresh.value("cross_f1") < alike / 4
    assert (fresh.value("ngrams_12"), fresh.value("ngrams_16"), fresh.value("bar_patterns")) == (0, 0, 0)
    assert not stolen.musts_reached and fresh.musts_reached
    kept = excerpt_of(read_score(tmp_path / "memory-000000.mid").bars)
    assert kept.notes.tolist() == excerpt_of(bars_of(songs[0], 0, 16)).notes.tolist()


@pytest.mark.slow
def test_a_truthful_infill_is_perfect_and_a_copy_scores_as_the_copy_row(songs: list[Song]) -> None:
    has_sklearn()
    truths = pieces(songs, 16, 8)
    knowing = Knowing(truths)
    best = infill(knowing, songs, Trial(8, 16))
    assert [best.value(name) for name in ("onset_f1", "chroma_cosine", "groove_cosine", "density_error")] == [
        pytest.approx(1),
        pytest.approx(1),
        pytest.approx(1),
        0,
    ]
    copied = infill(Copying(), songs, Trial(8, 16))
    for line in copied.lines[:4]:
        assert line.values[0] == line.values[1] != line.values[2], line
    assert copied.value("locked_kept") == 1
    assert infill(Copying(spoils=True), songs, Trial(8, 16)).value("locked_kept") == pytest.approx(11 / 12)


@pytest.mark.slow
def test_what_is_missing_is_not_shown_to_the_generator(songs: list[Song]) -> None:
    has_sklearn()
    knowing = Knowing(pieces(songs, 16, 5))
    infill(knowing, songs, Trial(5, 16))
    for request in knowing.asked:
        gone = [place for place, missing in enumerate(request.is_missing) if missing]
        assert gone == list(range(FIRST, FIRST + MISSING))
        assert all(request.bars[place].notes == () for place in gone)


@pytest.mark.slow
def test_an_obedient_player_reaches_the_density_aims_and_a_wild_one_none(songs: list[Song], tmp_path: Path) -> None:
    heard: list[int] = []
    trial = Trial(3, 16, keep=tmp_path, on_piece=lambda: heard.append(1))
    good = plan(Obedient(), songs, trial)
    for name in ("all: density r", "alone: density r", "past: density r", "drawn: density r", "all: density mae"):
        assert next(line for line in good.lines if line.name == name).reached == "aim", name
    assert good.value("all: density mae") == 0 and good.value("alone: register mae") is not None
    assert good.value("drawn silence: share of silent bars that sound") == 0
    assert len(heard) == plays(3) == len(list(tmp_path.iterdir()))
    wild = plan(Wild(), songs, Trial(3, 16))
    for name in ("all: density r", "alone: density r", "past: density r", "drawn: density r", "all: density mae"):
        assert next(line for line in wild.lines if line.name == name).reached == "no", name
    assert wild.value("drawn silence: share of silent bars that sound") == 1


@pytest.mark.slow
def test_guidance_that_tightens_is_measured(songs: list[Song]) -> None:
    report = plan(Obedient(slip=4.0), songs, Trial(3, 16))
    errors = next(line.values for line in report.lines if line.name == "guidance: plan error in sd")
    assert errors[0] is not None and errors[2] is not None and errors[2] < errors[0]
    ratio = next(line for line in report.lines if line.name.startswith("guidance: plan error, cfg"))
    assert ratio.reached == "aim"


def test_a_plan_judge_without_long_enough_songs_says_so() -> None:
    with pytest.raises(JudgeError, match="two runs of 32 full 4/4 bars"):
        plan(Obedient(), [song(0, bars=20)], Trial(3, 32))
    with pytest.raises(JudgeError, match="two runs of 16 full 4/4 bars"):
        infill(Copying(), [song(0, bars=10)], Trial(3, 16))


def test_a_piece_goes_on_from_its_past_and_keeps_what_was_given(songs: list[Song]) -> None:
    """The past is not part of the piece, but every bar is asked for behind it."""
    asked: list[BarRequest] = []

    class Noting(Wild):
        def bar(self, request: BarRequest):  # type: ignore[no-untyped-def]
            asked.append(request)
            return super().bar(request)

    table = unknown_plan(3)
    table[:, 0] = [5, 6, 7]
    past = bars_of(songs[0], 0, 8)
    made = play(Noting(), 3, 1, Sampling(), Wish(table, None, past))
    assert [bar.index for bar in made] == [8, 9, 10]
    assert [len(request.past) for request in asked] == [8, 9, 10]
    assert [request.plan[0, 0] for request in asked] == [5, 6, 7]
    assert asked[0].past == past


@pytest.mark.slow
def test_a_latent_that_decides_is_told_from_one_that_does_nothing(anchors: Anchors) -> None:
    has_sklearn()
    good = latent(Dreaming(aligned_dream), anchors, Trial(12, 32))
    idle = latent(Dreaming(lambda z: np.zeros((32, 6)), loose=1.0), anchors, Trial(12, 32))
    assert next(line for line in good.lines if line.name == "eta2").reached == "aim"
    assert (idle.value("eta2"), good.value("eta2 at gain 0")) == (0, 0)
    for name in ("density level", "density slope", "register", "loudness", "tempo"):
        assert good.value(f"slider {name}: Spearman") == pytest.approx(1, abs=0.02), name
        assert (idle.value(f"slider {name}: Spearman") or 0) < 0.9, name
    assert good.value("same latent and seed, same plan") == 1
    assert (good.value("smoothness of sliders: largest step over mean") or 9) < 2.5
    assert (good.value("transmission density: r of plan and notes") or 0) > 0.97


@pytest.mark.slow
def test_a_jump_is_rough_and_influence_is_the_share_between_latents(anchors: Anchors) -> None:
    has_sklearn()
    jumping = latent(Dreaming(lambda z: np.full((32, 6), float(z[0] > 0.3))), anchors, Trial(5, 32))
    assert (jumping.value("smoothness of sliders: largest step over mean") or 0) > 2.5
    plans = np.zeros((2, 2, 1, 1))
    plans[:, :, 0, 0] = [[0, 2], [4, 6]]
    assert influence(plans).ravel().tolist() == [4, 5]


def test_slider_values_of_a_known_plan() -> None:
    table = np.zeros((1, 32, 6))
    table[0, :, 0] = 10 + 0.5 * np.arange(32)
    table[0, :, 1], table[0, :, 4], table[0, :, 5] = 90, 60, 80
    found = {name: float(values[0]) for name, values in slider_values(table).items()}
    assert found == pytest.approx(
        {"density level": 17.75, "density slope": 0.5, "register": 60, "loudness": 80, "tempo": 90}
    )


def test_a_player_without_a_latent_is_refused(anchors: Anchors) -> None:
    with pytest.raises(JudgeError, match="has no latent"):
        latent(Wild(), anchors, Trial(5, 32))


@pytest.mark.slow
def test_a_long_set_that_creeps_is_told_from_one_that_stays(anchors: Anchors) -> None:
    steady = compare_live([whole(song(200 + seed, bars=128)) for seed in range(3)], anchors)

    class Creeping(Wild):
        def bar(self, request: BarRequest):  # type: ignore[no-untyped-def]
            reply = super().bar(request)
            kept = reply.bar.notes[: 2 + request.index // 8]
            return type(reply)(type(reply.bar)(request.index, kept), reply.plan, 0, 0)

    creeping = live(Creeping(), anchors, Trial(2, 128))
    assert (creeping.value("creep onsets_per_bar") or 0) > 0.9
    assert abs(steady.value("creep onsets_per_bar") or 0) < 0.5
    assert (steady.value("theme_return") or 0) > 0.7 > (creeping.value("theme_return") or 0)
    assert (creeping.value("novel") or 0) > (steady.value("novel") or 0)
    with pytest.raises(JudgeError, match="too short to judge"):
        live(Wild(), anchors, Trial(1, 64))


def test_the_court_says_what_a_judge_needs(anchors: Anchors, songs: list[Song]) -> None:
    trial = Trial(2, 16)
    assert judge("memory", Wild(), trial, anchors, []).judge == "memory"
    assert judge("infill", Copying(), trial, None, songs).judge == "infill"
    with pytest.raises(JudgeError, match="--data DIR"):
        judge("plan", Wild(), trial, anchors, [])
    with pytest.raises(JudgeError, match="--anchors FILE or --data DIR"):
        judge("live", Wild(), trial, None, songs)
    with pytest.raises(JudgeError, match="there are: quality, plan, latent, infill, memory, live"):
        judge("taste", Wild(), trial, anchors, songs)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("memory", 2), ("infill", 3), ("latent", 6)])
def test_a_progress_bar_ends_full(name: str, size: int, anchors: Anchors, songs: list[Song]) -> None:
    has_sklearn()
    heard: list[int] = []
    judge(name, Both(aligned_dream), Trial(size, 16, on_piece=lambda: heard.append(1)), anchors, songs)
    assert len(heard) == pieces_heard(name, size)
