import numpy as np

from fractal_live.live.horizon import Horizon
from fractal_live.live.latent_path import ORIGIN
from fractal_live.music.plan import PLAN_BARS, unknown_plan

THERE = (1.0,) * 16


def numbered(start: float) -> np.ndarray:
    """A plan whose cells in row i are start + i."""
    return np.repeat(np.float32(start) + np.arange(PLAN_BARS, dtype=np.float32)[:, None], 6, axis=1)


def test_a_row_is_imagined_once_while_the_latent_stays() -> None:
    horizon = Horizon()
    horizon.imagined(10, numbered(0), ORIGIN)
    horizon.imagined(12, numbered(100), ORIGIN)
    np.testing.assert_array_equal(
        horizon.known_from(12, ORIGIN), np.concatenate([numbered(2)[:-2], numbered(100)[-2:]])
    )


def test_rows_of_another_latent_are_unknown_and_give_way() -> None:
    horizon = Horizon()
    horizon.imagined(10, numbered(0), None)
    np.testing.assert_array_equal(horizon.known_from(11, THERE), unknown_plan())
    horizon.imagined(11, numbered(100), THERE)
    np.testing.assert_array_equal(horizon.known_from(11, THERE), numbered(100))
    np.testing.assert_array_equal(horizon.known_from(10, None)[:2, 0], [0, np.nan])


def test_what_was_forgotten_is_unknown_and_the_rest_is_kept() -> None:
    horizon = Horizon()
    horizon.imagined(0, numbered(0), ORIGIN)
    horizon.forget_from(20)
    horizon.forget_before(5)
    known = [horizon.row(index) is not None for index in range(PLAN_BARS)]
    assert known == [5 <= index < 20 for index in range(PLAN_BARS)]
