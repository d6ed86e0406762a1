"""What a soak adds up: the stage's lives, memory, accidents, errors; and the figures and the table made of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from fractal_live.bench.figures import shown, spread_of
from fractal_live.bench.machine import cpu_pressure, growth_mb_per_hour
from fractal_live.bench.rehearsal import Glimpse
from fractal_live.bench.witness import SilentBar, Witness
from fractal_live.live.telemetry import lateness_of
from fractal_live.ports.pipes import StageHealth

RECOVERY_S = 15.0  # a fallback so soon after an accident is that accident's
SILENT_SHOWN = 20
ERRORS_SHOWN = 8
MODEL_ACCIDENTS = ("model", "hang")
STAGE_ACCIDENTS = ("stage",)


@dataclass(slots=True)
class StageLife:
    """One stage process, from its start to its end or the set's: what it said last, and (seconds, MB)."""

    restarts: int
    health: StageHealth
    memory: list[tuple[float, float]] = field(default_factory=list)


class Account:
    """Told what happens; `is_whole` says that the daemon lived to the end and left in order."""

    def __init__(self) -> None:
        self.newest: Glimpse | None = None
        self.is_whole = True
        self.gestures = 0
        self.errors: Counter[str] = Counter()
        self._lives: list[StageLife] = []
        self._daemon_memory: list[tuple[float, float]] = []
        self._accidents: list[tuple[float, str]] = []  # (seconds, fault)
        self._fallbacks_after_accidents = 0

    def glimpsed(self, glimpse: Glimpse, now_s: float) -> None:
        underruns = self.newest.underruns if self.newest is not None else 0
        self.newest = glimpse
        if not self._lives:
            self._lives.append(StageLife(glimpse.stage_restarts, StageHealth(0, 0, 0, 0, 0, 0, 0)))
        life = self._lives[-1]
        # After a restart the health is the dead stage's until the new one, which has sent less, says its own.
        if glimpse.stage_restarts != life.restarts and glimpse.health.sent < life.health.sent:
            life = StageLife(glimpse.stage_restarts, StageHealth(0, 0, 0, 0, 0, 0, 0))
            self._lives.append(life)
        if self._accidents and now_s - self._accidents[-1][0] < RECOVERY_S:
            self._fallbacks_after_accidents += glimpse.underruns - underruns
        life.health = glimpse.health

    def had_accident(self, fault: str, now_s: float) -> None:
        self._accidents.append((now_s, fault))

    def weighed(self, at_s: float, daemon_mb: float | None, stage_mb: float | None) -> None:
        if daemon_mb is not None:
            self._daemon_memory.append((at_s, daemon_mb))
        is_same = self.newest is not None and self._lives and self._lives[-1].restarts == self.newest.stage_restarts
        if stage_mb is not None and is_same:
            self._lives[-1].memory.append((at_s, stage_mb))

    @property
    def crashes(self) -> int:
        """Ends that nobody brought about: the daemon's, and restarts of its children beyond the accidents."""
        newest = self.newest
        if newest is None:
            return 1
        of_model = newest.model_restarts - sum(fault in MODEL_ACCIDENTS for _, fault in self._accidents)
        of_stage = newest.stage_restarts - sum(fault in STAGE_ACCIDENTS for _, fault in self._accidents)
        return max(of_model, 0) + max(of_stage, 0) + (not self.is_whole)

    def figures(self, told: Witness, heard: Witness | None) -> dict[str, Any]:
        """`told` listened to OSC, `heard` at the port, where there is one."""
        healths = [life.health for life in self._lives]
        bins = [
            sum(column) for column in zip(*(one.lateness_bins for one in healths if one.lateness_bins), strict=True)
        ]
        lateness = lateness_of(bins, max((one.lateness_worst_ns for one in healths), default=0))
        growth = {
            "daemon": growth_mb_per_hour(self._daemon_memory),
            "stage": growth_mb_per_hour(max((life.memory for life in self._lives), key=len, default=[])),
        }
        known = [mb for mb in growth.values() if mb is not None]
        newest = self.newest
        return {
            "bars": told.bars,
            "silent_bars": len(told.silent),
            "fallbacks": newest.underruns if newest is not None else 0,
            "fallbacks_after_accidents": self._fallbacks_after_accidents,
            "open_notes": (heard or told).open_notes,
            "crashes": self.crashes,
            "send_ms": spread_of(lateness),
            "rss_growth_mb_per_hour": round(sum(known), 2) if known else None,
            "rss_growth_of": {name: None if mb is None else round(mb, 2) for name, mb in growth.items()},
            "silent": [self._silence(bar) for bar in told.silent[:SILENT_SHOWN]],
            "bars_that_never_began": len(told.unheard),
            "accidents": dict(Counter(fault for _, fault in self._accidents)),
            "gestures": self.gestures,
            "notes": told.struck,
            "notes_heard": heard.struck if heard is not None else None,
            "sent": sum(one.sent for one in healths),
            "errors": dict(self.errors.most_common(ERRORS_SHOWN)),
            "priority": newest.priority if newest is not None else "",
            "pressure": cpu_pressure(),
        }

    def _silence(self, bar: SilentBar) -> dict[str, Any]:
        """What was wanted in it, and the last accident before its end."""
        over_s = bar.over_ns * 1e-9
        before = [(over_s - at_s, fault) for at_s, fault in self._accidents if at_s < over_s]
        seconds, fault = before[-1] if before else (None, None)
        return {
            "bar": bar.index,
            "wanted": round(bar.wanted, 2),
            "accident": fault,
            "seconds_before_its_end": None if seconds is None else round(seconds, 2),
        }


def table(figures: dict[str, Any]) -> Table:
    """For people."""
    result = Table("soak", f"{figures['minutes']:g} minutes", title=f"led by {figures['sync']}, {figures['port']}")
    send, growth, pressure = figures["send_ms"], figures["rss_growth_of"], figures["pressure"]
    accidents = ", ".join(f"{count} x {fault}" for fault, count in figures["accidents"].items()) or "none"
    after = figures["fallbacks_after_accidents"]
    due = figures["bars_due"]
    led = "" if due is None else f", the leader's: {due:g}"
    result.add_row("bars", f"{figures['bars']}{led}; never begun: {figures['bars_that_never_began']}")
    result.add_row("silent bars", str(figures["silent_bars"]))
    for bar in figures["silent"]:
        cause = "" if bar["accident"] is None else f", {bar['seconds_before_its_end']:g} s after: {bar['accident']}"
        result.add_row(f"  bar {bar['bar']}", f"{bar['wanted']:g} onsets wanted{cause}")
    result.add_row("fallbacks", f"{figures['fallbacks']}, {after} of them soon after an accident")
    result.add_row("accidents", accidents)
    result.add_row("crashes", str(figures["crashes"]))
    result.add_row("open notes at the end", str(figures["open_notes"]))
    heard = figures["notes_heard"]
    result.add_row("notes", f"{figures['notes']}, heard at the port: {'no port' if heard is None else heard}")
    result.add_row("sent - due, ms", f"p50 {shown(send['p50'])}  p99 {shown(send['p99'])}  max {shown(send['max'])}")
    result.add_row("memory, MB an hour", f"daemon {shown(growth['daemon'], 1)}, stage {shown(growth['stage'], 1)}")
    result.add_row("controls moved", str(figures["gestures"]))
    for text, count in figures["errors"].items():
        result.add_row(f"error, {count} x", text)
    result.caption = (
        f"priority {figures['priority']}; CPU pressure {'unknown' if pressure is None else f'{pressure:g} %'}"
    )
    return result
