"""A performer who cannot sit still: random messages from the control table."""

from __future__ import annotations

import random
from collections.abc import Sequence

from fractal_live.live.controls import CONTROLS, Control
from fractal_live.live.dressing import MOST_SPLITS
from fractal_live.music.request import LATENT_DIMS

Message = tuple[str, tuple[float | str, ...]]
ACTIONS = ("/fractal/generate", "/fractal/reroll")
ACTION_SHARE, PATCH_SHARE = 0.05, 0.02
RELEASE_SHARE = 0.3
UNTOUCHED = ("chord", "split_mute", "split_solo")  # the last two silence on purpose
LOWEST_DENSITY = 4.0  # less may be heard as silence, which is counted as a failure
TEMPOS_BPM = (60.0, 150.0)
TEMPO, PATCH = "/fractal/transport/tempo", "/fractal/patch"


class Performer:
    """The same seed moves the same controls. `patches` are the names of those it changes to now and then."""

    def __init__(self, seed: int, patches: Sequence[str] = ()) -> None:
        self._rng = random.Random(seed)
        self._patches = patches
        self._movable = [
            control
            for control in CONTROLS
            if control.group != "action" and control.kind != "slots" and control.name not in UNTOUCHED
        ]

    def tempo(self) -> float:
        return round(self._rng.uniform(*TEMPOS_BPM), 1)

    def gesture(self) -> Message:
        """An OSC address and its values."""
        rng = self._rng
        if rng.random() < ACTION_SHARE:
            return rng.choice(ACTIONS), ()
        if self._patches and rng.random() < PATCH_SHARE:
            return PATCH, (rng.choice(self._patches),)
        control = rng.choice(self._movable)
        if control.group in ("plan", "harmony") and rng.random() < RELEASE_SHARE:
            return control.address, ()
        place = rng.randint(1, MOST_SPLITS) if control.group == "split" else rng.randrange(LATENT_DIMS)
        return control.address.replace("<i>", str(place)), self._values(control)

    def _values(self, control: Control) -> tuple[float, ...]:
        rng, low = self._rng, control.low
        if control.name == "plan_density":
            low = LOWEST_DENSITY
        if control.name == "plan_tempo":
            return (self.tempo(),)
        if control.kind != "floats":
            value = rng.uniform(low, control.high)
            return (float(round(value)) if control.kind in ("int", "text") else value,)
        groups = rng.choice((1, 1, min(8, control.most_values // control.group_of)))
        return tuple(rng.uniform(low, control.high) for _ in range(groups * control.group_of))
