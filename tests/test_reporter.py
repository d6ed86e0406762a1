import time
from collections.abc import Iterator

import pytest

from fractal_live.live.control_table import BY_NAME
from fractal_live.ports.osc_out import OscOut, Peer
from fractal_live.ports.pipes import TransportState
from fractal_live.reporter import Reporter
from fractal_live.status import Status

HERE, ELSEWHERE = ("127.0.0.1", 7000), ("127.0.0.2", 7000)


class Letters(OscOut):
    """Keeps what would be sent: (receivers, values)."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[tuple[Peer, ...], tuple[object, ...]]] = []

    def send(self, address: str, *values: object, to: object = None) -> None:
        assert address == "/fractal/out/error"
        self.told.append((self.subscribers if to is None else tuple(to), values))  # type: ignore[call-overload]


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def out() -> Iterator[Letters]:
    letters = Letters()
    letters.subscribe(*HERE)
    letters.subscribe(*ELSEWHERE)
    yield letters
    letters.close()


@pytest.fixture
def status() -> Status:
    return Status(TransportState(False, 0, 120.0, False, time.monotonic_ns()))


def test_each_kind_is_told_once_a_second_and_the_rest_are_counted(out: Letters, status: Status) -> None:
    clock = Clock()
    reporter = Reporter(status, out, clock)
    for number in range(1000):
        clock.now_s = 100 + number / 500
        reporter.tell(f"/nowhere/{number}", "no such address")
        reporter.tell("not a number", BY_NAME["cfg"].name)
    assert [values[0] for _, values in out.told] == [
        "/nowhere/0",
        "not a number",
        "/nowhere/500 (and 499 more like it)",
        "not a number (and 499 more like it)",
    ]
    assert reporter.kept_back == 1996
    assert list(status.errors) == [values[0] for _, values in out.told]


def test_the_same_text_is_told_once_a_second_without_a_kind(out: Letters, status: Status) -> None:
    clock = Clock()
    reporter = Reporter(status, out, clock)
    for _ in range(3):
        reporter.tell("the disk is full")
    clock.now_s += 1.0
    reporter.tell("the disk is full")
    assert [values for _, values in out.told] == [("the disk is full",)] * 2


def test_a_mistake_is_answered_to_who_made_it(out: Letters, status: Status) -> None:
    reporter = Reporter(status, out, Clock())
    reporter.tell("a", mistaken=HERE)
    reporter.tell("b", mistaken=("127.0.0.2", 55_555))
    reporter.tell("c", mistaken=("127.0.0.3", 7000))
    reporter.tell("d")
    assert [receivers for receivers, _ in out.told] == [(HERE,), (ELSEWHERE,), (HERE, ELSEWHERE), (HERE, ELSEWHERE)]
