"""The model process working flat out: asked for the next bar as soon as one has come."""

from __future__ import annotations

import asyncio

from fractal_live.bench.companion import BenchError
from fractal_live.model_side import MODEL_ENTRY, MODEL_START_S
from fractal_live.music.notes import Bar
from fractal_live.music.request import BarReply, BarRequest, ModelFault, ModelReady, ModelSetup
from fractal_live.processes import Child

PAST_BARS = 64


class Generation:
    """On a running event loop. `bars` have come since the start."""

    def __init__(self, setup: ModelSetup) -> None:
        self.bars = 0
        self._trouble = ""
        self._past: tuple[Bar, ...] = ()
        self._is_wanted = self._is_asked = False
        self._news = asyncio.Event()
        self._ready: ModelReady | None = None
        self._child = Child.start("model", MODEL_ENTRY, setup, self._hear, self._gone)

    async def warm(self) -> ModelReady:
        """Once it is ready. Raises BenchError if it does not come to that."""
        try:
            await asyncio.wait_for(self._news.wait(), MODEL_START_S)
        except asyncio.TimeoutError:
            raise BenchError(f"the model was not warm within {MODEL_START_S:g} s") from None
        self.check()
        assert self._ready is not None, "its first news is that it is ready, or trouble"
        return self._ready

    def start(self) -> None:
        self._is_wanted = True
        self._ask()

    def stop(self) -> None:
        """What is under way is still made."""
        self._is_wanted = False

    def check(self) -> None:
        """Raises BenchError if it has failed."""
        if self._trouble:
            raise BenchError(self._trouble)

    def end(self) -> None:
        self._child.kill()

    def _ask(self) -> None:
        if self._is_wanted and not self._is_asked:
            self._is_asked = True
            self._child.send(BarRequest(self._past[-1].index + 1 if self._past else 0, self._past))

    def _hear(self, message: object) -> None:
        if isinstance(message, ModelReady):
            self._ready = message
        elif isinstance(message, BarReply):
            self.bars += 1
            self._past = (*self._past, message.bar)[-PAST_BARS:]
            self._is_asked = False
            self._ask()
        elif isinstance(message, ModelFault):
            self._trouble = self._trouble or message.text
        self._news.set()

    def _gone(self) -> None:
        self._trouble = self._trouble or "the model process ended"
        self._news.set()
