"""The whole instrument on a fake clock, in one thread: the daemon's own decisions between a simulated stage (with the
real player in it), a simulated model, a simulated leader and an ear at the port that knows the laws.

An event happens when its time has come, and time passes only between events: hours take seconds.
"""

from __future__ import annotations

import contextlib
import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fractal_live.daemon import Daemon
from fractal_live.dashboard import render
from fractal_live.live.player import Player
from fractal_live.live.scheduler import BegunBar
from fractal_live.music.notes import Bar, Note
from fractal_live.music.request import BarRequest, ModelSetup
from fractal_live.ports import pipes
from fractal_live.settings import Machine, Patch, RunSettings
from tests.live.simulated_children import SimulatedChild, SimulatedModel
from tests.live.simulated_port import MS, SECOND, Clock, Ear
from tests.live.simulated_stage import SimulatedStage

HOUR = 3_600 * SECOND


class Evening:
    """The instrument and the world around it. `model` says how long the model takes for a request (or "fault",
    "never", "die")."""

    def __init__(
        self,
        folder: Path,
        sync: str = "internal",
        seed: int = 1,
        machine: Machine | None = None,
        patch: Patch | None = None,
        sends_clock: bool = False,
    ) -> None:
        self.clock = Clock()
        self.rng = random.Random(seed)
        self.ear = Ear()
        self.counts: Counter[str] = Counter()
        self.late_ns = 0
        self.priority = "realtime"  # what the stage is granted
        self.is_waking = False  # it slept: what is missed now is missed
        self.model: Callable[[BarRequest], int | str] = lambda request: 80 * MS
        self.settings = RunSettings(
            patch or Patch(),
            machine or Machine(),
            folder / "none",
            sync,
            3,
            folder / "set.mid",
            sends_clock=sends_clock,
        )
        self._agenda: list[tuple[int, int, Callable[..., None], tuple[object, ...]]] = []
        self._number = 0
        self._newest_ns = 0

    def begin(self) -> None:
        """Inside `simulated`."""
        self.daemon = Daemon(self.settings)
        self.daemon.recording.save = lambda: None  # type: ignore[method-assign]  # no disk, no event loop
        self.daemon.model.start()
        self.daemon.stage.start()
        self._pump()
        self._ping()

    # Its parts.

    def start_child(
        self, name: str, entry: str, setup: object, on_message: Callable[[object], None], on_gone: Callable[[], None]
    ) -> SimulatedChild:
        """In place of `Child.start`."""
        if setup is None or isinstance(setup, ModelSetup):
            return SimulatedModel(self, setup, on_message, on_gone)
        assert isinstance(setup, pipes.StageSetup)
        return SimulatedStage(self, setup, on_message, on_gone)

    def child(self, is_model: bool) -> object:
        return self.daemon.model.child if is_model else self.daemon.stage.child

    @property
    def stage(self) -> SimulatedStage | None:
        """The one that lives."""
        stage = self.daemon.stage.child
        return stage if isinstance(stage, SimulatedStage) and not stage.is_gone else None

    @property
    def player(self) -> Player:
        assert self.stage is not None
        return self.stage.player

    @property
    def position(self) -> int:
        return self.player.transport.position(self.clock.now_ns)

    # Time.

    def at(self, at_ns: int, what: Callable[..., None], *arguments: object) -> None:
        self._number += 1
        heapq.heappush(self._agenda, (at_ns, self._number, what, arguments))

    def later(self, ns: int, what: Callable[..., None], *arguments: object) -> None:
        self.at(self.clock.now_ns + ns, what, *arguments)

    def pipe_ns(self) -> int:
        return MS

    def to_daemon(self, what: Callable[..., None], *arguments: object) -> None:
        """In order; now and then the daemon has something else to do."""
        busy_ns = 60 * MS if self.rng.random() < 0.001 else MS
        self._newest_ns = max(self._newest_ns, self.clock.now_ns + busy_ns)
        self.at(self._newest_ns, self._daemon_hears, what, arguments)

    def _daemon_hears(self, what: Callable[..., None], arguments: tuple[object, ...]) -> None:
        what(*arguments)
        self._turn()

    def _turn(self) -> None:
        wakes = self.daemon.live_set.wakes
        if wakes.is_set():
            wakes.clear()
            self.daemon._turn()

    def _pump(self) -> None:
        self.daemon.live_set.wakes.set()
        self._turn()
        self.later(250 * MS, self._pump)

    def _ping(self) -> None:
        """Rarer than in truth."""
        self.daemon.model_side.ping()
        self.later(SECOND, self._ping)

    def advance(self, ns: int) -> None:
        """Lets time pass."""
        end_ns = self.clock.now_ns + ns
        while True:
            stage = self.stage
            wake_ns = due_ns = None
            if stage is not None:
                wake_ns, due_ns = stage.wake_ns, stage.port.next_ns
            next_ns = self._agenda[0][0]
            is_due, is_wake = False, False
            if due_ns is not None and due_ns <= next_ns:
                next_ns, is_due = due_ns, True
            if wake_ns is not None and wake_ns < next_ns:
                next_ns, is_due, is_wake = wake_ns, False, True
            if next_ns > end_ns:
                self.clock.now_ns = end_ns
                return
            self.clock.now_ns = max(self.clock.now_ns, next_ns)
            if is_due:
                assert stage is not None
                stage.send_due()
            elif is_wake:
                assert stage is not None
                stage.play()
            else:
                _, _, what, arguments = heapq.heappop(self._agenda)
                what(*arguments)

    def seconds(self, count: float) -> None:
        self.advance(round(count * SECOND))

    def sleep(self, seconds: float) -> None:
        """Everything of ours stands still; the clock does not."""
        self.clock.now_ns += round(seconds * SECOND)
        self.is_waking = True

    # Hooks.

    def after_play(self) -> None:
        """The stage has had a turn."""

    def began(self, begun: BegunBar) -> None:
        """A bar has begun."""

    # The performer.

    def osc(self, address: str, *arguments: object) -> None:
        performer, now_ns = self.daemon.performer, self.clock.now_ns
        performer.obey(f"/fractal/{address}", arguments, ("127.0.0.1", 9), now_ns)
        performer.plan_for_moved(now_ns)
        self._turn()

    def shown(self, height: int = 40) -> str:
        """The dashboard as it is now."""
        daemon = self.daemon
        frame = daemon.status.frame(daemon.settings, daemon.planner, daemon.controls, daemon.live_set.osc_in)
        return render(frame, 120, height).plain


@contextlib.contextmanager
def simulated(folder: Path, kind: type[Evening] = Evening, **options: Any) -> Iterator[Evening]:
    """An evening whose daemon and keepers see its clock and its children."""
    evening = kind(folder, **options)

    class Child:
        start = staticmethod(evening.start_child)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fractal_live.daemon.time", evening.clock)
        patched.setattr("fractal_live.keeper.time", evening.clock)
        patched.setattr("fractal_live.reporter.time", evening.clock)
        patched.setattr("fractal_live.keeper.Child", Child)
        evening.begin()
        try:
            yield evening
        finally:
            evening.daemon.osc_out.close()


def footprint(*roots: object) -> int:
    """How many objects are held by these, notes and bytes not counted apart."""
    seen: set[int] = set()
    kept: list[object] = list(roots)
    while kept:
        thing = kept.pop()
        if id(thing) in seen or isinstance(thing, (str, bytes, bytearray, int, float, bool, type(None), type, Note)):
            continue
        seen.add(id(thing))
        if isinstance(thing, dict):
            kept += [*thing.keys(), *thing.values()]
        elif isinstance(thing, (list, tuple, set, frozenset, deque)):
            kept += thing
        elif type(thing).__module__.startswith("fractal_live") and not isinstance(thing, Bar):
            kept += list(getattr(thing, "__dict__", {}).values())
            names = [name for cls in type(thing).__mro__ for name in getattr(cls, "__slots__", ())]
            kept += [getattr(thing, name) for name in names if hasattr(thing, name)]
        elif isinstance(thing, np.ndarray):
            continue
    return len(seen)
