"""Bundles that are dated: obeyed at their time where that is asked for."""

import asyncio
import time

import pytest

from fractal_live.ports.osc_in import MOST_ELEMENTS, OscIn
from tests.ports.osc_bytes import bundle, message, padded, tag_of
from tests.ports.osc_heard import Heard, addresses, sent_at_once


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now_s


def dated(heard: Heard, obeys: bool) -> Clock:
    clock = Clock()
    heard.osc = OscIn(heard, obeys_time_tags=obeys, clock=clock)
    return clock


def test_a_bundle_a_little_ahead_is_obeyed_at_its_time_where_that_is_asked_for(heard: Heard) -> None:
    clock = dated(heard, True)
    heard.receive(bundle(message("/3"), message("/4"), tag=tag_of(clock.now_s + 0.2)))
    heard.receive(bundle(message("/2"), tag=tag_of(clock.now_s + 0.1)))
    heard.receive(message("/1"))
    heard.osc.obey_due()
    assert addresses(heard) == ["/1"]
    clock.now_s += 0.15
    heard.osc.obey_due()
    assert addresses(heard) == ["/1", "/2"]
    clock.now_s += 0.1
    heard.osc.obey_due()
    assert addresses(heard) == ["/1", "/2", "/3", "/4"]


@pytest.mark.parametrize("ahead_s", [-1e6, -0.1, 0.0, 0.3, 3600, 365 * 86400])
def test_a_date_that_is_past_or_far_off_is_now(heard: Heard, ahead_s: float) -> None:
    clock = dated(heard, True)
    heard.receive(bundle(message("/1"), tag=tag_of(clock.now_s + ahead_s)))
    assert addresses(heard) == ["/1"]


def test_dates_mean_nothing_unless_asked_for(heard: Heard) -> None:
    clock = dated(heard, False)
    heard.receive(bundle(message("/1"), tag=tag_of(clock.now_s + 0.1)))
    assert addresses(heard) == ["/1"]


def test_a_clock_that_is_set_back_loses_nothing(heard: Heard) -> None:
    clock = dated(heard, True)
    heard.receive(bundle(message("/1"), tag=tag_of(clock.now_s + 0.1)))
    clock.now_s -= 3600
    heard.osc.obey_due()
    assert addresses(heard) == ["/1"]


def test_a_bundle_in_a_bundle_has_its_own_date(heard: Heard) -> None:
    clock = dated(heard, True)
    inner = bundle(message("/2"), tag=tag_of(clock.now_s + 0.1))
    heard.receive(bundle(inner, message("/1")))
    assert addresses(heard) == ["/1"]
    clock.now_s += 0.2
    heard.osc.obey_due()
    assert addresses(heard) == ["/1", "/2"]


def test_more_than_can_be_kept_for_later_is_now(heard: Heard) -> None:
    clock = dated(heard, True)
    for _ in range(2):
        heard.receive(bundle(*[padded(b"/a")] * MOST_ELEMENTS, tag=tag_of(clock.now_s + 0.1)))
    assert len(heard.calls) == MOST_ELEMENTS


def test_a_dated_bundle_wakes_the_loop_at_its_time() -> None:
    began_s = time.time()
    datagrams = [bundle(message("/late"), tag=tag_of(began_s + 0.2)), message("/soon")]
    heard, _ = asyncio.run(sent_at_once(datagrams, "/late", obeys_time_tags=True))
    assert addresses(heard) == ["/soon", "/late"]
    assert time.time() >= began_s + 0.2
