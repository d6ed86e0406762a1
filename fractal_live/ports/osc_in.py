"""OSC over UDP in: datagrams to calls of a handler with an address, plain arguments and the sender.

What arrives is not trusted: bundles are walked here without recursion and within limits, everything is now (unless
time tags are asked for, and then within a quarter of a second), addresses are taken literally, and whatever does not
parse is counted and dropped. A burst is read as far as it counts (`ports.osc_burst`). Knows no control and no range.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import logging
import math
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field

from pythonosc.osc_message import OscMessage

from fractal_live.ports.osc_burst import Burst, Keep, Peer

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 5005
RECEIVE_BUFFER_BYTES = 4 << 20
LARGEST_DATAGRAM_BYTES = 1 << 16

TURN_S = 0.004
"""So long a burst is read before others on the event loop have their turn."""

LONGEST_BURST_S = 0.05
MOST_AT_ONCE = 512
"""A burst that does not end is obeyed after this time, or when so many of its messages count."""

BUNDLE_HEAD = b"#bundle\0"
BUNDLE_HEAD_BYTES = 16
IMMEDIATELY = 1
UNITS_PER_SECOND = 1 << 32
UNIX_EPOCH_S = 2_208_988_800  # a time tag counts from 1900
FURTHEST_AHEAD_S = 0.25
MOST_LATER = 4096
DEEPEST_BUNDLE = 8
MOST_ELEMENTS = 4096
LARGEST_MESSAGE_BYTES = 4096
LONGEST_ADDRESS = 255
WILDCARDS = frozenset("*?[]{},# ")

ARGUMENT_BYTES = {"i": 4, "f": 4, "h": 8, "d": 8, "s": 4, "T": 0, "F": 0, "N": 0, "I": 0}
"""The types understood, with the fewest bytes each takes. No control takes a blob, an array or a date."""

Argument = int | float | bool | str | None
Handler = Callable[[str, tuple[Argument, ...], Peer], None]
Refusals = Callable[[str, str, Peer | None], None]

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
    """What came in since the start; `messages` are those that were obeyed or made void by a newer one, as far as it
    was read. `refused` counts by kind; `last_refusal` is a text for the performer."""

    datagrams: int = 0
    messages: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    last_refusal: str = ""


class OscIn(asyncio.DatagramProtocol):
    """Calls `handler(address, arguments, peer)` on the event loop for every message that counts, in order. A handler
    that raises is counted as refused of kind "handler" and logged; nothing else gets past this class."""

    def __init__(
        self,
        handler: Handler,
        keep: Mapping[str, Keep] | None = None,
        on_refusal: Refusals | None = None,
        obeys_time_tags: bool = False,
        clock: Callable[[], float] = time.time,
        after_burst: Callable[[], None] | None = None,
    ) -> None:
        """`keep`: what is kept of a burst, by address; None: everything. A newest value that is then refused leaves
        the one from before the burst. `on_refusal(kind, text, peer)` hears what was no OSC, `peer` None where it had
        no sender. `obeys_time_tags`: a bundle that is dated up to a quarter of a second ahead of `clock` (Unix
        seconds) is obeyed at its time; all others at once. `after_burst` is called when all messages that came in one
        breath were handed on; it must not raise."""
        self.counts = OscCounts()
        self._handler = handler
        self._known: Container[str] = keep if keep is not None else ()
        self._burst = Burst(keep)
        self._on_refusal = on_refusal
        self.obeys_time_tags = obeys_time_tags
        self._clock = clock
        self._after_burst = after_burst
        self._later: list[tuple[float, int, bytes, Peer]] = []  # a heap of (when, serial, message, peer)
        self._dated = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # while it listens
        self._listener: socket.socket | None = None
        self._burst_ends_s: float | None = None  # while one is read

    def drains(self, listener: socket.socket) -> None:
        """From now on what else waits in this socket is taken at once, whenever something comes."""
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._loop = asyncio.get_running_loop()

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self._take(data, (str(addr[0]), int(addr[1])))
        self._read_on()

    def error_received(self, exc: Exception) -> None:
        self._refuse("socket", str(exc))

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener = self._loop = None
        if self._alarm is not None:
            self._alarm.cancel()

    def receive(self, datagram: bytes, peer: Peer) -> None:
        """Takes one datagram, and obeys it. When a part of a bundle is broken, what stands before it has been obeyed
        and the rest is dropped, because sizes after it mean nothing."""
        self._take(datagram, peer)
        self._obey()

    def obey_due(self) -> None:
        """Obeys the dated messages whose time has come, or has been lost to a clock that was set."""
        now_s = self._clock()
        while self._later and not 0 < self._later[0][0] - now_s <= FURTHEST_AHEAD_S:
            _, _, message, peer = heapq.heappop(self._later)
            self._burst.add(message, peer)
        self._obey()

    def _read_on(self) -> None:
        """Reads what waits in the socket; obeys it when nothing is left, or when it has been read for long enough."""
        turn_ends_s = (now_s := time.perf_counter()) + TURN_S
        if self._burst_ends_s is None:
            self._burst_ends_s = now_s + LONGEST_BURST_S
        while self._take_waiting():
            now_s = time.perf_counter()
            if now_s >= self._burst_ends_s or len(self._burst) >= MOST_AT_ONCE:
                break
            if now_s >= turn_ends_s and self._loop is not None:
                self._loop.call_soon(self._read_on)
                return
        self._burst_ends_s = None
        self._obey()

    def _take_waiting(self) -> bool:
        if self._listener is None:
            return False
        try:
            datagram, peer = self._listener.recvfrom(LARGEST_DATAGRAM_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._refuse("socket", str(error))
            return False
        self._take(datagram, peer)
        return True

    def _take(self, datagram: bytes, peer: Peer) -> None:
        self.counts.datagrams += 1
        add = self._burst.add
        if not datagram.startswith(BUNDLE_HEAD):
            add(datagram, peer)
            return
        try:
            if self.obeys_time_tags:
                for tag, element in elements(datagram):
                    if not self._is_kept_for_later(tag, element, peer):
                        add(element, peer)
            else:
                for _, element in elements(datagram):
                    add(element, peer)
        except RefusedDatagram as refusal:
            self._refuse(refusal.kind, str(refusal), peer)

    def _is_kept_for_later(self, tag: int, element: bytes, peer: Peer) -> bool:
        due_s = tag / UNITS_PER_SECOND - UNIX_EPOCH_S
        if not 0 < due_s - self._clock() <= FURTHEST_AHEAD_S or len(self._later) >= MOST_LATER:
            return False
        self._dated += 1
        heapq.heappush(self._later, (due_s, self._dated, element, peer))
        return True

    def _obey(self) -> None:
        burst = self._burst
        void = burst.superseded
        for message, peer in burst.take():
            self._receive_message(message, peer)
        if self._after_burst is not None:
            self._after_burst()
        self.counts.messages += void
        burst.superseded -= void
        if burst.unknown:
            self.counts.refused["unknown"] += burst.unknown
            burst.unknown = 0
        if self._later and self._loop is not None:
            if self._alarm is not None:
                self._alarm.cancel()
            wait_s = max(0.0, self._later[0][0] - self._clock())
            self._alarm = self._loop.call_later(min(wait_s, FURTHEST_AHEAD_S), self.obey_due)

    def _receive_message(self, element: bytes, peer: Peer) -> None:
        try:
            address, arguments = parse_message(element, self._known)
        except RefusedDatagram as refusal:
            self._refuse(refusal.kind, str(refusal), peer)
            return
        self.counts.messages += 1
        try:
            self._handler(address, arguments, peer)
        except Exception as error:
            # The border between the network and the show: a defect behind it must not end the listening.
            if self.counts.refused["handler"] == 0:
                log.exception("the handler of %s failed", address)
            self._refuse("handler", f"{address}: {error!r}", peer)

    def _refuse(self, kind: str, text: str, peer: Peer | None = None) -> None:
        self.counts.refused[kind] += 1
        self.counts.last_refusal = text[:200]
        if self._on_refusal is not None:
            self._on_refusal(kind, self.counts.last_refusal, peer)


def elements(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """The single messages of a datagram, bundles opened, in order, each with the time tag of its bundle (see
    `IMMEDIATELY`). Takes at most as many steps as there are elements; raises RefusedDatagram at the first size that
    does not fit or limit that is passed."""
    if not datagram.startswith(BUNDLE_HEAD):
        yield IMMEDIATELY, datagram
        return
    seen = 0
    open_bundles = [(BUNDLE_HEAD_BYTES, len(datagram), _time_tag(datagram, 0))]
    while open_bundles:
        start, end, tag = open_bundles.pop()
        while start < end:
            seen += 1
            if seen > MOST_ELEMENTS:
                raise RefusedDatagram("elements", f"more than {MOST_ELEMENTS} elements in one datagram")
            if end - start < 4:
                raise RefusedDatagram("size", "a bundle ends inside an element size")
            size = int.from_bytes(datagram[start : start + 4], "big", signed=True)
            first, start = start + 4, start + 4 + size
            if size <= 0 or start > end:
                raise RefusedDatagram("size", f"element size {size} where {end - first} bytes are left")
            if not datagram.startswith(BUNDLE_HEAD, first, start):
                yield tag, datagram[first:start]
                continue
            if len(open_bundles) >= DEEPEST_BUNDLE - 1:
                raise RefusedDatagram("depth", f"bundles nested deeper than {DEEPEST_BUNDLE}")
            open_bundles.append((start, end, tag))
            start, end, tag = first + BUNDLE_HEAD_BYTES, start, _time_tag(datagram, first)


def _time_tag(datagram: bytes, bundle_start: int) -> int:
    first = bundle_start + len(BUNDLE_HEAD)
    return int.from_bytes(datagram[first : first + 8], "big")


def parse_message(element: bytes, known: Container[str] = ()) -> tuple[str, tuple[Argument, ...]]:
    """The literal address and the arguments of one message; raises RefusedDatagram for all else. An
    impulse (type I) arrives as infinity, which is also what some senders write it for. An address that is `known`
    may have characters of patterns in it."""
    if len(element) > LARGEST_MESSAGE_BYTES:
        raise RefusedDatagram("length", f"a message of {len(element)} bytes; allowed: {LARGEST_MESSAGE_BYTES}")
    tags, first_tag = _checked_head(element, known)
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


def _checked_head(element: bytes, known: Container[str]) -> tuple[str, int]:
    """The type tags without their comma, and where they begin; what the parser cannot take is refused here."""
    address_end = element.find(b"\0")
    if address_end < 0 or not element.startswith(b"/"):
        raise RefusedDatagram("address", "a message begins with / and an address that ends in a zero byte")
    if address_end > LONGEST_ADDRESS or not element[:address_end].isascii():
        raise RefusedDatagram("address", f"an address has up to {LONGEST_ADDRESS} ASCII characters")
    address = element[:address_end].decode("ascii")
    if address not in known and not (address.isprintable() and WILDCARDS.isdisjoint(address)):
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
    handler: Handler,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    keep: Mapping[str, Keep] | None = None,
    on_refusal: Refusals | None = None,
    obeys_time_tags: bool = False,
    after_burst: Callable[[], None] | None = None,
) -> tuple[asyncio.DatagramTransport, OscIn]:
    """Listens on a UDP port (0: any free one) until the transport is closed; for the rest see OscIn. Raises
    OscPortError when the port cannot be had."""
    listener = bound_socket(host, port)
    try:
        transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: OscIn(handler, keep, on_refusal, obeys_time_tags, after_burst=after_burst), sock=listener
        )
    except BaseException:
        listener.close()
        raise
    if sys.platform != "win32":  # there the loop has always asked for the next one already
        protocol.drains(listener)
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
