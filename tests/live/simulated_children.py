"""What stands in for a child process: one end of a pipe, and the model behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fractal_live.music.request import BarReply, BarRequest, ModelFault, ModelPing, ModelReady, ModelSetup
from tests.live.evening import WITHDRAWS_NS, answer
from tests.live.simulated_port import MS, SECOND

if TYPE_CHECKING:
    from tests.live.simulation import Evening

MODEL_START_NS, SPARE_START_NS, CPU_START_NS = 4 * SECOND, SECOND // 2, 20 * SECOND
FULL = "the GPU is out of memory, going on on the CPU"


@dataclass
class Process:
    """What a keeper wants to know of a child's process."""

    child: Any

    def is_alive(self) -> bool:
        return not self.child.is_gone

    def kill(self) -> None:
        self.child.die()

    def join(self, timeout_s: float = 0) -> None:
        """It is gone at once."""


class SimulatedChild:
    """One end of a pipe. Messages travel in order, a few milliseconds long."""

    def __init__(
        self, evening: Evening, on_message: Callable[[object], None], on_gone: Callable[[], None], is_model: bool
    ) -> None:
        self.evening = evening
        self.is_gone = False
        self.is_model = is_model
        self.last_heard_s = evening.clock.monotonic()
        self.process = Process(self)
        self._on_message = on_message
        self._on_gone = on_gone

    def send(self, message: object) -> None:
        self.evening.later(self.evening.pipe_ns(), self._take, message)

    def kill(self) -> None:
        self.is_gone = True

    def die(self) -> None:
        """kill -9."""
        if not self.is_gone:
            self.is_gone = True
            self.gone()
            self.evening.to_daemon(self._on_gone)

    def gone(self) -> None:
        """A hook for what dies with it."""

    def tell(self, message: object) -> None:
        self.evening.to_daemon(self._told, message)

    def _told(self, message: object) -> None:
        if self.evening.child(self.is_model) is self:
            self.last_heard_s = self.evening.clock.monotonic()
            self._on_message(message)

    def _take(self, message: object) -> None:
        if not self.is_gone:
            self.take(message)

    def take(self, message: object) -> None:
        raise NotImplementedError


class SimulatedModel(SimulatedChild):
    """Answers after what `evening.model` says: nanoseconds, or "fault", "full" (the GPU: it loads itself for the CPU),
    "never" or "die"; a bar that a newer request overtakes is given up. One that was begun without its setup has it
    easier then."""

    def __init__(self, evening: Evening, setup: ModelSetup | None, *calls: Any) -> None:
        super().__init__(evening, *calls, True)
        self.is_stuck = False
        self._under_way: BarRequest | None = None
        self._is_restart = setup is None
        if setup is not None:
            evening.later(MODEL_START_NS, self._ready)

    def _ready(self) -> None:
        if not self.is_gone:
            self.tell(ModelReady("simulated", "cpu", 1, 0 if self._is_restart else 50 * MS))

    def take(self, message: object) -> None:
        if isinstance(message, ModelSetup):
            self.evening.later(SPARE_START_NS, self._ready)
        if isinstance(message, ModelPing) and not self.is_stuck:
            self.tell(message)
        if not isinstance(message, BarRequest) or self.is_stuck:
            return
        withdraws_ns = 0 if self._under_way is None else WITHDRAWS_NS
        how = self.evening.model(message)
        self._under_way = message if isinstance(how, int) else None
        if how == "die":
            self.die()
        elif how == "fault":
            self.evening.later(30 * MS, self._say, ModelFault(f"bar {message.index} failed", message.version))
        elif how == "full":
            self.evening.later(30 * MS, self._say, ModelFault(FULL, message.version, begins_anew=True))
            self.evening.later(CPU_START_NS, self._say, ModelReady("simulated", "cpu of last resort", 1, 50 * MS))
        elif isinstance(how, int):
            self.evening.later(withdraws_ns + how, self._answer, message, how)

    def _answer(self, request: BarRequest, took_ns: int) -> None:
        if self._under_way is request:
            self._under_way = None
            self._say(answer(request, took_ns))

    def _say(self, message: BarReply | ModelFault | ModelReady) -> None:
        if not self.is_gone:
            self.tell(message)
