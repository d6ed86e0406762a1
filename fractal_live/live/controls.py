"""The values of the controls: what the performer moved, and what it means for the coming bars.

Turns an address with arguments into a changed value or an action, as `live.control_table` allows; knows no sockets
and no bars. One thread (the daemon's event loop) uses it.
"""

from __future__ import annotations

import difflib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fractal_live.live.control_table import (
    ALIASES,
    BY_ADDRESS,
    BY_NAME,
    CONTROLS,
    DIMENSION,
    HIGHEST_SEED,
    LOWEST_GIVEN_SEED,
    PATCH_KEYS,
    PITCH_CLASSES,
    SCHEDULES,
    SPLIT,
    Control,
    table_markdown,
)
from fractal_live.live.dressing import MOST_SPLITS, Dress
from fractal_live.live.latent_path import LatentPath, Point, between
from fractal_live.live.snapshot import ControlSnapshot, GivenChroma, GivenCurve
from fractal_live.music.harmony import Chroma
from fractal_live.music.plan import ATTRIBUTES, COLUMN, PlanTable
from fractal_live.music.request import Sampling
from fractal_live.music.scales import SCALE_NAMES, chord_chroma, key_named

__all__ = [
    "BY_ADDRESS",
    "BY_NAME",
    "CONTROLS",
    "PATCH_KEYS",
    "Control",
    "ControlValue",
    "Controls",
    "Outcome",
    "named_value",
    "table_markdown",
]
"""The table goes with its values, whoever shows or reads them."""

HELD_NS = 100_000_000
"""A pressed button that repeats itself every video frame is one press while the repeats are closer than this."""

SUGGESTIONS = 64
SUGGESTION_PAUSE_NS = 50_000_000
LONGEST_SHOWN = 80
ADDRESSES = tuple(control.address for control in CONTROLS)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a message did: values `changed` (control names; empty when it changed nothing), an `action`
    for the daemon with its `argument` (the seed of generate, the bpm of tempo, the port of subscribe), its
    `arguments` where it takes several, or a `name` (of a patch or a score), and a text for the performer when
    something was refused or clamped. `about` names the control that was refused, and is the same for all addresses that
    do not exist."""

    changed: tuple[str, ...] = ()
    action: str | None = None
    argument: float | None = None
    error: str | None = None
    name: str = ""
    arguments: tuple[float, ...] = ()
    about: str = ""


NOTHING = Outcome()


class _Refused(Exception):
    """The message cannot be obeyed; the text says why. Never leaves this module's `apply`."""


ControlValue = float | str | Sequence[float] | Sequence[str]
"""What a patch says of a control: a number, a name, or several."""

DEFAULTS: dict[str, float] = {
    control.name: control.default for control in CONTROLS if control.default is not None and control.group != "split"
}


class Controls:
    """The values now. `accepted`, `refused` and `clamped` count messages; a refused message changes nothing."""

    def __init__(
        self,
        values: Mapping[str, ControlValue] | None = None,
        plan: Mapping[str, ControlValue] | None = None,
        seed: int = 0,
    ) -> None:
        """`values` are a patch's defaults by control name, `plan` held values by attribute name. All
        fresh seeds follow from `seed`. Raises ValueError for what the table does not allow."""
        self.accepted = 0
        self.refused = 0
        self.clamped = 0
        self._seeds = random.Random(seed)
        self._numbers = dict(DEFAULTS)
        self._splits = _splits_at_rest()
        self._path = LatentPath()
        self._stored: dict[int, Point] = {}
        self._chroma: GivenChroma | None = None
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
        self._snapshot: ControlSnapshot | None = None  # made when it is asked for
        self._take_defaults(values or {}, plan or {})
        self.accepted = 0

    @property
    def snapshot(self) -> ControlSnapshot:
        """The values now; the same object as long as nothing changes."""
        if self._snapshot is None:
            self._snapshot = self._make_snapshot()
        return self._snapshot

    def values(self) -> dict[str, tuple[float, ...]]:
        """What each control that has a value was set to, by address, as it would be sent; () where nothing is held, or
        where the curve of a score leaves bars free."""
        told: dict[str, tuple[float, ...]] = {}
        for control in CONTROLS:
            if control.group == "plan":
                given = self._plan[COLUMN[control.name.removeprefix("plan_")]]
                is_told = given is not None and all(map(math.isfinite, given.values))
                told[control.address] = given.values if given is not None and is_told else ()
            elif control.name == "chroma":
                halves = () if self._chroma is None else self._chroma.halves
                told[control.address] = tuple(value for half in halves for value in half)
            elif control.name == "latent":
                told[control.address] = self._path.target
            elif control.name in self._numbers and control.name != "latent_dim":
                told[control.address] = (self._numbers[control.name],)
        told |= {address: (self._splits[control.name][place],) for address, (control, place) in SPLIT.items()}
        return told

    def playhead_in(self, bar_index: int) -> None:
        """Says which bar is playing (-1: none yet): curves and glides sent from now on begin at the next one. When
        the playhead jumps back, curves already given go on from where they were, and a glide is over."""
        jump = bar_index + 1 - self._coming_bar
        self._coming_bar += jump
        if jump < 0:
            before = (self._plan, self._chroma, self._path)
            self._plan = [given.moved(jump) if given is not None else None for given in self._plan]
            self._chroma = self._chroma.moved(jump) if self._chroma is not None else None
            self._path = self._path.settled()
            if before != (self._plan, self._chroma, self._path):
                self._changed()

    def apply(self, address: str, arguments: Sequence[object], now_ns: int | None = None) -> Outcome:
        """Obeys one message. `arguments` are int, float, bool or None (left out). Never raises. With
        `now_ns` (monotonic) a button that repeats its press every frame acts once."""
        address = ALIASES.get(address, address)
        control = BY_ADDRESS.get(address)
        try:
            if control is None:
                raise _Refused(self._unknown(address, now_ns))
            given = [argument for argument in arguments if argument is not None]
            if control.kind == "bang":
                outcome = self._bang(control, given, now_ns)
            elif control.kind == "text":
                outcome = self._name(control, given)
            elif control.kind == "slots":
                outcome = self._use_slots(control, [_number(address, argument) for argument in given])
            else:
                outcome = self._set(control, address, given)
        except _Refused as refusal:
            self.refused += 1
            return Outcome(error=str(refusal), about="no such address" if control is None else control.name)
        self.accepted += 1
        return outcome

    def _set(self, control: Control, address: str, given: list[object]) -> Outcome:
        if control.kind == "floats":
            if len(given) > control.most_values or len(given) % control.group_of:
                groups = f" in groups of {control.group_of}" if control.group_of > 1 else ""
                raise _Refused(f"{address}: {len(given)} values; allowed: up to {control.most_values}{groups}")
        elif control.most_values > 1:
            if len(given) != control.most_values:
                raise _Refused(f"{address}: {len(given)} values; allowed: {control.most_values}")
        else:
            # A sender of sampled channels puts all samples since its last frame into one message: the newest counts.
            given = given[-1:]
        if not given and control.group not in ("plan", "harmony"):
            raise _Refused(f"{address}: no value; needs a number from {control.low:g} to {control.high:g}")
        values, error = self._in_range(control, address, [_number(address, argument) for argument in given])
        if control.group == "action":
            return Outcome(action=control.name, argument=values[0], arguments=values, error=error)
        return Outcome(changed=self._store(control, address, values), error=error)

    def _store(self, control: Control, address: str, values: tuple[float, ...]) -> tuple[str, ...]:
        changed: list[str] = []
        if control.group == "plan":
            column = COLUMN[control.name.removeprefix("plan_")]
            wanted = _given(values, self._coming_bar)
            if wanted != self._plan[column]:
                self._plan[column] = wanted
                changed.append(control.name)
        elif control.name == "chroma":
            chroma = _given_chroma(values, self._coming_bar)
            if chroma != self._chroma:
                self._chroma = chroma
                changed.append("chroma")
        elif control.group == "split":
            split = self._splits[control.name]
            place = SPLIT[address][1]
            if split[place] != values[0]:
                split[place] = values[0]
                changed.append(control.name)
        elif control.name in ("latent", "latent_dim"):
            first = DIMENSION.get(address, 0)
            target = self._path.target
            return self._aim(target[:first] + values + target[first + len(values) :])
        else:
            self._was_gain_sent |= control.name == "latent_gain"
            if values[0] != self._numbers[control.name]:
                self._numbers[control.name] = values[0]
                self._path = replace(self._path, walk=self._numbers["latent_walk"])
                changed.append(control.name)
        if changed:
            self._changed()
        return tuple(changed)

    def _name(self, control: Control, given: list[object]) -> Outcome:
        """What is called by its name: a patch, a chord or several, a key, a scale."""
        address = control.address
        if control.group == "action":
            if len(given) != 1 or not isinstance(given[0], str):
                raise _Refused(f"{address}: needs a name")
            return Outcome(action=control.name, name=given[0])
        try:
            if control.name == "chord":
                if len(given) > control.most_values:
                    raise _Refused(f"{address}: {len(given)} chords; allowed: up to {control.most_values}")
                chroma = [weight for chord in given for weight in chord_chroma(str(chord))]
                return Outcome(self._store(BY_NAME["chroma"], address, tuple(chroma)))
            if len(given) != 1:
                raise _Refused(f"{address}: {len(given)} values; needs one")
            return Outcome(self._store(control, address, (named_value(control, given[0]),)))
        except ValueError as error:
            raise _Refused(f"{address}: {error}") from error

    def _aim(self, target: Point, glide_bars: int | None = None) -> tuple[str, ...]:
        """A new target of the latent; without `glide_bars` approached as the glide control says."""
        changed: list[str] = []
        bars = int(self._numbers["latent_glide"]) if glide_bars is None else glide_bars
        path = self._path.towards(target, self._coming_bar - 1, bars)
        if path != self._path:
            self._path = path
            changed.append("latent")
        # A bare vector should be heard; but a gain that was sent, or that a patch chose, stays.
        if not self._was_gain_sent and self._numbers["latent_gain"] in (0, BY_NAME["latent_gain"].default):
            self._numbers["latent_gain"] = 1.0
            changed.append("latent_gain")
        if changed:
            self._changed()
        return tuple(changed)

    def _use_slots(self, control: Control, numbers: list[float]) -> Outcome:
        """Points that were kept: store a, recall a [bars], blend a b share."""
        address, is_blend = control.address, control.name == "latent_blend"
        fewest = control.most_values if is_blend else 1
        if not fewest <= len(numbers) <= control.most_values:
            allowed = " or ".join(str(count) for count in range(fewest, control.most_values + 1))
            raise _Refused(f"{address}: {len(numbers)} values; allowed: {allowed}")
        places = [round(number) for number in numbers[: 2 if is_blend else 1]]
        if not all(control.low <= place <= control.high for place in places):
            # The nearest slot would overwrite, or play, what was not meant.
            raise _Refused(f"{address}: allowed slots: {control.low:g} to {control.high:g}")
        if control.name == "latent_store":
            self._stored[places[0]] = self._present_point()
            return NOTHING
        points = [self._point_in(address, place) for place in places]
        if is_blend:
            (share,), error = self._in_range(replace(control, low=0, high=1), address, numbers[2:])
            return Outcome(self._aim(between(points[0], points[1], share)), error=error)
        bars, error = self._in_range(BY_NAME["latent_glide"], address, numbers[1:])
        return Outcome(self._aim(points[0], int(bars[0]) if bars else None), error=error)

    def _point_in(self, address: str, place: int) -> Point:
        if place not in self._stored:
            filled = ", ".join(str(slot) for slot in sorted(self._stored)) or "none"
            raise _Refused(f"{address}: slot {place} is empty; filled slots: {filled}")
        return self._stored[place]

    def _present_point(self) -> Point:
        if self._coming_bar <= 0:
            return self._path.target
        return self._path.at(self._coming_bar - 1, self._cycle_seed)

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
            # A port is no button: the same one may be somebody else's.
            if control.unit != "port" and self._is_held(control.name, number, now_ns):
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
            near = difflib.get_close_matches(shown, ADDRESSES, n=1, cutoff=0.5)
            self._suggestions[shown] = f"; nearest: {near[0]}" if near else ""
        return f"{shown}: no such address{self._suggestions.get(shown, '')}"

    def _take_defaults(self, values: Mapping[str, ControlValue], plan: Mapping[str, ControlValue]) -> None:
        for name, value in [*values.items(), *((f"plan_{attribute}", value) for attribute, value in plan.items())]:
            control = BY_NAME.get(name)
            if control is None or (control.group != "plan" and name not in PATCH_KEYS):
                raise ValueError(f"no control is called {name}; allowed: {', '.join(PATCH_KEYS)}")
            given = [value] if isinstance(value, (str, int, float)) else value
            outcome = self.apply(control.address, given)
            if outcome.error is not None:
                raise ValueError(f"{name}: {outcome.error}")
        self._path = self._path.settled()
        self._was_gain_sent = False

    def take_patch(self, values: Mapping[str, ControlValue], plan: Mapping[str, ControlValue]) -> None:
        """Every control as another patch has it, and what that does not name at its default; the cycle goes on.
        Curves begin at the coming bar, and the latent is glided to if the patch names a glide. Raises ValueError for
        what the table does not allow."""
        before = self._path
        self._numbers, self._splits = dict(DEFAULTS), _splits_at_rest()
        self._path, self._chroma, self._plan = LatentPath(), None, [None] * len(ATTRIBUTES)
        self._take_defaults(values, plan)
        target, bars = self._path.target, int(self._numbers["latent_glide"])
        self._path = replace(before, walk=self._numbers["latent_walk"]).towards(target, self._coming_bar - 1, bars)
        self._changed()

    def follow(self, plan: PlanTable, chroma: Chroma) -> None:
        """A score's plan (n, 6) and harmony (halves, 12) as curves from the coming bar on; NaN stays free."""
        for column in range(len(ATTRIBUTES)):
            values = tuple(float(value) for value in plan[:, column])
            self._plan[column] = GivenCurve(values, self._coming_bar)
        self._chroma = GivenChroma(tuple(tuple(map(float, half)) for half in chroma), self._coming_bar)
        self._changed()

    def _changed(self) -> None:
        self._version += 1
        self._snapshot = None

    def _make_snapshot(self) -> ControlSnapshot:
        numbers = self._numbers
        return ControlSnapshot(
            version=self._version,
            sampling=Sampling(
                temperature=numbers["temperature"],
                cfg_scale=numbers["cfg"],
                top_p=numbers["top_p"],
                top_k=int(numbers["top_k"]),
                mask_k=int(numbers["mask_k"]),
                mask_p=numbers["mask_p"],
                echo=numbers["echo"],
                cfg_schedule=SCHEDULES[int(numbers["cfg_schedule"])],
                iterations=int(numbers["iterations"]),
            ),
            latent_path=self._path,
            latent_gain=numbers["latent_gain"],
            plan=tuple(self._plan),
            chroma=self._chroma,
            cycle_seed=self._cycle_seed,
            rerolls=self._rerolls,
            lead_bars=int(numbers["lead_bars"]),
            density_factor=numbers["density_factor"],
            dress=Dress(
                transpose=int(numbers["transpose"]),
                velocity=numbers["velocity"],
                swing=numbers["swing"],
                humanize=numbers["humanize"],
                gate=numbers["gate"],
                low=int(numbers["low"]),
                high=int(numbers["high"]),
                key=int(numbers["key"]),
                scale=int(numbers["scale"]),
                muted=frozenset(place for place, on in enumerate(self._splits["split_mute"]) if on),
                soloed=frozenset(place for place, on in enumerate(self._splits["split_solo"]) if on),
                levels=tuple(self._splits["split_level"]),
            ),
        )


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


def _splits_at_rest() -> dict[str, list[float]]:
    return {
        control.name: [float(control.default or 0)] * MOST_SPLITS for control in CONTROLS if control.group == "split"
    }


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


def _given_chroma(values: tuple[float, ...], coming_bar: int) -> GivenChroma | None:
    if not values:
        return None
    halves = tuple(values[at : at + PITCH_CLASSES] for at in range(0, len(values), PITCH_CLASSES))
    return GivenChroma(halves) if len(halves) == 1 else GivenChroma(halves, coming_bar)
