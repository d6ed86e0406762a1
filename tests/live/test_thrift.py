"""A model that is slower than the music is asked for less, and for everything again once it is fast."""

from __future__ import annotations

from fractal_live.live.thrift import Thrift
from fractal_live.music.request import Sampling

WISHED = Sampling(temperature=0.7, iterations=8, cfg_scale=1.5)
BAR_NS = 2_000_000_000


def after(*shares: float) -> Thrift:
    thrift = Thrift()
    for share in shares:
        thrift.took(round(share * BAR_NS), BAR_NS)
    return thrift


def test_a_fast_model_is_asked_for_what_was_wished() -> None:
    assert after(*[0.3] * 20).spared(WISHED) == WISHED


def test_one_slow_bar_changes_nothing() -> None:
    assert not after(0.3, 0.3, 0.3, 5.0, 0.3, 0.3).is_on


def test_a_slow_model_is_asked_for_one_round_and_no_guidance() -> None:
    assert after(*[0.9] * 4).spared(WISHED) == Sampling(temperature=0.7, iterations=1, cfg_scale=1.0)


def test_it_is_spared_until_it_is_clearly_fast_again() -> None:
    """Sparing makes it faster; to ask for everything at once again would only make it late again."""
    assert after(*[0.9] * 4, *[0.5] * 20).is_on
    assert not after(*[0.9] * 4, *[0.2] * 8).is_on
