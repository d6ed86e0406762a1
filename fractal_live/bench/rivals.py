"""What is said to and by the senders that ours is measured beside. Each plays the same score into the same kind of
port from a process of its own."""

from __future__ import annotations

from dataclasses import dataclass

ASYNCIO_ENTRY = "fractal_live.bench.asyncio_rival"
ISOBAR_ENTRY = "fractal_live.bench.isobar_rival"
LEAD_IN_S = 0.3


@dataclass(frozen=True, slots=True)
class RivalSetup:
    """First message to a rival: its tempo, the port (as in StageSetup), and the model that shares its process, if
    one does."""

    tempo_bpm: float
    midi_api: str
    connect: str | None
    checkpoint: str
    device: str
    threads: int


@dataclass(frozen=True, slots=True)
class RivalReady:
    """From a rival: it has its port, and its model is warm."""


@dataclass(frozen=True, slots=True)
class Play:
    """To a rival: play for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Played:
    """From a rival: when step 0 was due (time.monotonic_ns), sent minus due in ns, how many messages it sent, and how
    many bars its model made meanwhile."""

    start_ns: int
    late_ns: tuple[int, ...]
    sent: int
    bars: int
