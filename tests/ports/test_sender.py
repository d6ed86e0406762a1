"""The thread that sends: nothing early, nothing out of order, chords in one go, no more than its queue holds."""

from __future__ import annotations

import contextlib
import time

from fractal_live.ports.midi_system import PortError
from fractal_live.ports.sender import MAX_WAITING, Event, Sender
from tests.instrument import wait_for

MS = 1_000_000
FAR_NS = 3_600_000 * MS


def test_each_message_leaves_at_its_time_or_after_and_a_chord_in_one_go() -> None:
    left: list[tuple[int, bytes]] = []
    batches: list[int] = []
    sender = Sender(
        lambda message: left.append((time.monotonic_ns(), message)),
        lambda: batches.append(len(left)),
        is_realtime=False,
    )
    with contextlib.closing(sender):
        start_ns = time.monotonic_ns() + 30 * MS
        chord: list[Event] = [(start_ns, 0, bytes((0x90, pitch, 80))) for pitch in (60, 64, 67)]
        after: Event = (start_ns + 40 * MS, 20, b"\x80\x3c\x00")
        assert sender.play([*chord, after]) == 4
        wait_for(lambda: len(left) == 4, 5, "all of it")
        sent = sender.take_sent()
        assert [event for event, _ in sent] == [*chord, after]
        assert [message for _, message in left] == [message for _, _, message in (*chord, after)]
        assert all(at_ns >= event[0] for event, at_ns in sent)
        assert batches == [3, 4]


def test_what_waits_can_be_taken_back_and_the_queue_is_bounded() -> None:
    left: list[bytes] = []
    sender = Sender(left.append, lambda: None, is_realtime=False)
    with contextlib.closing(sender):
        far_ns = time.monotonic_ns() + FAR_NS
        assert sender.play([(far_ns, 0, b"\x90\x3c\x50")] * (MAX_WAITING + 7)) == MAX_WAITING
        assert sender.play([(far_ns, 0, b"\x90\x3c\x50")]) == 0
        assert sender.take_back() == MAX_WAITING
        sender.send([b"\x80\x3c\x00"])
        assert left == [b"\x80\x3c\x00"] and sender.take_sent() == []


def test_what_the_port_refuses_is_kept_to_be_told_and_the_next_message_is_sent() -> None:
    left: list[bytes] = []

    def transmit(message: bytes) -> None:
        if message[1] == 61:
            raise PortError("no such note")
        left.append(message)

    sender = Sender(transmit, lambda: None, is_realtime=False)
    with contextlib.closing(sender):
        sender.send([bytes((0x90, pitch, 80)) for pitch in (60, 61, 62)])
        assert [message[1] for message in left] == [60, 62]
        assert list(sender.faults) == ["no such note"]
