"""The daemon as `run` starts it, in a process that also tells about itself: who its children are and how they fare."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection

from fractal_live import memory
from fractal_live.daemon import Daemon, DaemonError
from fractal_live.keeper import Keeper
from fractal_live.ports import pipes
from fractal_live.ports.osc_in import OscPortError
from fractal_live.settings import RunSettings

ENTRY = "fractal_live.bench.rehearsal"
GLIMPSE_S = 0.25


@dataclass(frozen=True, slots=True)
class Glimpse:
    """From the rehearsal, four times a second and once at the end. A process id is 0 while there is no process;
    `health` is the newest of the stage, with the `stage_restarts` it belongs to."""

    is_ready: bool
    is_rolling: bool
    model_pid: int
    stage_pid: int
    model_restarts: int
    stage_restarts: int
    health: pipes.StageHealth
    priority: str
    output_port: str
    errors: tuple[str, ...]
    underruns: int = 0  # of all the set's stages


def main(connection: Connection) -> None:
    """Entry point: RunSettings, then a Glimpse now and then, until the set ends (SIGTERM) or the pipe closes."""
    logging.basicConfig(handlers=[logging.NullHandler()])  # as with the dashboard: nothing is torn by log lines
    try:
        settings: RunSettings = connection.recv()
        asyncio.run(_rehearse(connection, settings))
    except (EOFError, OSError):
        return


async def _rehearse(connection: Connection, settings: RunSettings) -> None:
    daemon = Daemon(settings)
    memory.settle()
    loop = asyncio.get_running_loop()

    def leave() -> None:
        """The other end says nothing, so it can only have closed: nobody listens any more."""
        loop.remove_reader(connection.fileno())
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(connection.fileno(), leave)
    telling = loop.create_task(_tell(daemon, connection))
    try:
        await daemon.run()
    except (DaemonError, OscPortError) as error:
        connection.send(pipes.Fault(str(error)))
    finally:
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await telling
        with contextlib.suppress(OSError):
            connection.send(_glimpse(daemon))


async def _tell(daemon: Daemon, connection: Connection) -> None:
    while True:
        connection.send(_glimpse(daemon))
        await asyncio.sleep(GLIMPSE_S)


def _glimpse(daemon: Daemon) -> Glimpse:
    status = daemon.status
    return Glimpse(
        is_ready=status.is_ready,
        is_rolling=status.transport.is_rolling,
        model_pid=_pid(daemon.model),
        stage_pid=_pid(daemon.stage),
        model_restarts=daemon.model.restarts,
        stage_restarts=daemon.stage.restarts,
        health=status.health,
        priority=status.stage.priority if status.stage is not None else "",
        output_port=status.stage.output_port if status.stage is not None else "",
        errors=tuple(status.errors),
        underruns=status.underruns,
    )


def _pid(keeper: Keeper) -> int:
    if keeper.child is None or keeper.child.is_gone:
        return 0
    return keeper.child.process.pid or 0
