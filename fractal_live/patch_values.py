"""What only a patch can say, from TOML to checked values: parts, controls and plan, what MIDI does, meter, receivers.
Each reader raises WrongValue, which says what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fractal_live import toml_values as toml
from fractal_live.live.control_table import SLOTS
from fractal_live.live.controls import BY_NAME, PATCH_KEYS, Control, ControlValue, named_value
from fractal_live.live.dressing import MOST_SPLITS, ROLES, Split
from fractal_live.live.latent_path import Point
from fractal_live.live.midi_map import HIGHEST_PROGRAM, Place, Target, allowed_names, place_named
from fractal_live.music.meter import Meter
from fractal_live.music.plan import ATTRIBUTES
from fractal_live.music.request import LATENT_DIMS
from fractal_live.music.scales import chord_chroma


def splits(tables: Any) -> tuple[Split, ...]:
    """Parts with channels of their own, from a list of tables."""
    if not isinstance(tables, list) or len(tables) > MOST_SPLITS:
        raise toml.WrongValue(f"allowed: up to {MOST_SPLITS} tables, each under [[splits]]")
    found = []
    for place, table in enumerate(tables, 1):
        try:
            found.append(_split(table))
        except toml.WrongValue as wrong:
            raise toml.WrongValue(str(wrong), f"[{place}]{wrong.key}") from wrong
    return tuple(found)


def _split(table: Any) -> Split:
    readers: dict[str, toml.Reader] = {
        "name": toml.text,
        "channel": channel,
        "program": program,
        "role": toml.one_of(ROLES),
        "low": toml.whole(0, 127),
        "high": toml.whole(0, 127),
        "transpose": toml.whole(-48, 48),
        "velocity": toml.number(0, 4),
        "curve": toml.number(0.1, 4),
    }
    if not isinstance(table, dict) or not {"name", "channel"} <= table.keys():
        raise toml.WrongValue("allowed: a table with at least name and channel")
    values = {}
    for key, value in table.items():
        if key not in readers:
            raise toml.WrongValue(
                f"unknown key{toml.nearest(key, readers)}; allowed: {', '.join(sorted(readers))}", f".{key}"
            )
        try:
            values[key] = readers[key](value)
        except toml.WrongValue as wrong:
            raise toml.WrongValue(str(wrong), f".{key}") from wrong
    split = Split(**values)
    if split.low > split.high:
        raise toml.WrongValue(f"is {split.low}, above high, {split.high}", ".low")
    return split


def channel(value: Any) -> int:
    """0 to 15, from 1 to 16."""
    return int(toml.whole(1, 16)(value)) - 1


def program(value: Any) -> int:
    """0 to 127, from 1 to 128."""
    return int(toml.whole(1, 128)(value)) - 1


def control_values(table: Any) -> dict[str, ControlValue]:
    """Values by the name of the control."""
    return _values_by_name(table, {name: BY_NAME[name] for name in PATCH_KEYS})


def places(targets: Mapping[str, Target], highest: int) -> toml.Reader:
    """A table of what is moved from where: number, or "channel:number", to the name of a control."""

    def read(table: Any) -> dict[Place, Target]:
        found: dict[Place, Target] = {}
        for key, name in toml.table(table).items():
            try:
                place = place_named(key, highest)
            except ValueError as error:
                raise toml.WrongValue(str(error), f".{key}") from error
            if not isinstance(name, str) or name not in targets:
                allowed = ", ".join(allowed_names(targets))
                raise toml.WrongValue(f"is {name!r}{toml.nearest(str(name), targets)}; allowed: {allowed}", f".{key}")
            if place in found:
                raise toml.WrongValue(f"is there twice, as {place}", f".{key}")
            found[place] = targets[name]
        return found

    return read


def programs(table: Any) -> dict[int, str]:
    """The names of patches by program, 0 to 127, from a table that counts from 1."""
    found: dict[int, str] = {}
    for key, name in toml.table(table).items():
        if not key.isdecimal() or not 1 <= int(key) <= HIGHEST_PROGRAM:
            raise toml.WrongValue(f"allowed: a program number from 1 to {HIGHEST_PROGRAM}", f".{key}")
        try:
            found[int(key) - 1] = toml.text(name)
        except toml.WrongValue as wrong:
            raise toml.WrongValue(str(wrong), f".{key}") from wrong
    return found


def points(table: Any) -> dict[int, Point]:
    """Points of the latent by the number of their slot."""
    latent = BY_NAME["latent"]
    found: dict[int, Point] = {}
    for key, value in toml.table(table).items():
        if not key.isdecimal() or int(key) >= SLOTS:
            raise toml.WrongValue(f"allowed: a slot from 0 to {SLOTS - 1}", f".{key}")
        if not isinstance(value, list) or not 1 <= len(value) <= LATENT_DIMS:
            raise toml.WrongValue(f"is {value!r}; allowed: a list of 1 to {LATENT_DIMS} numbers", f".{key}")
        try:
            point = [float(toml.number(latent.low, latent.high)(number)) for number in value]
        except toml.WrongValue as wrong:
            raise toml.WrongValue(str(wrong), f".{key}") from wrong
        found[int(key)] = (*point, *[0.0] * (LATENT_DIMS - len(point)))
    return found


def plan_values(table: Any) -> dict[str, ControlValue]:
    """Held values by the attribute of the plan."""
    return _values_by_name(table, {attribute.name: BY_NAME[f"plan_{attribute.name}"] for attribute in ATTRIBUTES})


def _values_by_name(table: Any, controls: Mapping[str, Control]) -> dict[str, ControlValue]:
    if not isinstance(table, dict):
        raise toml.WrongValue(f"is {table!r}; allowed: a table of values")
    values: dict[str, ControlValue] = {}
    for name, value in table.items():
        if name not in controls:
            raise toml.WrongValue(
                f"unknown key{toml.nearest(name, controls)}; allowed: {', '.join(controls)}", f".{name}"
            )
        try:
            values[name] = _control_value(value, controls[name])
        except toml.WrongValue as wrong:
            raise toml.WrongValue(str(wrong), f".{name}") from wrong
    return values


def _control_value(value: Any, control: Control) -> ControlValue:
    if control.kind == "text":
        return _named(value, control)
    if control.kind == "int":
        return int(toml.whole(int(control.low), int(control.high))(value))
    read = toml.number(control.low, control.high)
    fewest = control.group_of
    if control.kind != "floats" or (fewest == 1 and not isinstance(value, list)):
        return float(read(value))
    if not isinstance(value, list):
        raise toml.WrongValue(f"is {value!r}; allowed: a list of {fewest} numbers, or of several times {fewest}")
    if not fewest <= len(value) <= control.most_values or len(value) % fewest:
        groups = f" in groups of {fewest}" if fewest > 1 else ""
        raise toml.WrongValue(f"has {len(value)} numbers; allowed: {fewest} to {control.most_values}{groups}")
    return tuple(read(number) for number in value)


def _named(value: Any, control: Control) -> ControlValue:
    """A key, a scale, a chord or a list of chords."""
    try:
        if control.name != "chord":
            named_value(control, value)
            return str(value) if isinstance(value, str) else float(value)
        chords = value if isinstance(value, list) else [value]
        for chord in chords:
            chord_chroma(toml.text(chord))
        return tuple(chords)
    except ValueError as error:
        raise toml.WrongValue(str(error)) from error


def meter(value: Any) -> Meter:
    """From a text: 6/8."""
    try:
        numerator, denominator = toml.text(value).split("/")
        return Meter(int(numerator), int(denominator))
    except ValueError as error:
        raise toml.WrongValue(
            f'is {value!r} ({error}); allowed: a meter such as "4/4", "3/4", "6/8" or "7/8"'
        ) from error


def peers(value: Any) -> tuple[tuple[str, int], ...]:
    """Receivers (host, port), from texts: 127.0.0.1:7000."""
    if not isinstance(value, list):
        raise toml.WrongValue(f'is {value!r}; allowed: a list such as ["127.0.0.1:7000"]')
    return tuple(_peer(entry) for entry in value)


def _peer(entry: Any) -> tuple[str, int]:
    host, _, port = toml.text(entry).rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise toml.WrongValue(f'has {entry!r}; allowed: address and port, such as "127.0.0.1:7000"')
    return host, int(port)
