"""Bars as the stage is given them: dressed as they are to sound, and numbered so that a newer one is known."""

from __future__ import annotations

from fractal_live.live.circumstances import Circumstances
from fractal_live.live.dressing import Dress, Outfit, dressed
from fractal_live.live.planned import Offer, Planned
from fractal_live.music.notes import Bar


class Offering:
    """`outfit`: the parts and channels that are worn now; `version`: the newest bar's."""

    def __init__(self, circumstances: Circumstances, outfit: Outfit) -> None:
        self.outfit = outfit
        self.version = 0
        self._circumstances = circumstances

    def next_version(self) -> int:
        """A version that no bar had."""
        self.version += 1
        return self.version

    def offer(self, planned: Planned) -> Offer:
        """The bar and its fallback, as they are to sound now."""
        fallback = self.dressed(planned.fallback)
        return Offer(self.dressed(planned.bar), planned.version, fallback, self.outfit.programs)

    def dressed(self, bar: Bar) -> Bar:
        """A bar that was made, as it is to sound now."""
        controls = self._circumstances.controls
        return bar if controls is None else dressed(bar, controls.dress, self.outfit)

    @property
    def clothes(self) -> tuple[Dress, Outfit]:
        """What bars that are offered wear now."""
        controls = self._circumstances.controls
        return (Dress() if controls is None else controls.dress), self.outfit
