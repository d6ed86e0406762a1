"""Somebody who remembers what came over OSC."""

import asyncio
import socket
import time
from typing import Any

from fractal_live.ports.osc_in import OscCounts, OscIn, Peer, open_osc_in

PEER = ("127.0.0.1", 9000)
SLOWEST_SECONDS = 2.0
"""Of processor time for one datagram, on a machine that others use too; the broken ones take minutes where they are not
caught."""


class Heard:
    """A handler that remembers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[object, ...]]] = []
        self.osc = OscIn(self)

    def __call__(self, address: str, arguments: tuple[object, ...], peer: Peer) -> None:
        self.calls.append((address, arguments))

    def receive(self, datagram: bytes) -> None:
        before = time.process_time()
        self.osc.receive(datagram, PEER)
        assert time.process_time() - before < SLOWEST_SECONDS

    @property
    def refused(self) -> dict[str, int]:
        return dict(self.osc.counts.refused)


def addresses(heard: Heard) -> list[str]:
    return [address for address, _ in heard.calls]


async def sent_at_once(datagrams: list[bytes], end: str, **options: Any) -> tuple[Heard, OscCounts]:
    """All datagrams wait in the socket before the loop first looks."""
    heard, over = Heard(), asyncio.Event()

    def handler(address: str, arguments: tuple[Any, ...], peer: Peer) -> None:
        heard(address, arguments, peer)
        if address == end:
            over.set()

    transport, osc = await open_osc_in(handler, port=0, **options)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for datagram in datagrams:
                sender.sendto(datagram, transport.get_extra_info("sockname"))
        await asyncio.wait_for(over.wait(), 5)
    finally:
        transport.close()
    return heard, osc.counts
