"""Which knob, key or program change is meant, from what comes in while somebody moves it.

The first that says something counts. A knob is listened to a little longer, because its lower seven bits would
follow. Time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fractal_live.live.midi_map import (
    CONTROL_CHANGE,
    HIGHEST_CC,
    HIGHEST_MSB,
    LSB_ABOVE,
    NOTE_ON,
    PROGRAM_CHANGE,
    Place,
    Target,
)

Table = Literal["cc", "cc14", "notes", "programs"]

LSB_WAIT_NS = 300_000_000


@dataclass(frozen=True, slots=True)
class Learned:
    """What was heard, as a patch writes it: a key of one of its tables."""

    table: Table
    key: str

    def __str__(self) -> str:
        channel, colon, number = self.key.rpartition(":")
        on = f" on channel {channel}" if colon else ""
        if self.table == "notes":
            return f"note {number}{on}"
        if self.table == "programs":
            return f"program {number}"
        if self.table == "cc":
            return f"controller {number}{on}"
        return f"controller {number} and {int(number) + LSB_ABOVE}{on}, 14 bits"


class Learner:
    """`target` is what is to be moved; None: a patch, which a program change calls."""

    def __init__(self, target: Target | None) -> None:
        self._target = target
        self._knob: Place | None = None
        self._heard_ns = 0

    def hear(self, message: bytes, now_ns: int) -> Learned | None:
        """A message came in: what is learned from it, None while that is not known or it is not what is waited for."""
        kind, channel = message[0] & 0xF0, message[0] & 0x0F
        target = self._target
        if target is None:
            is_program = kind == PROGRAM_CHANGE and len(message) == 2
            return Learned("programs", str(message[1] + 1)) if is_program else None
        if len(message) != 3:
            return None
        place, value = Place(channel, message[1]), message[2]
        if target.is_button and self._knob is None and kind == NOTE_ON and value > 0:
            return Learned("notes", str(place))
        if kind != CONTROL_CHANGE or place.number > HIGHEST_CC:
            return None
        if self._knob is None:
            if target.is_button or place.number > HIGHEST_MSB:
                return Learned("cc", str(place))
            self._knob, self._heard_ns = place, now_ns
        elif place == Place(self._knob.channel, self._knob.number + LSB_ABOVE):
            return Learned("cc14", str(self._knob))
        return None

    def wait(self, now_ns: int) -> Learned | None:
        """Time passes: a knob whose lower bits did not come has seven."""
        if self._knob is None or now_ns - self._heard_ns < LSB_WAIT_NS:
            return None
        return Learned("cc", str(self._knob))
