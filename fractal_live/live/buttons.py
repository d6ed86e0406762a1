"""Presses of buttons, told from their release and from a press that is repeated while the button is held."""

from __future__ import annotations

import math

from fractal_live.live.control_arguments import number_from
from fractal_live.live.control_table import Control

HELD_NS = 100_000_000
"""A pressed button that repeats itself every video frame is one press while the repeats are closer than this."""


class Buttons:
    """Which are held, by the name of their control."""

    def __init__(self) -> None:
        self._pressed: dict[str, tuple[float, int]] = {}

    def pressed(self, control: Control, given: list[object], now_ns: int | None) -> float | None:
        """The number of a press: 1 without an argument and for true; None where nothing was pressed, as for 0 and
        false, the button's release, and for a press that goes on. Raises Refused where a number belongs."""
        if not given:
            return 1.0
        number = 1.0 if given[-1] == math.inf else number_from(control.address, given[-1])
        if abs(number) < 0.5:
            self._pressed.pop(control.name, None)
            return None
        # A port is no button: the same one may be somebody else's.
        if control.unit != "port" and self._is_held(control.name, number, now_ns):
            return None
        return number

    def _is_held(self, name: str, number: float, now_ns: int | None) -> bool:
        if now_ns is None:
            return False
        before, pressed_ns = self._pressed.get(name, (math.nan, 0))
        self._pressed[name] = (number, now_ns)
        return before == number and 0 <= now_ns - pressed_ns < HELD_NS
