"""What of a burst of OSC messages is to be read at all: of a value the newest message, of everything else every one.

Sorts by the bytes of the address, before anything is parsed, so that sixty thousand messages a second cost little.
Knows no control: which address is which it is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Peer = tuple[str, int]
Keep = Literal["newest", "every", "presses"]
"""What is kept of the messages to an address. newest: it sets a value, and only the last one counts (messages with
other argument types count as another value, because a vector may be set in part). every: all, in order. presses: a
button; all but the repeats of its release."""

UNKNOWN_AT_ONCE = 4
"""Messages to addresses that nobody knows are read up to here in a burst, for an answer that helps; then counted."""

ZERO_TYPES = b"fihdF"


class Burst:
    """Messages that came in one breath: `add` them in order, then `take` what is left. `keep` says what is kept by
    address; None: everything. `superseded` counts what a newer message made void, `unknown` what nobody wanted."""

    def __init__(self, keep: Mapping[str, Keep] | None = None) -> None:
        self.superseded = 0
        self.unknown = 0
        self._keep = None if keep is None else {address.encode("ascii"): kept for address, kept in keep.items()}
        self._ready: list[tuple[bytes, Peer]] = []
        self._newest: dict[bytes, tuple[bytes, Peer]] = {}  # by address and types, the last to be named at the end
        self._released: set[bytes] = set()
        self._strangers = 0

    def __len__(self) -> int:
        """How many messages `take` will return."""
        return len(self._ready) + len(self._newest)

    def add(self, message: bytes, peer: Peer) -> None:
        """One more message, as it came."""
        if self._keep is None:
            self._ready.append((message, peer))
            return
        address_end = message.find(b"\0")
        address = message[:address_end]
        kept = self._keep.get(address)
        if kept == "newest":
            head = message[: message.find(b"\0", address_end + 4 - address_end % 4)]
            if self._newest.pop(head, None) is not None:
                self.superseded += 1
            self._newest[head] = (message, peer)
        elif kept is None:
            self._add_stranger(message, peer)
        elif kept == "every" or not self._is_repeated_release(address, message):
            self._settle()
            self._ready.append((message, peer))

    def take(self) -> list[tuple[bytes, Peer]]:
        """What is to be obeyed, in this order. The burst is empty afterwards."""
        self._settle()
        taken, self._ready = self._ready, []
        self._strangers = 0
        return taken

    def _settle(self) -> None:
        """What comes now must find the values that were sent before it."""
        self._ready.extend(self._newest.values())
        self._newest.clear()

    def _add_stranger(self, message: bytes, peer: Peer) -> None:
        self._strangers += 1
        if self._strangers > UNKNOWN_AT_ONCE:
            self.unknown += 1
        else:
            self._ready.append((message, peer))

    def _is_repeated_release(self, address: bytes, message: bytes) -> bool:
        """A button that is not pressed says so in every video frame."""
        if not _is_zero(message[len(address) :]):
            self._released.discard(address)
            return False
        if address in self._released:
            self.superseded += 1
            return True
        self._released.add(address)
        return False


def _is_zero(types_and_values: bytes) -> bool:
    """Whether a message (from the zero byte after its address on) has values, and all of them are 0 or false."""
    told = types_and_values.strip(b"\0")
    return len(told) > 1 and told.startswith(b",") and not told[1:].strip(ZERO_TYPES)
