import math
import random

import numpy as np
import pytest

from fractal_live.live.latent_path import FURTHEST, ORIGIN, WALK_BARS, LatentPath, Point, between, wandering


def point(*values: float) -> Point:
    return (*values, *ORIGIN[len(values) :])


def drawn(rng: random.Random, size: float = 1) -> Point:
    return tuple(size * rng.gauss(0, 1) for _ in ORIGIN)


def angle(a: Point, b: Point) -> float:
    return math.acos(float(np.dot(a, b)) / (math.hypot(*a) * math.hypot(*b)))


# The way between two points.


def test_on_the_way_the_direction_turns_evenly_and_the_norm_changes_evenly() -> None:
    rng = random.Random(1)
    for _ in range(50):
        a, b, share = drawn(rng, rng.uniform(0.1, 3)), drawn(rng, rng.uniform(0.1, 3)), rng.uniform(0.01, 0.99)
        middle = between(a, b, share)
        assert angle(a, middle) == pytest.approx(share * angle(a, b), abs=1e-6)
        assert angle(middle, b) == pytest.approx((1 - share) * angle(a, b), abs=1e-6)
        assert math.hypot(*middle) == pytest.approx((1 - share) * math.hypot(*a) + share * math.hypot(*b))


def test_the_way_is_the_same_from_both_ends_and_ends_exactly() -> None:
    rng = random.Random(2)
    for _ in range(50):
        a, b, share = drawn(rng), drawn(rng), rng.random()
        assert between(a, b, share) == pytest.approx(between(b, a, 1 - share), abs=1e-12)
        assert (between(a, b, 0), between(a, b, 1)) == (a, b)


def test_the_way_is_straight_where_there_is_no_one_circle() -> None:
    """From or to the origin, towards the same direction, and to the opposite one: a single fader that is pulled
    through zero moves that dimension alone."""
    a = point(2, 1)
    for b, middle in (
        (ORIGIN, point(1, 0.5)),
        (point(4, 2), point(3, 1.5)),
        (point(-2, -1), ORIGIN),
        (a, a),
    ):
        assert between(a, b, 0.5) == pytest.approx(middle)
        assert between(b, a, 0.5) == pytest.approx(middle)


# Gliding.


def test_a_glide_leaves_the_playing_bar_as_it_is_and_arrives_exactly_at_its_last_bar() -> None:
    start, target = point(1, 0), point(0, 2)
    path = LatentPath(start).towards(target, playing_bar=9, glide_bars=4)
    assert path.at(9, 0) == start
    assert [path.at(bar, 0) for bar in (10, 11, 12)] == [between(start, target, share) for share in (0.25, 0.5, 0.75)]
    assert {path.at(bar, 0) for bar in (13, 14, 1000)} == {target}


@pytest.mark.parametrize("glide_bars", [0, 1])
def test_without_a_glide_the_next_bar_is_at_the_target(glide_bars: int) -> None:
    path = LatentPath(point(1)).towards(point(3), playing_bar=9, glide_bars=glide_bars)
    assert path.at(10, 0) == point(3)


def test_a_new_target_while_gliding_starts_from_where_it_is() -> None:
    path = LatentPath(point(1, 0)).towards(point(0, 2), 10, 8)
    where = path.at(13, 0)
    turned = path.towards(point(-3, 1), 13, 5)
    assert turned.at(13, 0) == where
    assert turned.at(14, 0) == between(where, point(-3, 1), 0.2)
    assert turned.at(18, 0) == point(-3, 1)


def test_a_target_that_is_sent_every_frame_arrives_when_the_first_would() -> None:
    once = LatentPath().towards(point(2, 1), 0, 6)
    path = once
    for bar in range(6):
        for _ in range(10):
            path = path.towards(point(2, 1), bar, 6)
    assert path == once


def test_targets_that_move_within_a_bar_all_start_from_that_bar() -> None:
    path = LatentPath(point(1)).towards(point(2), 4, 8)
    for step in range(60):
        path = path.towards(point(2, step / 10), 6, 8)
    assert path.at(6, 0) == pytest.approx(point(1.25))
    assert path == LatentPath(point(1)).towards(point(2), 4, 8).towards(point(2, 5.9), 6, 8)


def test_bars_before_a_glide_and_a_glide_that_was_ended_are_at_the_target() -> None:
    path = LatentPath(point(1)).towards(point(3), 20, 8)
    assert path.at(0, 0) == point(3)
    assert {path.settled().at(bar, 0) for bar in range(40)} == {point(3)}


# Walking.


def test_a_bar_has_the_same_latent_whatever_was_asked_before() -> None:
    path = LatentPath(walk=0.7)
    bars = list(range(60)) * 2
    random.Random(3).shuffle(bars)
    shuffled: dict[int, set[Point]] = {}
    for bar in bars:
        shuffled.setdefault(bar, set()).add(path.at(bar, 5))
        wandering.cache_clear()
    assert shuffled == {bar: {path.at(bar, 5)} for bar in range(60)}


def test_another_seed_walks_elsewhere_and_no_walk_stays() -> None:
    assert LatentPath(walk=0.5).at(3, 1) != LatentPath(walk=0.5).at(3, 2)
    assert LatentPath(point(1), walk=0.0).at(3, 1) == point(1)


@pytest.mark.parametrize(("seed", "bar"), [(-1, 0), (0, -1), (2**31 - 1, 10**7), (2**70, 3)])
def test_every_seed_and_bar_has_a_finite_walk(seed: int, bar: int) -> None:
    assert all(math.isfinite(value) and abs(value) < 10 for value in wandering(seed, bar))


def test_from_bar_to_bar_the_walk_takes_the_step_of_the_process_and_each_step_is_new() -> None:
    """What is left of a bar once its predecessor's share is taken off are independent N(0, 1): mean, deviation and
    correlation with the step before each miss by less than 5 standard errors (odds of a false alarm: 1 in 10^6,
    and none, because the seed is fixed)."""
    decay = math.exp(-1 / WALK_BARS)
    walk = np.array([wandering(11, bar) for bar in range(400)])
    steps = ((walk[1:] - decay * walk[:-1]) / math.sqrt(1 - decay**2)).ravel()
    error = 1 / math.sqrt(len(steps))
    assert abs(steps.mean()) < 5 * error
    assert abs(steps.std() - 1) < 5 * error
    assert abs(np.corrcoef(steps[:-16], steps[16:])[0, 1]) < 5 * error


def test_the_walk_is_stationary_with_the_deviation_that_was_asked_for() -> None:
    """Over seeds, at the beginning and late: 100 seeds of 16 dimensions, each within 5 standard errors."""
    path = LatentPath(point(0.5), walk=0.4)
    for bar in (0, 1, 2000):
        moved = np.array([path.at(bar, seed) for seed in range(100)]) - point(0.5)
        assert abs(moved.std() / 0.4 - 1) < 5 / math.sqrt(2 * moved.size)


def test_bars_that_lie_a_correlation_time_apart_correlate_by_one_over_e() -> None:
    apart = np.array([[wandering(seed, bar) for bar in (100, 100 + int(WALK_BARS))] for seed in range(200)])
    found = np.corrcoef(apart[:, 0].ravel(), apart[:, 1].ravel())[0, 1]
    assert abs(found - math.exp(-1)) < 5 / math.sqrt(apart[:, 0].size)


def test_the_walk_goes_about_the_glide_and_never_leaves_the_range() -> None:
    path = LatentPath(point(1), walk=0.3).towards(point(3, 1), 0, 4)
    still = LatentPath(point(1)).towards(point(3, 1), 0, 4)
    for bar in range(8):
        expected = np.array(still.at(bar, 9)) + 0.3 * np.array(wandering(9, bar))
        np.testing.assert_allclose(path.at(bar, 9), expected)
    edge = LatentPath((FURTHEST,) * 16, walk=1.0)
    assert max(max(edge.at(bar, 9)) for bar in range(50)) == FURTHEST
