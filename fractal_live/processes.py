"""The daemon's children: processes of ours, each at the far end of a pipe, started by entry-point name."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import re
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from fractal_live.ports import pipes
from fractal_live.ports.pipe_writer import PipeWriter

KILL_JOIN_S = 0.1  # the loop waits for it, and so do the pings
MEMORY = Path("/proc/meminfo")


@contextlib.contextmanager
def _bare_main() -> Iterator[None]:
    """A spawned process imports the main module of its parent: ours is the command line, which drags in what the
    stage must not carry. While a child starts, main is an empty module."""
    real = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = real


@dataclass(slots=True)
class Child:
    """A process of ours and our end of its pipe. Messages arrive on the loop through `on_message`; a closed
    pipe calls `on_gone` once."""

    name: str
    process: SpawnProcess
    connection: Connection
    writer: PipeWriter
    last_heard_s: float = field(default_factory=time.monotonic)
    is_gone: bool = False

    @classmethod
    def start(
        cls, name: str, entry: str, setup: object, on_message: Callable[[object], None], on_gone: Callable[[], None]
    ) -> Child:
        """On the running event loop. `setup` is its first message; with None it is sent later."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=pipes.enter, args=(entry, theirs), name=f"fractal-live {name}", daemon=True)
        with _bare_main():
            process.start()
        theirs.close()
        child = cls(name, process, ours, PipeWriter(ours))
        loop = asyncio.get_running_loop()
        if setup is not None:
            child.send(setup)
        threading.Thread(
            target=child._read, args=(loop, on_message, on_gone), name=f"{name} reader", daemon=True
        ).start()
        return child

    def send(self, message: object) -> None:
        """From the loop; never blocks, even if the child is frozen. A pipe that has broken is noticed by its
        reader."""
        self.writer.send([message])

    def _read(
        self, loop: asyncio.AbstractEventLoop, on_message: Callable[[object], None], on_gone: Callable[[], None]
    ) -> None:
        """In its own thread: carries messages to the loop, nothing else."""
        with contextlib.suppress(RuntimeError):  # the loop may be closed while we wait
            try:
                while True:
                    message = self.connection.recv()
                    self.last_heard_s = time.monotonic()
                    loop.call_soon_threadsafe(on_message, message)
            except (EOFError, OSError, TypeError):
                self.is_gone = True
                loop.call_soon_threadsafe(on_gone)

    def kill(self) -> None:
        """At once; what it was still to be told is lost."""
        if self.process.is_alive():
            self.process.kill()
        self.writer.abandon()
        with contextlib.suppress(OSError, ValueError):
            self.connection.close()
        self.process.join(KILL_JOIN_S)


def free_mb() -> float | None:
    """How much memory a new process may take before others suffer; None if the system does not tell."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", MEMORY.read_text("ascii"), flags=re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None
