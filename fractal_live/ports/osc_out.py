"""OSC over UDP out: values to every subscriber, floats, ints and text, one message per datagram.

Never blocks and never raises: what cannot be sent is counted. A receiver that went away costs nothing
but its place in a short list.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

from pythonosc.osc_message_builder import OscMessageBuilder

MOST_SUBSCRIBERS = 16
LARGEST_DATAGRAM_BYTES = 4096
"""What we take ourselves. All but a long curve stays within one Ethernet packet, so that a loss takes one message."""

HIGHEST_INT = 2**31 - 1

Value = int | float | str
Peer = tuple[str, int]


class OscOut:
    """Sends to its subscribers; used by the daemon's event loop only. `sent` and `dropped` count datagrams,
    `refused_subscribers` those for whom there was no room or whose address is none.

    Nobody is forgotten for being silent, because one who only listens is silent. When there is no room, the one from
    whom nothing was heard for longest makes place; `residents` never do."""

    def __init__(self, residents: Iterable[Peer] = ()) -> None:
        self.sent = 0
        self.dropped = 0
        self.refused_subscribers = 0
        self._subscribers: dict[Peer, None] = {}  # the one heard from last is last
        self._residents: set[Peer] = set()
        self._socket: socket.socket | None = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        for host, port in residents:
            self.add_resident(host, port)

    @property
    def subscribers(self) -> tuple[Peer, ...]:
        return tuple(self._subscribers)

    def add_resident(self, host: str, port: int) -> None:
        """A receiver that stays."""
        if self.subscribe(host, port):
            self._residents.add((_numeric(host), port))

    def subscribe(self, host: str, port: int) -> bool:
        """Adds a receiver, or hears from it again; false when there is no room or the address cannot be one. `host`
        is a numeric IPv4 address (a name would have to be looked up, and looking up blocks) or "localhost"."""
        peer = (_numeric(host), port)
        if not _is_address(*peer):
            self.refused_subscribers += 1
            return False
        self._subscribers.pop(peer, None)
        if len(self._subscribers) >= MOST_SUBSCRIBERS:
            silent = next((other for other in self._subscribers if other not in self._residents), None)
            if silent is None:
                self.refused_subscribers += 1
                return False
            del self._subscribers[silent]
        self._subscribers[peer] = None
        return True

    def unsubscribe(self, host: str, port: int) -> None:
        """Residents stay."""
        peer = (_numeric(host), port)
        if peer not in self._residents:
            self._subscribers.pop(peer, None)

    def heard(self, sender: Peer) -> None:
        """Something came from there: its subscriptions are in use."""
        for peer in self.subscribed_by(sender):
            del self._subscribers[peer]
            self._subscribers[peer] = None

    def subscribed_by(self, sender: Peer) -> tuple[Peer, ...]:
        """Where a sender listens: the very port it sends from, else all that were subscribed for its host, because
        many programs send from one port and listen at another."""
        if sender in self._subscribers:
            return (sender,)
        return tuple(peer for peer in self._subscribers if peer[0] == sender[0])

    def send(self, address: str, *values: Value, to: Iterable[Peer] | None = None) -> None:
        """One message to all subscribers, or to these peers. A value that OSC cannot carry drops the message."""
        receivers = self._subscribers if to is None else to
        if not receivers:
            return
        datagram = _datagram(address, values)
        for peer in receivers:
            if datagram is None or self._socket is None:
                self.dropped += 1
                continue
            try:
                self._socket.sendto(datagram, peer)
                self.sent += 1
            except (OSError, OverflowError):
                # A full buffer, a network that is down, the refusal of an earlier datagram: the next one tries again.
                self.dropped += 1

    def close(self) -> None:
        """Ends sending; later calls are counted as dropped."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _numeric(host: str) -> str:
    return "127.0.0.1" if host == "localhost" else host


def _is_address(host: str, port: int) -> bool:
    try:
        socket.inet_aton(host)
    except (OSError, UnicodeError):
        return False
    return host.count(".") == 3 and 1 <= port <= 65535


def _datagram(address: str, values: tuple[Value, ...]) -> bytes | None:
    try:
        builder = OscMessageBuilder(address)
        for value in values:
            if isinstance(value, str):
                builder.add_arg(value, "s")
            elif isinstance(value, int) and -HIGHEST_INT <= value <= HIGHEST_INT:
                builder.add_arg(int(value), "i")
            else:
                builder.add_arg(float(value), "f")
        datagram: bytes = builder.build().dgram
    except Exception:
        # The builder lets several unrelated kinds out; the caller is the show and wants none.
        return None
    return datagram if len(datagram) <= LARGEST_DATAGRAM_BYTES else None
