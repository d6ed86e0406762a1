"""OSC over UDP in: datagrams to calls of a handler with an address, plain arguments and the sender.

What arrives is not trusted: bundles are walked here without recursion and within limits, time tags are
ignored (everything is now), addresses are taken literally, and whatever does not parse is counted and
dropped. Knows no control and no range.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pythonosc.osc_message import OscMessage

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 5005
RECEIVE_BUFFER_BYTES = 1 << 20

BUNDLE_HEAD = b"#bundle\0"
BUNDLE_HEAD_BYTES = 16
DEEPEST_BUNDLE = 8
MOST_ELEMENTS = 4096
LARGEST_MESSAGE_BYTES = 4096
LONGEST_ADDRESS = 255
WILDCARDS = frozenset("*?[]{},# ")

ARGUMENT_BYTES = {"i": 4, "f": 4, "h": 8, "d": 8, "s": 4, "T": 0, "F": 0, "N": 0, "I": 0}
"""The types understood, with the fewest bytes each takes. No control takes a blob, an array or a date."""

Argument = int | float | bool | str | None
Peer = tuple[str, int]
Handler = Callable[[str, tuple[Argument, ...], Peer], None]

log = logging.getLogger(__name__)


class OscPortError(OSError):
    """The UDP port cannot be opened; the message says which, why, and what to type instead."""


class RefusedDatagram(ValueError):
    """A datagram or an element of it that is not OSC as we accept it; `kind` names what is counted."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@dataclass(slots=True)
class OscCounts:
    """What came in since the start. `refused` counts by kind; `last_refusal` is a text for the performer."""

    datagrams: int = 0
    messages: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    last_refusal: str = ""


class OscIn(asyncio.DatagramProtocol):
    """Calls `handler(address, arguments, peer)` for every message, in order, on the event loop. A handler
    that raises is counted as refused of kind "handler" and logged; nothing else gets past this class."""

    def __init__(self, handler: Handler) -> None:
        self.counts = OscCounts()
        self._handler = handler

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self.receive(data, (str(addr[0]), int(addr[1])))

    def error_received(self, exc: Exception) -> None:
        self._refuse("socket", str(exc))

    def receive(self, datagram: bytes, peer: Peer) -> None:
        """Takes one datagram. When a part of a bundle is broken, what stands before it has been obeyed
        and the rest is dropped, because sizes after it mean nothing."""
        self.counts.datagrams += 1
        try:
            for element in elements(datagram):
                self._receive_message(element, peer)
        except RefusedDatagram as refusal:
            self._refuse(refusal.kind, str(refusal))

    def _receive_message(self, element: bytes, peer: Peer) -> None:
        try:
            address, arguments = parse_message(element)
        except RefusedDatagram as refusal:
            self._refuse(refusal.kind, str(refusal))
            return
        self.counts.messages += 1
        try:
            self._handler(address, arguments, peer)
        except Exception as error:
            # The border between the network and the show: a defect behind it must not end the listening.
            if self.counts.refused["handler"] == 0:
                log.exception("the handler of %s failed", address)
            self._refuse("handler", f"{address}: {error!r}")

    def _refuse(self, kind: str, text: str) -> None:
        self.counts.refused[kind] += 1
        self.counts.last_refusal = text[:200]


def elements(datagram: bytes) -> Iterator[bytes]:
    """The single messages of a datagram, bundles opened, in order. Takes at most as many steps as there
    are elements; raises RefusedDatagram at the first size that does not fit or limit that is passed."""
    if not datagram.startswith(BUNDLE_HEAD):
        yield datagram
        return
    seen = 0
    open_bundles = [(BUNDLE_HEAD_BYTES, len(datagram))]
    while open_bundles:
        start, end = open_bundles.pop()
        if start >= end:
            continue
        seen += 1
        if seen > MOST_ELEMENTS:
            raise RefusedDatagram("elements", f"more than {MOST_ELEMENTS} elements in one datagram")
        if end - start < 4:
            raise RefusedDatagram("size", "a bundle ends inside an element size")
        size = int.from_bytes(datagram[start : start + 4], "big", signed=True)
        first, after = start + 4, start + 4 + size
        if size <= 0 or after > end:
            raise RefusedDatagram("size", f"element size {size} where {end - first} bytes are left")
        open_bundles.append((after, end))
        if not datagram.startswith(BUNDLE_HEAD, first, after):
            yield datagram[first:after]
        elif len(open_bundles) >= DEEPEST_BUNDLE:
            raise RefusedDatagram("depth", f"bundles nested deeper than {DEEPEST_BUNDLE}")
        else:
            open_bundles.append((first + BUNDLE_HEAD_BYTES, after))


def parse_message(element: bytes) -> tuple[str, tuple[Argument, ...]]:
    """The literal address and the arguments of one message; raises RefusedDatagram for all else. An
    impulse (type I) arrives as infinity, which is also what some senders write it for."""
    if len(element) > LARGEST_MESSAGE_BYTES:
        raise RefusedDatagram("length", f"a message of {len(element)} bytes; allowed: {LARGEST_MESSAGE_BYTES}")
    tags, first_tag = _checked_head(element)
    if "I" in tags:
        # The parser drops impulses with a log line each; as nils they keep their place.
        last_tag = first_tag + len(tags)
        element = element[:first_tag] + element[first_tag:last_tag].replace(b"I", b"N") + element[last_tag:]
    try:
        message = OscMessage(element)
        arguments: tuple[Argument, ...] = tuple(
            math.inf if tag == "I" else value for tag, value in zip(tags, message.params, strict=True)
        )
        return str(message.address), arguments
    except Exception as error:
        # Broken text and short data leave the parser as exceptions of several unrelated kinds.
        raise RefusedDatagram("content", f"{type(error).__name__}: {error}") from error


def _checked_head(element: bytes) -> tuple[str, int]:
    """The type tags without their comma, and where they begin; what the parser cannot take is refused here."""
    address_end = element.find(b"\0")
    if address_end < 0 or not element.startswith(b"/"):
        raise RefusedDatagram("address", "a message begins with / and an address that ends in a zero byte")
    if address_end > LONGEST_ADDRESS or not element[:address_end].isascii():
        raise RefusedDatagram("address", f"an address has up to {LONGEST_ADDRESS} ASCII characters")
    address = element[:address_end].decode("ascii")
    if not address.isprintable() or not WILDCARDS.isdisjoint(address):
        raise RefusedDatagram("address", f"{address[:40]!r}: addresses are taken literally, without patterns")
    tag_start = (address_end // 4 + 1) * 4
    if tag_start >= len(element):
        return "", tag_start
    tag_end = element.find(b"\0", tag_start)
    if tag_end < 0 or element[tag_start : tag_start + 1] != b",":
        raise RefusedDatagram("types", f"{address}: type tags begin with a comma and end in a zero byte")
    tags = element[tag_start + 1 : tag_end].decode("latin-1")
    strange = set(tags) - ARGUMENT_BYTES.keys()
    if strange:
        raise RefusedDatagram("types", f"{address}: argument types {sorted(strange)} are not understood")
    # The parser would fill a cut number up with zeros and so invent a value.
    if (tag_end // 4 + 1) * 4 + sum(ARGUMENT_BYTES[tag] for tag in tags) > len(element):
        raise RefusedDatagram("length", f"{address}: fewer bytes than its types {tags[:40]} need")
    return tags, tag_start + 1


async def open_osc_in(
    handler: Handler, host: str = DEFAULT_HOST, port: int = DEFAULT_PORT
) -> tuple[asyncio.DatagramTransport, OscIn]:
    """Listens on a UDP port (0: any free one) until the transport is closed. Raises OscPortError when
    the port cannot be had."""
    listener = bound_socket(host, port)
    try:
        transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: OscIn(handler), sock=listener
        )
    except BaseException:
        listener.close()
        raise
    return transport, protocol


def bound_socket(host: str, port: int) -> socket.socket:
    """A non-blocking UDP socket with room for bursts of several thousand messages."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        listener.setblocking(False)
        listener.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:
        listener.close()
        raise OscPortError(_advice(host, port, error)) from error
    return listener


def _advice(host: str, port: int, error: Exception) -> str:
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EADDRINUSE:
        return f"OSC port {port} on {host} is taken by another program; choose a free one with --osc-port"
    if code == errno.EACCES:
        return f"OSC port {port} on {host} needs rights this user lacks; choose one above 1023 with --osc-port"
    return f"OSC cannot listen on {host} port {port} ({error}); choose another with --osc-port or --osc-host"
