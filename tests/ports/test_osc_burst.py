import random
import struct

import pytest

from fractal_live.ports.osc_burst import UNKNOWN_AT_ONCE, Burst, Keep
from fractal_live.ports.osc_in import parse_message
from tests.ports.osc_bytes import message

PEER = ("127.0.0.1", 9000)
KEEP: dict[str, Keep] = {
    "/level": "newest",
    "/level/1": "newest",
    "/size": "newest",
    "/glide": "every",
    "/button": "presses",
    "/other": "presses",
}


def left_of(*messages: bytes, burst: Burst | None = None) -> list[tuple[str, tuple[object, ...]]]:
    burst = Burst(KEEP) if burst is None else burst
    for datagram in messages:
        burst.add(datagram, PEER)
    return [parse_message(kept) for kept, _ in burst.take()]


def test_of_a_value_the_newest_is_left() -> None:
    burst = Burst(KEEP)
    left = left_of(message("/size", 1.0), message("/level/1", 5.0), message("/size", 2.0), burst=burst)
    assert left == [("/level/1", (5.0,)), ("/size", (2.0,))]
    assert burst.superseded == 1 and len(burst) == 0


def test_a_part_of_a_vector_does_not_make_the_whole_void() -> None:
    left = left_of(message("/level", 1.0, 2.0, 3.0), message("/level", 9.0), message("/level", 8.0))
    assert left == [("/level", (1.0, 2.0, 3.0)), ("/level", (8.0,))]


def test_buttons_stand_between_the_values_they_stood_between() -> None:
    left = left_of(
        message("/size", 1.0),
        message("/size", 2.0),
        message("/button"),
        message("/size", 3.0),
        message("/glide", 4.0),
        message("/size", 5.0),
        message("/button", 1.0),
        message("/button", 1.0),
    )
    assert left == [
        ("/size", (2.0,)),
        ("/button", ()),
        ("/size", (3.0,)),
        ("/glide", (4.0,)),
        ("/size", (5.0,)),
        ("/button", (1.0,)),
        ("/button", (1.0,)),
    ]


@pytest.mark.parametrize("release", [(0.0,), (0,), (False,), (0.0, 0.0), (0, 0.0, False)])
def test_a_button_that_is_not_pressed_says_so_once(release: tuple[float, ...]) -> None:
    burst = Burst(KEEP)
    up = message("/button", *release)
    assert left_of(up, up, burst=burst) == [("/button", release)]
    assert left_of(up, message("/size", 1.0), up, burst=burst) == [("/size", (1.0,))]
    assert left_of(message("/button", 1.0), up, up, burst=burst) == [("/button", (1.0,)), ("/button", release)]
    assert burst.superseded == 4


@pytest.mark.parametrize("values", [(), (1.0,), (0.0, 1.0), (1e-40,), (struct.unpack(">f", b"ffff")[0],), (256,)])
def test_whatever_is_no_zero_is_a_press_each_time(values: tuple[float, ...]) -> None:
    press = message("/button", *values)
    assert len(left_of(press, press, press)) == 3


def test_slots_and_modes_are_kept_even_when_they_are_zero() -> None:
    assert left_of(message("/glide", 0.0), message("/glide", 0.0)) == [("/glide", (0.0,))] * 2


def test_of_addresses_that_nobody_knows_a_few_are_left_for_an_answer() -> None:
    burst = Burst(KEEP)
    strangers = [message(f"/stranger/{number}", 1.0) for number in range(1000)]
    assert len(left_of(*strangers, message("/size", 1.0), burst=burst)) == UNKNOWN_AT_ONCE + 1
    assert burst.unknown == 1000 - UNKNOWN_AT_ONCE


def test_without_knowledge_everything_is_kept() -> None:
    messages = [message("/size", float(number)) for number in range(50)]
    assert left_of(*messages, burst=Burst()) == [("/size", (float(number),)) for number in range(50)]


def obeyed(messages: list[tuple[str, tuple[object, ...]]]) -> list[object]:
    """A small instrument: what each button found, in order, and the values at the end."""
    level, size, glide, found = [0.0] * 3, 0.0, 0.0, []
    for address, values in messages:
        numbers = [float(value) for value in values if isinstance(value, (int, float))]
        if address == "/level":
            level[: len(numbers)] = numbers
        elif address == "/level/1":
            level[1] = numbers[-1]
        elif address == "/size":
            size = numbers[-1]
        elif address == "/glide":
            found.append(("glide", numbers[-1], tuple(level), size))
            glide = numbers[-1]
        elif not numbers or numbers[-1]:
            found.append((address, tuple(level), size, glide))
    return [*found, level, size]


def test_what_is_left_does_the_same_as_everything() -> None:
    rng = random.Random(11)
    for _ in range(300):
        messages = []
        for _ in range(rng.randint(1, 60)):
            address = rng.choice(("/level", "/level/1", "/size", "/size", "/size", "/glide", "/button", "/other"))
            count = rng.randint(1, 3) if address == "/level" else 1
            messages.append(message(address, *[float(rng.randint(0, 2)) for _ in range(count)]))
        assert obeyed(left_of(*messages)) == obeyed([parse_message(datagram) for datagram in messages])
