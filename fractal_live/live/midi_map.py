"""A patch's map from MIDI to controls: knobs, keys and program changes become the addresses of the control table.

What a message means is decided here and obeyed elsewhere, by the same `Controls.apply` as over OSC, so that ranges,
counting and errors are the same. Knows no ports and no time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fractal_live.live.control_table import BY_NAME, CONTROLS, DIMENSION, SPLIT

NOTE_OFF, NOTE_ON, CONTROL_CHANGE, PROGRAM_CHANGE = 0x80, 0x90, 0xB0, 0xC0
HIGHEST_CC = 119  # above are channel mode messages: all notes off and the like
HIGHEST_MSB = 31
LSB_ABOVE = 32  # the controller of the low seven bits (MIDI 1.0, control changes)
HIGHEST = 127
HIGHEST_PROGRAM = 128  # as they are counted on a front panel, from 1
PRESSED_FROM = 64
FULL_14_BITS = (1 << 14) - 1
NO_KNOB = ("latent", "latent_dim", "chroma", "chord", "patch", "score", "freeze", "infill", "subscribe", "query")
"""What one number cannot say, what a knob would do again and again on its way, or what has no sender to be answered."""

WITH_NUMBER = {"latent_store": 1, "latent_recall": 1, "freeze": 1, "infill": 2}
"""Buttons that press a number, named with it: "latent_recall/3", "freeze/8", "infill/2"; and how often it is sent."""


class Place(NamedTuple):
    """Where a message comes from: channel 0 to 15 (None: any) and the number of the controller or of the key."""

    channel: int | None
    number: int

    def __str__(self) -> str:
        return str(self.number) if self.channel is None else f"{self.channel + 1}:{self.number}"


@dataclass(frozen=True, slots=True)
class Target:
    """What is moved: `name` as patches spell it, its address, and the range 0..127 is spread over. `is_button`: it is
    pressed, not turned; then its own `arguments` go along, if there are any (the number of a slot)."""

    name: str
    address: str
    low: float
    high: float
    is_button: bool
    arguments: tuple[float, ...] = ()


ControlMessage = tuple[str, tuple[float | str, ...]]
"""An address with its arguments, as over OSC."""


def _targets() -> dict[str, Target]:
    found: dict[str, Target] = {}
    for control in CONTROLS:
        if control.name in NO_KNOB or control.group == "split" or control.kind == "slots":
            continue
        found[control.name] = Target(control.name, control.address, control.low, control.high, control.kind == "bang")
    dimension = BY_NAME["latent_dim"]
    for address, place in DIMENSION.items():
        name = f"latent/{place}"
        found[name] = Target(name, address, dimension.low, dimension.high, False)
    for address, (control, place) in SPLIT.items():
        name = f"{control.name}/{place + 1}"
        found[name] = Target(name, address, control.low, control.high, False)
    for button, times in WITH_NUMBER.items():
        control = BY_NAME[button]
        for number in range(int(control.low), int(control.high) + 1):
            name = f"{button}/{number}"
            found[name] = Target(name, control.address, control.low, control.high, True, (float(number),) * times)
    return found


TARGETS: dict[str, Target] = _targets()
"""All that a knob can move, by the name patches spell: an index follows a slash, as in "split_level/2"."""

BUTTONS: dict[str, Target] = {name: target for name, target in TARGETS.items() if target.is_button}
"""What a key can trigger."""


def allowed_names(targets: Mapping[str, Target]) -> tuple[str, ...]:
    """Their names for a line of help, those with an index as "latent/0 to latent/15"."""
    families: dict[str, list[str]] = {}
    for name in targets:
        families.setdefault(name.partition("/")[0], []).append(name)
    return tuple(names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}" for names in families.values())


@dataclass(frozen=True, slots=True)
class MidiMap:
    """`programs` are patch names by program number, 0 to 127. A place that names its channel goes before one that
    does not."""

    cc: Mapping[Place, Target] = field(default_factory=dict)
    cc14: Mapping[Place, Target] = field(default_factory=dict)
    notes: Mapping[Place, Target] = field(default_factory=dict)
    programs: Mapping[int, str] = field(default_factory=dict)


def place_named(text: str, highest: int) -> Place:
    """The place that a patch spells "74" or "2:74", channels counted from 1. Raises ValueError."""
    channel, colon, number = text.rpartition(":")
    is_channel = not colon or (channel.isdecimal() and 1 <= int(channel) <= 16)
    if not is_channel or not number.isdecimal() or int(number) > highest:
        raise ValueError(f'allowed: a number from 0 to {highest}, or "channel:number" with a channel from 1 to 16')
    return Place(int(channel) - 1 if colon else None, int(number))


class MidiHands:
    """Reads what comes in by a map. For one thread. Remembers what is pressed, and where 14-bit knobs stand."""

    def __init__(self, midi_map: MidiMap) -> None:
        self._map = midi_map
        self._pressed: set[tuple[int, int, int]] = set()  # status, channel, number
        self._high_bits: dict[tuple[int, int], int] = {}  # by channel and the controller of the MSB
        self._is_fine: set[tuple[int, int]] = set()  # those that have sent an LSB

    def hear(self, message: bytes) -> tuple[ControlMessage, ...] | None:
        """What the message means: nothing (a key that is held, or let go), or the messages to obey. None if it is not
        in the map, and so may be music."""
        kind, channel = message[0] & 0xF0, message[0] & 0x0F
        if kind == PROGRAM_CHANGE and len(message) == 2:
            name = self._map.programs.get(message[1])
            return None if name is None else ((BY_NAME["patch"].address, (name,)),)
        if len(message) != 3:
            return None
        number, value = message[1], message[2]
        if kind in (NOTE_ON, NOTE_OFF):
            target = _at(self._map.notes, channel, number)
            is_down = kind == NOTE_ON and value > 0
            return None if target is None else self._press(target, (NOTE_ON, channel, number), is_down)
        if kind == CONTROL_CHANGE:
            return self._turn(channel, number, value)
        return None

    def _turn(self, channel: int, number: int, value: int) -> tuple[ControlMessage, ...] | None:
        coarse = _at(self._map.cc14, channel, number)
        if coarse is not None:
            return self._turn_coarse(coarse, channel, number, value)
        fine = _at(self._map.cc14, channel, number - LSB_ABOVE)
        if fine is not None:
            return self._turn_fine(fine, channel, number - LSB_ABOVE, value)
        target = _at(self._map.cc, channel, number)
        return None if target is None else self._move(target, channel, number, value / HIGHEST)

    def _turn_coarse(self, target: Target, channel: int, number: int, value: int) -> tuple[ControlMessage, ...]:
        """A new MSB begins at an LSB of zero (MIDI 1.0). The same one again says nothing before its LSB has come, or
        a knob that sends both would fall back for a moment at every step."""
        knob = (channel, number)
        if self._high_bits.get(knob) == value:
            return ()
        self._high_bits[knob] = value
        # What never sent an LSB has seven bits, whose highest value is the end of the range.
        share = (value << 7) / FULL_14_BITS if knob in self._is_fine else value / HIGHEST
        return self._move(target, channel, number, share)

    def _turn_fine(self, target: Target, channel: int, number: int, value: int) -> tuple[ControlMessage, ...]:
        knob = (channel, number)
        if knob not in self._high_bits:  # where in the range it belongs is not known yet
            return ()
        self._is_fine.add(knob)
        return self._move(target, channel, number, (self._high_bits[knob] << 7 | value) / FULL_14_BITS)

    def _move(self, target: Target, channel: int, number: int, share: float) -> tuple[ControlMessage, ...]:
        if target.is_button:
            is_down = share * HIGHEST >= PRESSED_FROM
            return self._press(target, (CONTROL_CHANGE, channel, number), is_down)
        return ((target.address, (target.low + share * (target.high - target.low),)),)

    def _press(self, target: Target, key: tuple[int, int, int], is_down: bool) -> tuple[ControlMessage, ...]:
        """A press acts once, when it goes down."""
        if is_down == (key in self._pressed):
            return ()
        if not is_down:
            self._pressed.remove(key)
            return () if target.arguments else ((target.address, (0.0,)),)
        self._pressed.add(key)
        return ((target.address, target.arguments or (1.0,)),)


def _at(targets: Mapping[Place, Target], channel: int, number: int) -> Target | None:
    return targets.get(Place(channel, number)) or targets.get(Place(None, number))
