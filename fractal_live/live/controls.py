"""The messages to the controls, obeyed: what the performer moved.

Turns an address with arguments into a changed value or an action, as `live.control_table` allows; knows no sockets
and no bars. One thread (the daemon's event loop) uses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fractal_live.live.buttons import Buttons
from fractal_live.live.control_arguments import ControlRanges, Refused, named_value, number_from
from fractal_live.live.control_state import ControlState
from fractal_live.live.control_table import (
    ALIASES,
    BY_ADDRESS,
    BY_NAME,
    CONTROLS,
    PATCH_KEYS,
    Control,
    table_markdown,
)
from fractal_live.live.latent_path import Point, between
from fractal_live.live.nearest_address import NearestAddress
from fractal_live.live.snapshot import ControlSnapshot
from fractal_live.music.harmony import Chroma
from fractal_live.music.plan import PlanTable
from fractal_live.music.scales import chord_chroma

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


ControlValue = float | str | Sequence[float] | Sequence[str]
"""What a patch says of a control: a number, a name, or several."""


class Controls:
    """The values now. `accepted`, `refused` and `clamped` count messages; a refused message changes nothing."""

    def __init__(
        self,
        values: Mapping[str, ControlValue] | None = None,
        plan: Mapping[str, ControlValue] | None = None,
        seed: int = 0,
        points: Mapping[int, Point] | None = None,
    ) -> None:
        """`values` are a patch's defaults by control name, `plan` held values by attribute name, `points` what the
        latent's slots hold. All fresh seeds follow from `seed`. Raises ValueError for what the table does not allow."""
        self.accepted = 0
        self.refused = 0
        self._state = ControlState(seed)
        self._state.slots.update(points or {})
        self._ranges = ControlRanges()
        self._buttons = Buttons()
        self._nearest = NearestAddress()
        self._take_defaults(values or {}, plan or {})
        self.accepted = 0

    @property
    def clamped(self) -> int:
        """Messages with a number outside its range, which was moved to the nearest end."""
        return self._ranges.clamped

    @property
    def snapshot(self) -> ControlSnapshot:
        """The values now; the same object as long as nothing changes."""
        return self._state.snapshot

    def values(self) -> dict[str, tuple[float, ...]]:
        """What each control that has a value was set to, by address, as it would be sent; () where nothing is held, or
        where the curve of a score leaves bars free."""
        return self._state.by_address()

    def playhead_in(self, bar_index: int) -> None:
        """Says which bar is playing (-1: none yet): curves and glides sent from now on begin at the next one. When
        the playhead jumps back, curves already given go on from where they were, and a glide is over."""
        self._state.playhead_in(bar_index)

    def apply(self, address: str, arguments: Sequence[object], now_ns: int | None = None) -> Outcome:
        """Obeys one message. `arguments` are int, float, bool or None (left out). Never raises. With
        `now_ns` (monotonic) a button that repeats its press every frame acts once."""
        address = ALIASES.get(address, address)
        control = BY_ADDRESS.get(address)
        try:
            if control is None:
                raise Refused(self._nearest.said_of(address, now_ns))
            given = [argument for argument in arguments if argument is not None]
            if control.kind == "bang":
                outcome = self._bang(control, given, now_ns)
            elif control.kind == "text":
                outcome = self._name(control, given)
            elif control.kind == "slots":
                outcome = self._use_slots(control, [number_from(address, argument) for argument in given])
            else:
                outcome = self._set(control, address, given)
        except Refused as refusal:
            self.refused += 1
            return Outcome(error=str(refusal), about="no such address" if control is None else control.name)
        self.accepted += 1
        return outcome

    def _set(self, control: Control, address: str, given: list[object]) -> Outcome:
        if control.kind == "floats":
            if len(given) > control.most_values or len(given) % control.group_of:
                groups = f" in groups of {control.group_of}" if control.group_of > 1 else ""
                raise Refused(f"{address}: {len(given)} values; allowed: up to {control.most_values}{groups}")
        elif control.most_values > 1:
            if len(given) != control.most_values:
                raise Refused(f"{address}: {len(given)} values; allowed: {control.most_values}")
        else:
            # A sender of sampled channels puts all samples since its last frame into one message: the newest counts.
            given = given[-1:]
        if not given and control.group not in ("plan", "harmony"):
            raise Refused(f"{address}: no value; needs a number from {control.low:g} to {control.high:g}")
        values, error = self._ranges.within(control, address, [number_from(address, argument) for argument in given])
        if control.group == "action":
            return Outcome(action=control.name, argument=values[0], arguments=values, error=error)
        return Outcome(changed=self._state.store(control, address, values), error=error)

    def _name(self, control: Control, given: list[object]) -> Outcome:
        """What is called by its name: a patch, a chord or several, a key, a scale."""
        address = control.address
        if control.group == "action":
            if len(given) != 1 or not isinstance(given[0], str):
                raise Refused(f"{address}: needs a name")
            return Outcome(action=control.name, name=given[0])
        try:
            if control.name == "chord":
                if len(given) > control.most_values:
                    raise Refused(f"{address}: {len(given)} chords; allowed: up to {control.most_values}")
                chroma = [weight for chord in given for weight in chord_chroma(str(chord))]
                return Outcome(self._state.store(BY_NAME["chroma"], address, tuple(chroma)))
            if len(given) != 1:
                raise Refused(f"{address}: {len(given)} values; needs one")
            return Outcome(self._state.store(control, address, (named_value(control, given[0]),)))
        except ValueError as error:
            raise Refused(f"{address}: {error}") from error

    def _use_slots(self, control: Control, numbers: list[float]) -> Outcome:
        """Points that were kept: store a, recall a [bars], blend a b share."""
        address, is_blend = control.address, control.name == "latent_blend"
        fewest = control.most_values if is_blend else 1
        if not fewest <= len(numbers) <= control.most_values:
            allowed = " or ".join(str(count) for count in range(fewest, control.most_values + 1))
            raise Refused(f"{address}: {len(numbers)} values; allowed: {allowed}")
        places = [round(number) for number in numbers[: 2 if is_blend else 1]]
        if not all(control.low <= place <= control.high for place in places):
            # The nearest slot would overwrite, or play, what was not meant.
            raise Refused(f"{address}: allowed slots: {control.low:g} to {control.high:g}")
        if control.name == "latent_store":
            self._state.keep_point(places[0])
            return NOTHING
        points = [self._point_in(address, place) for place in places]
        if is_blend:
            (share,), error = self._ranges.within(replace(control, low=0, high=1), address, numbers[2:])
            return Outcome(self._state.aim(between(points[0], points[1], share)), error=error)
        bars, error = self._ranges.within(BY_NAME["latent_glide"], address, numbers[1:])
        return Outcome(self._state.aim(points[0], int(bars[0]) if bars else None), error=error)

    def _point_in(self, address: str, place: int) -> Point:
        if place not in self._state.slots:
            filled = ", ".join(str(slot) for slot in sorted(self._state.slots)) or "none"
            raise Refused(f"{address}: slot {place} is empty; filled slots: {filled}")
        return self._state.slots[place]

    def _bang(self, control: Control, given: list[object], now_ns: int | None) -> Outcome:
        """A press: no argument, true, 1, or (where the control has one) its number. 0 and false are the
        button's release."""
        number = self._buttons.pressed(control, given, now_ns)
        if number is None:
            return NOTHING
        argument: float | None = None
        error = None
        if control.unit and round(number) != 1:
            (argument,), error = self._ranges.within(control, control.address, [float(round(number))])
        if control.name == "generate":
            seed = self._state.generate(int(argument) if argument else None)
            return Outcome(("cycle_seed",), "generate", seed, error)
        if control.name == "reroll":
            self._state.reroll()
            return Outcome(("rerolls",), "reroll")
        return Outcome(action=control.name, argument=argument, error=error)

    def take_patch(
        self,
        values: Mapping[str, ControlValue],
        plan: Mapping[str, ControlValue],
        points: Mapping[int, Point] | None = None,
    ) -> None:
        """Every control as another patch has it, and what that does not name at its default; the cycle goes on, and so
        do points that were stored in slots that the patch leaves alone.
        Curves begin at the coming bar, and the latent is glided to if the patch names a glide. Raises ValueError for
        what the table does not allow."""
        before = self._state.back_to_defaults()
        self._take_defaults(values, plan)
        self._state.slots.update(points or {})
        self._state.glide_from(before)

    def follow(self, plan: PlanTable, chroma: Chroma) -> None:
        """A score's plan (n, 6) and harmony (halves, 12) as curves from the coming bar on; NaN stays free."""
        self._state.follow(plan, chroma)

    def _take_defaults(self, values: Mapping[str, ControlValue], plan: Mapping[str, ControlValue]) -> None:
        for name, value in [*values.items(), *((f"plan_{attribute}", value) for attribute, value in plan.items())]:
            control = BY_NAME.get(name)
            if control is None or (control.group != "plan" and name not in PATCH_KEYS):
                raise ValueError(f"no control is called {name}; allowed: {', '.join(PATCH_KEYS)}")
            given = [value] if isinstance(value, (str, int, float)) else value
            outcome = self.apply(control.address, given)
            if outcome.error is not None:
                raise ValueError(f"{name}: {outcome.error}")
        self._state.begin()
