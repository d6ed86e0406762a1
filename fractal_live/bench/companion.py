"""A process of the benchmark's, started as the daemon starts its own, whose messages are awaited."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TypeVar

from fractal_live.music.request import ModelFault
from fractal_live.ports import pipes
from fractal_live.processes import Child

JOIN_S = 3.0
T = TypeVar("T")


class BenchError(RuntimeError):
    """A measurement that cannot be made; the message says why."""


class Companion:
    """On a running event loop."""

    def __init__(self, name: str, entry: str, setup: object) -> None:
        self.name = name
        self._news: asyncio.Queue[object] = asyncio.Queue()
        self._child = Child.start(name, entry, setup, self._news.put_nowait, lambda: self._news.put_nowait(None))

    def send(self, message: object) -> None:
        self._child.send(message)

    async def receive(self, limit_s: float) -> object | None:
        """The next message, or None if none came in time. Raises BenchError if the process has ended."""
        try:
            message = await asyncio.wait_for(self._news.get(), limit_s)
        except asyncio.TimeoutError:
            return None
        if message is None:
            raise BenchError(f"the {self.name} process ended")
        if isinstance(message, (pipes.Fault, ModelFault)):
            raise BenchError(f"the {self.name} process: {message.text}")
        return message

    async def expect(self, kind: type[T], limit_s: float) -> T:
        """The next message of a kind; others are passed over. Raises BenchError if it does not come."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + limit_s
        while (left_s := deadline_s - loop.time()) > 0:
            message = await self.receive(left_s)
            if isinstance(message, kind):
                return message
        raise BenchError(f"the {self.name} process did not answer within {limit_s:g} s")

    async def end(self, farewell: object | None = None) -> None:
        """Tells it to leave, if it listens to that, and sees to it that it does."""
        if farewell is not None and not self._child.is_gone:
            self._child.send(farewell)
            await asyncio.to_thread(self._child.process.join, JOIN_S)
        self._child.kill()


@contextlib.asynccontextmanager
async def companion(name: str, entry: str, setup: object, farewell: object | None = None) -> AsyncIterator[Companion]:
    """One that is gone afterwards, whatever happens."""
    started = Companion(name, entry, setup)
    try:
        yield started
    finally:
        await started.end(farewell)
