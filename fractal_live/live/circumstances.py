"""What a coming bar depends on now: the controls, what was heard, the meter, the tempo, a loop; and by that whether a
bar that was made is still as it should be."""

from __future__ import annotations

from fractal_live.live.latent_path import Point
from fractal_live.live.listening import DEAF, REST, Hearing, Influence
from fractal_live.live.loop import Loop
from fractal_live.live.planned import Planned
from fractal_live.live.snapshot import ControlSnapshot
from fractal_live.music.meter import PPQN, Meter
from fractal_live.music.notes import Bar
from fractal_live.music.request import BarRequest


class Circumstances:
    """`controls` is None until they are known, `loop` unless bars go round; `asked` is the newest request's number,
    and requests with a smaller one than `stale_below` knew older controls; with `leader_sets_tempo` bars are asked for
    at the tempo there is."""

    def __init__(self, meter: Meter, leader_sets_tempo: bool) -> None:
        self.meter = meter
        self.leader_sets_tempo = leader_sets_tempo
        self.tempo_bpm = 120.0
        self.hearing: Hearing = DEAF
        self.controls: ControlSnapshot | None = None
        self.loop: Loop | None = None
        self.asked = 0
        self.stale_below = 0

    @property
    def bar_ns(self) -> int:
        """How long a bar lasts."""
        return round(self.meter.ticks_per_bar * 60e9 / (PPQN * self.tempo_bpm))

    def silent_bar(self, index: int) -> Bar:
        """A bar in which nothing sounds."""
        return Bar(index, (), self.meter, self.tempo_bpm)

    def hearing_for(self, is_top: bool) -> Hearing:
        """In the next Start nothing has been heard yet."""
        return self.hearing.unheard if is_top else self.hearing

    def heard_by(self, index: int, is_top: bool) -> Influence:
        """What of the heard a request for this bar would take, made now."""
        return self.hearing_for(is_top).influence_on(index)

    def latent_in(self, index: int) -> Point | None:
        """The latent of a bar; None where it has no influence."""
        return None if self.controls is None else self.controls.influence_at(index)

    def is_stale(self, planned: Planned, is_top: bool) -> bool:
        """Whether a bar that has not begun would be another one if it were asked for now."""
        if planned.is_begun:
            return False
        influence = self.heard_by(planned.bar.index, is_top)
        if planned.heard != influence and self.loop is None:
            return True
        return influence != REST and self._is_older(planned)

    def is_up_to_date(self, request: BarRequest) -> bool:
        """Whether it was asked with the present controls."""
        return request.version >= self.stale_below and point_of(request) == self.latent_in(request.index)

    def _is_older(self, planned: Planned) -> bool:
        """Whether it was asked for with other controls than the present ones."""
        return planned.asked < self.stale_below or planned.latent != self.latent_in(planned.bar.index)


def point_of(request: BarRequest) -> Point | None:
    """The latent that a bar was asked for with; None where it has no influence."""
    return request.latent if request.latent_gain > 0 else None
