"""What the performer moves: one table of controls, and the values they have now.

The table is the only source of OSC addresses, ranges, patch keys, dashboard rows and the README's
table. Turns an address with arguments into a changed value or an action; knows no sockets and no bars.
One thread (the daemon's event loop) uses it.
"""

from __future__ import annotations

import difflib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fractal_live.live.snapshot import ControlSnapshot, GivenCurve
from fractal_live.music.plan import ATTRIBUTES, COLUMN, PLAN_BARS, Attribute
from fractal_live.music.request import LATENT_DIMS, Sampling

Kind = Literal["float", "int", "bang", "floats", "text"]
Group = Literal["param", "latent", "plan", "action"]
Effect = Literal["next bar", "at once"]

HIGHEST_SEED = 2**31 - 1
LOWEST_GIVEN_SEED = 2
"""1 is what a pressed button sends, 0 what it sends when it is let go; seeds begin above."""

HELD_NS = 100_000_000
"""A pressed button that repeats itself every video frame is one press while the repeats are closer than this."""

LATENT_HELP = (
    f"the point the plan is imagined from; fewer than {LATENT_DIMS} floats set the first dimensions, more are an "
    "error; raises the gain from 0 to 1 as long as no gain was ever sent, so that a bare vector is heard"
)
GAIN_HELP = (
    "influence of the latent; 0 = none. A latent of zeros is the middle of the training songs and keeps a long set "
    "from drifting"
)
GENERATE_HELP = (
    f"a new cycle; a seed from {LOWEST_GIVEN_SEED} up makes it repeatable, none (or 1, a button) draws a fresh one"
)
SUBSCRIBE_HELP = "sends /fractal/out/... to the sender's address, at this port; none (or 1): the sender's own port"

SUGGESTIONS = 64
SUGGESTION_PAUSE_NS = 50_000_000
LONGEST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Control:
    """One row of the table. `low`, `high` and `default` are in `unit`; a default of None means that
    nothing is held. `most_values` is how many numbers one message may carry. `takes_effect` says
    when the change is heard."""

    name: str
    address: str
    kind: Kind
    group: Group
    low: float
    high: float
    default: float | None
    unit: str
    takes_effect: Effect
    help: str
    most_values: int = 1


def _param(name: str, kind: Kind, low: float, high: float, default: float, unit: str, text: str) -> Control:
    return Control(name, f"/fractal/param/{name}", kind, "param", low, high, default, unit, "next bar", text)


def _latent(name: str, path: str, kind: Kind, low: float, high: float, text: str, most_values: int = 1) -> Control:
    return Control(name, f"/fractal/latent/{path}", kind, "latent", low, high, 0, "", "next bar", text, most_values)


def _plan(of: Attribute) -> Control:
    text = f"{of.help}; one float holds it, several are a curve over the coming bars, none releases it"
    address = f"/fractal/plan/{of.name}"
    return Control(
        f"plan_{of.name}", address, "floats", "plan", of.low, of.high, None, of.unit, "next bar", text, PLAN_BARS
    )


def _bang(name: str, path: str, takes_effect: Effect, text: str, high: float = 1, unit: str = "") -> Control:
    return Control(name, f"/fractal/{path}", "bang", "action", 0, high, None, unit, takes_effect, text)


def _tempo(text: str) -> Control:
    return Control("tempo", "/fractal/transport/tempo", "float", "action", 20, 400, None, "bpm", "at once", text)


CONTROLS: tuple[Control, ...] = (
    _param("temperature", "float", 0.1, 2, 1, "", "how daring the draw is, at every level"),
    _param("cfg", "float", 0, 5, 1, "", "how strongly plan and harmony are obeyed; 1 = off"),
    _param("top_p", "float", 0.05, 1, 1, "", "draw only from the likeliest choices that sum to this; 1 = off"),
    _param("top_k", "int", 0, 128, 0, "choices", "draw only from this many likeliest choices; 0 = off"),
    _param("iterations", "int", 1, 16, 4, "rounds", "rounds the masked levels take to open what is unknown"),
    _param("lead_bars", "int", 1, 8, 2, "bars", "finished bars kept ahead of the playhead"),
    _param("transpose", "int", -24, 24, 0, "semitones", "moves every pitch"),
    _param("velocity", "float", 0.25, 2, 1, "", "scales every velocity"),
    _latent("latent", "level0", "floats", -4, 4, LATENT_HELP, LATENT_DIMS),
    _latent("latent_dim", "level0/<i>", "float", -4, 4, f"one dimension of the latent, i = 0 to {LATENT_DIMS - 1}"),
    replace(_latent("latent_gain", "gain", "float", 0, 1, GAIN_HELP), default=1),
    *(_plan(attribute) for attribute in ATTRIBUTES),
    _bang("generate", "generate", "next bar", GENERATE_HELP, HIGHEST_SEED, "seed"),
    _bang("reroll", "reroll", "next bar", "draws the coming bars again, in the same cycle"),
    _bang("panic", "panic", "at once", "closes every note on every channel used"),
    _bang("start", "transport/start", "at once", "plays from bar 0"),
    _bang("stop", "transport/stop", "at once", "stops; nothing sounds on"),
    _bang("continue", "transport/continue", "at once", "plays on from where it stopped"),
    _tempo("own tempo, where no leader gives one"),
    _bang("clock_beat", "clock/beat", "at once", "one beat of an OSC leader"),
    _bang("trigger_bar", "trigger/bar", "at once", "plays one bar"),
    _bang("subscribe", "subscribe", "at once", SUBSCRIBE_HELP, 65535, "port"),
    _bang("query", "query", "at once", "sends the state once"),
)

BY_NAME: dict[str, Control] = {control.name: control for control in CONTROLS}
PATCH_KEYS: tuple[str, ...] = tuple(
    control.name for control in CONTROLS if control.group in ("param", "latent") and control.name != "latent_dim"
)
DIMENSION: dict[str, int] = {f"/fractal/latent/level0/{i}": i for i in range(LATENT_DIMS)}
BY_ADDRESS: dict[str, Control] = {
    **{control.address: control for control in CONTROLS if control.name != "latent_dim"},
    **{address: BY_NAME["latent_dim"] for address in DIMENSION},
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a message did: values `changed` (control names; empty when it changed nothing), an `action`
    for the daemon with its `argument` (the seed of generate, the bpm of tempo, the port of subscribe),
    and a text for the performer when something was refused or clamped."""

    changed: tuple[str, ...] = ()
    action: str | None = None
    argument: float | None = None
    error: str | None = None


NOTHING = Outcome()


class _Refused(Exception):
    """The message cannot be obeyed; the text says why. Never leaves this module's `apply`."""


class Controls:
    """The values now. `accepted`, `refused` and `clamped` count messages; a refused message changes nothing."""

    def __init__(
        self,
        values: Mapping[str, float | Sequence[float]] | None = None,
        plan: Mapping[str, float | Sequence[float]] | None = None,
        seed: int = 0,
    ) -> None:
        """`values` are a patch's defaults by control name, `plan` held values by attribute name. All
        fresh seeds follow from `seed`. Raises ValueError for what the table does not allow."""
        self.accepted = 0
        self.refused = 0
        self.clamped = 0
        self._seeds = random.Random(seed)
        self._numbers: dict[str, float] = {c.name: c.default for c in CONTROLS if c.default is not None}
        self._latent: tuple[float, ...] = (0.0,) * LATENT_DIMS
        self._plan: list[GivenCurve | None] = [None] * len(ATTRIBUTES)
        self._cycle_seed = seed
        self._rerolls = 0
        self._coming_bar = 0
        self._was_gain_sent = False
        self._told: set[str] = set()
        self._pressed: dict[str, tuple[float, int]] = {}
        self._suggestions: dict[str, str] = {}
        self._suggested_ns = 0
        self._version = 0
        self._take_defaults(values or {}, plan or {})
        self._snapshot = self._make_snapshot()

    @property
    def snapshot(self) -> ControlSnapshot:
        """The values now; the same object as long as nothing changes."""
        return self._snapshot

    def playhead_in(self, bar_index: int) -> None:
        """Says which bar is playing (-1: none yet): curves sent from now on begin at the next one. When
        the playhead jumps back, curves already given go on from where they were."""
        jump = bar_index + 1 - self._coming_bar
        self._coming_bar += jump
        if jump < 0 and any(given is not None and given.first_bar is not None for given in self._plan):
            self._plan = [
                GivenCurve(given.values, given.first_bar + jump)
                if given is not None and given.first_bar is not None
                else given
                for given in self._plan
            ]
            self._changed()

    def apply(self, address: str, arguments: Sequence[object], now_ns: int | None = None) -> Outcome:
        """Obeys one message. `arguments` are int, float, bool or None (left out). Never raises. With
        `now_ns` (monotonic) a button that repeats its press every frame acts once."""
        try:
            control = BY_ADDRESS.get(address)
            if control is None:
                raise _Refused(self._unknown(address, now_ns))
            given = [argument for argument in arguments if argument is not None]
            if control.kind == "bang":
                outcome = self._bang(control, given, now_ns)
            else:
                outcome = self._set(control, address, given)
        except _Refused as refusal:
            self.refused += 1
            return Outcome(error=str(refusal))
        self.accepted += 1
        return outcome

    def _set(self, control: Control, address: str, given: list[object]) -> Outcome:
        if control.kind == "floats":
            if len(given) > control.most_values:
                raise _Refused(f"{address}: {len(given)} values; allowed: up to {control.most_values}")
        else:
            # A sender of sampled channels puts all samples since its last frame into one message: the newest counts.
            given = given[-1:]
        if not given and control.group != "plan":
            raise _Refused(f"{address}: no value; needs a number from {control.low:g} to {control.high:g}")
        values, error = self._in_range(control, address, [_number(address, argument) for argument in given])
        if control.name == "tempo":
            return Outcome(action="tempo", argument=values[0], error=error)
        return Outcome(changed=self._store(control, address, values), error=error)

    def _store(self, control: Control, address: str, values: tuple[float, ...]) -> tuple[str, ...]:
        changed: list[str] = []
        if control.group == "plan":
            column = COLUMN[control.name.removeprefix("plan_")]
            wanted = _given(values, self._coming_bar)
            if wanted != self._plan[column]:
                self._plan[column] = wanted
                changed.append(control.name)
        elif control.name in ("latent", "latent_dim"):
            first = DIMENSION.get(address, 0)
            latent = self._latent[:first] + values + self._latent[first + len(values) :]
            if latent != self._latent:
                self._latent = latent
                changed.append("latent")
            # A bare vector should be heard; but a gain fader that was pulled down stays down.
            if not self._was_gain_sent and self._numbers["latent_gain"] == 0:
                self._numbers["latent_gain"] = 1.0
                changed.append("latent_gain")
        else:
            self._was_gain_sent |= control.name == "latent_gain"
            if values[0] != self._numbers[control.name]:
                self._numbers[control.name] = values[0]
                changed.append(control.name)
        if changed:
            self._changed()
        return tuple(changed)

    def _bang(self, control: Control, given: list[object], now_ns: int | None) -> Outcome:
        """A press: no argument, true, 1, or (where the control has one) its number. 0 and false are the
        button's release."""
        argument: float | None = None
        error = None
        if given:
            number = 1.0 if given[-1] == math.inf else _number(control.address, given[-1])
            if abs(number) < 0.5:
                self._pressed.pop(control.name, None)
                return NOTHING
            if self._is_held(control.name, number, now_ns):
                return NOTHING
            if control.unit and round(number) != 1:
                values, error = self._in_range(control, control.address, [float(round(number))])
                argument = values[0]
        if control.name == "generate":
            self._cycle_seed = int(argument) if argument else self._seeds.randint(LOWEST_GIVEN_SEED, HIGHEST_SEED)
            self._rerolls = 0
            self._changed()
            return Outcome(("cycle_seed",), "generate", self._cycle_seed, error)
        if control.name == "reroll":
            self._rerolls += 1
            self._changed()
            return Outcome(("rerolls",), "reroll")
        return Outcome(action=control.name, argument=argument, error=error)

    def _is_held(self, name: str, number: float, now_ns: int | None) -> bool:
        if now_ns is None:
            return False
        before, pressed_ns = self._pressed.get(name, (math.nan, 0))
        self._pressed[name] = (number, now_ns)
        return before == number and 0 <= now_ns - pressed_ns < HELD_NS

    def _in_range(self, control: Control, address: str, numbers: list[float]) -> tuple[tuple[float, ...], str | None]:
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

    def _unknown(self, address: str, now_ns: int | None) -> str:
        """Finding the nearest address takes a third of a millisecond, so a flood of nonsense gets few suggestions."""
        shown = address[:LONGEST_SHOWN]
        is_due = now_ns is not None and now_ns - self._suggested_ns >= SUGGESTION_PAUSE_NS
        if shown not in self._suggestions and (len(self._suggestions) < SUGGESTIONS or is_due):
            if len(self._suggestions) >= SUGGESTIONS:
                del self._suggestions[next(iter(self._suggestions))]
            self._suggested_ns = now_ns or 0
            near = difflib.get_close_matches(shown, BY_ADDRESS, n=1, cutoff=0.5)
            self._suggestions[shown] = f"; nearest: {near[0]}" if near else ""
        return f"{shown}: no such address{self._suggestions.get(shown, '')}"

    def _take_defaults(
        self, values: Mapping[str, float | Sequence[float]], plan: Mapping[str, float | Sequence[float]]
    ) -> None:
        for name, value in [*values.items(), *((f"plan_{attribute}", value) for attribute, value in plan.items())]:
            control = BY_NAME.get(name)
            if control is None or (control.group != "plan" and name not in PATCH_KEYS):
                raise ValueError(f"no control is called {name}; allowed: {', '.join(PATCH_KEYS)}")
            outcome = self.apply(control.address, value if isinstance(value, Sequence) else [value])
            if outcome.error is not None:
                raise ValueError(f"{name}: {outcome.error}")
        self._was_gain_sent = False
        self.accepted = 0

    def _changed(self) -> None:
        self._version += 1
        self._snapshot = self._make_snapshot()

    def _make_snapshot(self) -> ControlSnapshot:
        numbers = self._numbers
        return ControlSnapshot(
            version=self._version,
            sampling=Sampling(
                temperature=numbers["temperature"],
                cfg_scale=numbers["cfg"],
                top_p=numbers["top_p"],
                top_k=int(numbers["top_k"]),
                iterations=int(numbers["iterations"]),
            ),
            latent=self._latent,
            latent_gain=numbers["latent_gain"],
            plan=tuple(self._plan),
            cycle_seed=self._cycle_seed,
            rerolls=self._rerolls,
            lead_bars=int(numbers["lead_bars"]),
            transpose=int(numbers["transpose"]),
            velocity=numbers["velocity"],
        )


def table_markdown() -> str:
    """The control table as the README shows it."""
    lines = ["| address | what it does | range | default | heard |", "|---|---|---|---|---|"]
    for control in CONTROLS:
        bounds = f"{control.low:g} to {control.high:g} {control.unit}".strip()
        if control.kind == "bang":
            bounds = f"bang [{control.unit}]" if control.unit else "bang"
        default = "" if control.default is None else f"{control.default:g}"
        lines.append(f"| `{control.address}` | {control.help} | {bounds} | {default} | {control.takes_effect} |")
    return "\n".join(lines) + "\n"


def _number(address: str, argument: object) -> float:
    """A finite float from what a sender may write for one: int, float, true or false."""
    if not isinstance(argument, (int, float)):
        raise _Refused(f"{address}: {type(argument).__name__} where a number belongs")
    try:
        number = float(argument)
    except OverflowError as error:
        raise _Refused(f"{address}: the number is too big") from error
    if not math.isfinite(number):
        raise _Refused(f"{address}: {number} is not a finite number")
    return number


def _given(values: tuple[float, ...], coming_bar: int) -> GivenCurve | None:
    if not values:
        return None
    return GivenCurve(values) if len(values) == 1 else GivenCurve(values, coming_bar)
