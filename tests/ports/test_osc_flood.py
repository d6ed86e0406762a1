"""More than can be read: of a burst the newest values and every press."""

import asyncio
import socket
import time
from typing import Any

import pytest

from fractal_live.live.control_table import KEEP
from fractal_live.live.controls import Controls
from fractal_live.ports.osc_in import OscCounts, OscIn, Peer, open_osc_in
from tests.ports.osc_bytes import bundle, message
from tests.ports.osc_heard import PEER, addresses, sent_at_once


def test_the_end_of_a_burst_is_told_after_its_messages() -> None:
    told: list[str] = []
    osc = OscIn(lambda address, arguments, peer: told.append(address), KEEP, after_burst=lambda: told.append("over"))
    osc.receive(bundle(message("/fractal/param/cfg", 1.0), message("/fractal/param/cfg", 2.0)), PEER)
    osc.receive(message("/fractal/panic"), PEER)
    assert told == ["/fractal/param/cfg", "over", "/fractal/panic", "over"]


def test_of_a_burst_in_the_socket_the_newest_values_and_all_presses_are_obeyed() -> None:
    burst = [message("/fractal/param/temperature", 0.1 + number / 1000) for number in range(300)]
    burst[100:100] = [message("/fractal/reroll")]
    burst[200:200] = [bundle(message("/fractal/reroll"), message("/fractal/param/cfg", 2.0))]
    heard, counts = asyncio.run(sent_at_once([*burst, message("/fractal/panic")], "/fractal/panic", keep=KEEP))
    assert counts.datagrams == 303 and counts.messages == 304
    assert len(heard.calls) < 60, "most were never read"
    presses = [address for address, _ in heard.calls if address != "/fractal/param/temperature"]
    assert presses == ["/fractal/reroll", "/fractal/reroll", "/fractal/param/cfg", "/fractal/panic"]
    place = addresses(heard).index("/fractal/reroll")
    assert heard.calls[place - 1] == ("/fractal/param/temperature", (pytest.approx(0.199),))
    assert heard.calls[-2][1] == (pytest.approx(0.399),)


MOVED = [f"/fractal/latent/level0/{number}" for number in range(16)] + ["/fractal/plan/density", "/fractal/param/swing"]


def frame_of(number: int) -> list[bytes]:
    """A video frame of a sender that says everything, again and again: 1000 messages."""
    value = 0.25 + number / 512
    frame = [message(f"/project1/chan{k}", value) for k in range(200)] + [message("/fractal/panic", 0.0)] * 80
    return frame + [message(address, value * (1 + k / 40)) for k in range(40) for address in MOVED]


async def flooded(frames: int) -> tuple[Controls, OscCounts, int, int, float]:
    """Controls after so many frames through a socket, as single datagrams and as one bundle in turn; the counts,
    the datagrams sent, the messages read, and the processor time that took. The sender waits for the receiver, so
    that nothing depends on who else wants the processor."""
    controls, read, over = Controls(), 0, asyncio.Event()

    def handler(address: str, arguments: tuple[Any, ...], peer: Peer) -> None:
        nonlocal read
        read += 1
        controls.apply(address, arguments)

    transport, osc = await open_osc_in(handler, port=0, keep=KEEP, after_burst=over.set)
    sent, used_s = 0, 0.0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(frames):
            frame = frame_of(number)
            parts = [bundle(*frame)] if number % 2 else frame
            for start in range(0, len(parts), 200):
                for part in parts[start : start + 200]:
                    sender.sendto(part, transport.get_extra_info("sockname"))
                    sent += 1
                before_s = time.process_time()
                while osc.counts.datagrams < sent:
                    over.clear()
                    await over.wait()
                used_s += time.process_time() - before_s
    transport.close()
    return controls, osc.counts, sent, read, used_s


def test_a_flood_loses_nothing_and_costs_little_of_what_reading_it_all_would() -> None:
    frames = 16
    controls, counts, sent, read, used_s = asyncio.run(flooded(frames))
    assert counts.datagrams == sent
    assert counts.messages + counts.refused["unknown"] == frames * 1000
    assert read < frames * 300
    value = 0.25 + (frames - 1) / 512
    newest = value * (1 + 39 / 40)
    assert controls.snapshot.latent == pytest.approx([newest] * 16)
    assert controls.values()["/fractal/plan/density"] == pytest.approx((newest,))
    reading, twin = [part for number in range(4) for part in frame_of(number)], Controls()
    everything = OscIn(lambda address, arguments, peer: bool(twin.apply(address, arguments)))
    before_s = time.process_time()
    for part in reading:
        everything.receive(part, PEER)
    assert used_s / frames < 0.5 * (time.process_time() - before_s) / 4
