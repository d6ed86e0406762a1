"""What a soak does to the instrument on purpose."""

from __future__ import annotations

import os
import signal

from fractal_live.bench.machine import parent_of
from fractal_live.bench.rehearsal import Glimpse

FAULTS = ("model", "stage", "hang", "clock", "port")


def schedule(faults: tuple[str, ...], seconds: float, every_s: float) -> list[tuple[float, str]]:
    """(seconds from the start, fault), evenly spread over the set, each kind in turn: at least each once."""
    if not faults:
        return []
    count = max(len(faults), int(seconds / every_s))
    return [((number + 1) * seconds / (count + 1), faults[number % len(faults)]) for number in range(count)]


def injure(fault: str, glimpse: Glimpse, daemon_pid: int) -> bool:
    """Kills or stops the daemon's child, if it is there and truly the daemon's."""
    pid = glimpse.stage_pid if fault == "stage" else glimpse.model_pid
    if not pid or parent_of(pid) not in (daemon_pid, None):
        return False
    try:
        os.kill(pid, signal.SIGSTOP if fault == "hang" else signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
