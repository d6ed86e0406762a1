"""The values of the controls now, and all of them at one moment.

Takes numbers that are in their ranges already; knows no messages and refuses nothing.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace

from fractal_live.live.control_table import (
    BY_NAME,
    CONTROLS,
    DIMENSION,
    HIGHEST_SEED,
    LOWEST_GIVEN_SEED,
    PITCH_CLASSES,
    SCHEDULES,
    SPLIT,
    Control,
)
from fractal_live.live.dressing import MOST_SPLITS, Dress
from fractal_live.live.latent_path import LatentPath, Point
from fractal_live.live.snapshot import ControlSnapshot, GivenChroma, GivenCurve
from fractal_live.music.harmony import Chroma
from fractal_live.music.plan import ATTRIBUTES, COLUMN, PlanTable
from fractal_live.music.request import Sampling

DEFAULTS: dict[str, float] = {
    control.name: control.default for control in CONTROLS if control.default is not None and control.group != "split"
}


class ControlState:
    """`slots`: points of the latent that were kept, by number. All fresh seeds follow from `seed`."""

    def __init__(self, seed: int) -> None:
        self.slots: dict[int, Point] = {}
        self._seeds = random.Random(seed)
        self._numbers = dict(DEFAULTS)
        self._splits = _splits_at_rest()
        self._path = LatentPath()
        self._chroma: GivenChroma | None = None
        self._plan: list[GivenCurve | None] = [None] * len(ATTRIBUTES)
        self._cycle_seed = seed
        self._rerolls = 0
        self._coming_bar = 0
        self._was_gain_sent = False
        self._version = 0
        self._snapshot: ControlSnapshot | None = None  # made when it is asked for

    @property
    def snapshot(self) -> ControlSnapshot:
        """The values now; the same object as long as nothing changes."""
        if self._snapshot is None:
            self._snapshot = self._make_snapshot()
        return self._snapshot

    def by_address(self) -> dict[str, tuple[float, ...]]:
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

    def store(self, control: Control, address: str, values: tuple[float, ...]) -> tuple[str, ...]:
        """Sets a control to numbers in its range; the names of what this changed."""
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
            return self.aim(target[:first] + values + target[first + len(values) :])
        else:
            self._was_gain_sent |= control.name == "latent_gain"
            if values[0] != self._numbers[control.name]:
                self._numbers[control.name] = values[0]
                self._path = replace(self._path, walk=self._numbers["latent_walk"])
                changed.append(control.name)
        if changed:
            self._changed()
        return tuple(changed)

    def aim(self, target: Point, glide_bars: int | None = None) -> tuple[str, ...]:
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

    def keep_point(self, slot: int) -> None:
        """Keeps where the latent is in the playing bar; before the first bar, the point that was set."""
        is_playing = self._coming_bar > 0
        self.slots[slot] = self._path.at(self._coming_bar - 1, self._cycle_seed) if is_playing else self._path.target

    def generate(self, seed: int | None) -> int:
        """Begins a new cycle, with a fresh seed unless one is given; its seed."""
        self._cycle_seed = seed if seed else self._seeds.randint(LOWEST_GIVEN_SEED, HIGHEST_SEED)
        self._rerolls = 0
        self._changed()
        return self._cycle_seed

    def reroll(self) -> None:
        """The coming bars are drawn again, in the same cycle."""
        self._rerolls += 1
        self._changed()

    def begin(self) -> None:
        """What was set until now is where a set begins: at once, and without the gain having been sent."""
        self._path = self._path.settled()
        self._was_gain_sent = False

    def back_to_defaults(self) -> LatentPath:
        """Everything but the cycle and the slots at its default; the latent's path until now."""
        before = self._path
        self._numbers, self._splits = dict(DEFAULTS), _splits_at_rest()
        self._path, self._chroma, self._plan = LatentPath(), None, [None] * len(ATTRIBUTES)
        return before

    def glide_from(self, before: LatentPath) -> None:
        """The point that was set is glided to from an older path, if a glide is set."""
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


def _splits_at_rest() -> dict[str, list[float]]:
    return {
        control.name: [float(control.default or 0)] * MOST_SPLITS for control in CONTROLS if control.group == "split"
    }


def _given(values: tuple[float, ...], coming_bar: int) -> GivenCurve | None:
    if not values:
        return None
    return GivenCurve(values) if len(values) == 1 else GivenCurve(values, coming_bar)


def _given_chroma(values: tuple[float, ...], coming_bar: int) -> GivenChroma | None:
    if not values:
        return None
    halves = tuple(values[at : at + PITCH_CLASSES] for at in range(0, len(values), PITCH_CLASSES))
    return GivenChroma(halves) if len(halves) == 1 else GivenChroma(halves, coming_bar)
