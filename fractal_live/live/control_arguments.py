"""What a sender may write as a control's argument, read as numbers in the control's range, or refused.

Knows no values; what is outside a range is moved to its nearest end, counted, and said once.
"""

from __future__ import annotations

import math

from fractal_live.live.control_table import Control
from fractal_live.music.scales import SCALE_NAMES, key_named


class Refused(Exception):
    """The message cannot be obeyed; the text says why."""


class ControlRanges:
    """Keeps numbers inside. `clamped` counts the messages of which one was not."""

    def __init__(self) -> None:
        self.clamped = 0
        self._told: set[str] = set()

    def within(self, control: Control, address: str, numbers: list[float]) -> tuple[tuple[float, ...], str | None]:
        """The numbers as the control allows them, and for its first that was outside a text for the performer."""
        whole = [float(round(number)) for number in numbers] if control.kind == "int" else numbers
        inside = tuple(min(max(number, control.low), control.high) for number in whole)
        outside = [number for number, kept in zip(whole, inside, strict=True) if number != kept]
        if not outside:
            return inside, None
        self.clamped += 1
        if control.name in self._told:
            return inside, None
        self._told.add(control.name)
        return inside, f"{address}: {outside[0]:g} is outside {control.low:g} to {control.high:g}; the nearest is used"


def named_value(control: Control, value: object) -> float:
    """A key or a scale, by its name or its number, as its number. Raises ValueError with what is allowed."""
    if isinstance(value, str) and control.name == "key":
        return float(key_named(value))
    if isinstance(value, str):
        name = value.strip().lower().replace("_", " ").replace("-", " ")
        if name not in SCALE_NAMES:
            raise ValueError(f"{value!r} is no scale; allowed: {', '.join(SCALE_NAMES)}")
        return float(SCALE_NAMES.index(name))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not control.low <= value <= control.high:
        raise ValueError(f"{value!r}; allowed: a name, or a number from {control.low:g} to {control.high:g}")
    return float(round(value))


def number_from(address: str, argument: object) -> float:
    """A finite float from what a sender may write for one: int, float, true or false. Raises Refused for
    anything else."""
    if not isinstance(argument, (int, float)):
        raise Refused(f"{address}: {type(argument).__name__} where a number belongs")
    try:
        number = float(argument)
    except OverflowError as error:
        raise Refused(f"{address}: the number is too big") from error
    if not math.isfinite(number):
        raise Refused(f"{address}: {number} is not a finite number")
    return number
