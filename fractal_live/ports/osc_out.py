"""OSC over UDP out: values to every subscriber, floats, ints and text, one message per datagram.

Never blocks and never raises: what cannot be sent is counted. A receiver that went away costs nothing
but its place in a short list.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

from pythonosc.osc_message_builder import OscMessageBuilder

MOST_SUBSCRIBERS = 16
LARGEST_DATAGRAM_BYTES = 1400
"""Within one Ethernet packet, so that a loss takes one message and not two."""

HIGHEST_INT = 2**31 - 1

Value = int | float | str
Peer = tuple[str, int]


class OscOut:
    """Sends to its subscribers; used by the daemon's event loop only. `sent` and `dropped` count datagrams,
    `refused_subscribers` those for whom there was no room or whose address is none."""

    def __init__(self, subscribers: Iterable[Peer] = ()) -> None:
        self.sent = 0
        self.dropped = 0
        self.refused_subscribers = 0
        self._subscribers: dict[Peer, None] = {}
        self._socket: socket.socket | None = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        for peer in subscribers:
            self.subscribe(*peer)

    @property
    def subscribers(self) -> tuple[Peer, ...]:
        return tuple(self._subscribers)

    def subscribe(self, host: str, port: int) -> bool:
        """Adds a receiver; false when the list is full or the address cannot be one. `host` is a numeric
        IPv4 address (a name would have to be looked up, and looking up blocks) or "localhost"."""
        numeric = "127.0.0.1" if host == "localhost" else host
        try:
            socket.inet_aton(numeric)
            is_address = numeric.count(".") == 3 and 1 <= port <= 65535
        except (OSError, UnicodeError):
            is_address = False
        if not is_address or (len(self._subscribers) >= MOST_SUBSCRIBERS and (numeric, port) not in self._subscribers):
            self.refused_subscribers += 1
            return False
        self._subscribers[(numeric, port)] = None
        return True

    def unsubscribe(self, host: str, port: int) -> None:
        self._subscribers.pop((host, port), None)

    def send(self, address: str, *values: Value) -> None:
        """One message to all subscribers. A value that OSC cannot carry drops the message."""
        if not self._subscribers:
            return
        self._send_to_all(_datagram(address, values))

    def close(self) -> None:
        """Ends sending; later calls are counted as dropped."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send_to_all(self, datagram: bytes | None) -> None:
        for peer in self._subscribers:
            if datagram is None or self._socket is None:
                self.dropped += 1
                continue
            try:
                self._socket.sendto(datagram, peer)
                self.sent += 1
            except OSError:
                # A full buffer, a network that is down, the refusal of an earlier datagram: the next one tries again.
                self.dropped += 1


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
