"""Keeps a child process alive: starts it, watches that it answers, starts it again when it died or hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from fractal_live.processes import Child

RESTART_S = 1.0  # between two starts of what dies at once, so that it does not eat the processor


class Keeper:
    """One child. `setup` makes its first message. `on_lost(text)` is called when a child that was ready has ended
    (the next is being started), `on_never_began(name)` when the very first ended before it was ready."""

    def __init__(
        self,
        name: str,
        entry: str,
        setup: Callable[[], object],
        on_message: Callable[[object], None],
        on_lost: Callable[[str], None],
        on_never_began: Callable[[str], None],
    ) -> None:
        self.name = name
        self.restarts = 0
        self.is_ready = False
        self.was_ready = False
        self.child: Child | None = None
        self.spare: Child | None = None
        self._entry = entry
        self._setup = setup
        self._on_message = on_message
        self._on_lost = on_lost
        self._on_never_began = on_never_began
        self._is_over = False
        self._started_s = 0.0

    def start(self) -> None:
        """On the running event loop."""
        self.is_ready = False
        self._started_s = time.monotonic()
        self.child, self.spare = self.spare, None
        if self.child is None:
            self.child = Child.start(self.name, self._entry, self._setup(), self._on_message, self._gone)
        else:
            self.child.send(self._setup())

    def prepare(self) -> None:
        """Has another child at hand, which has loaded what it needs and waits for its setup: it takes the place of one
        that ends."""
        if self.spare is None and not self._is_over:
            self.spare = Child.start(self.name, self._entry, None, self._on_message, self._gone)

    def began(self) -> None:
        """The child has said that it is ready."""
        self.is_ready = self.was_ready = True

    def send(self, message: object) -> None:
        """Never blocks; what a child that is gone is told is lost."""
        if self.child is not None:
            self.child.send(message)

    def silence_s(self) -> float:
        """How long the child has said nothing; while it starts, how long it has been starting."""
        if self.child is None:
            return 0.0
        return time.monotonic() - (self.child.last_heard_s if self.is_ready else self._started_s)

    def kill_if(self, is_hung: bool) -> None:
        """A child that hangs is killed, and thereby started again."""
        if is_hung and self.child is not None and not self.child.is_gone and self.child.process.is_alive():
            self.child.process.kill()

    def end(self) -> None:
        """No more restarts."""
        self._is_over = True

    def kill(self) -> None:
        self.end()
        for child in (self.child, self.spare):
            if child is not None:
                child.kill()

    def _gone(self) -> None:
        if self._is_over:
            return
        if self.spare is not None and self.spare.is_gone:
            self.spare.kill()
            self.spare = None
            return
        if not self.was_ready:
            return self._on_never_began(self.name)
        self.restarts += 1
        if self.child is not None:
            self.child.kill()
        was_ready, self.is_ready = self.is_ready, False
        self._on_lost(f"the {self.name} process ended; it is being started again")
        if was_ready:
            self.start()
        else:  # it could not even begin: a pause before the next try
            asyncio.get_running_loop().call_later(RESTART_S, self._start_if_on)

    def _start_if_on(self) -> None:
        if not self._is_over:
            self.start()
