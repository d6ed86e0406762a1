"""One end of a pipe, written by a thread of its own, so that whoever sends never waits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

MAX_OUTGOING = 8192
CLOSE_S = 0.5


class PipeWriter:
    """A full queue loses its oldest messages (counted in `lost`): the other end hangs then. `on_broken` is called
    from the thread when the pipe breaks."""

    def __init__(self, connection: Connection, on_broken: Callable[[], None] = lambda: None) -> None:
        self.lost = 0
        self._connection = connection
        self._on_broken = on_broken
        self._outgoing: deque[object] = deque(maxlen=MAX_OUTGOING)
        self._has_outgoing = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._write, name="pipe-writer", daemon=True)
        self._thread.start()

    def send(self, messages: Sequence[object]) -> None:
        """Hand messages to the thread, with one wake-up for all; never blocks."""
        self.lost += max(len(self._outgoing) + len(messages) - MAX_OUTGOING, 0)
        self._outgoing.extend(messages)
        self._has_outgoing.set()

    def abandon(self) -> None:
        """Ends the thread as soon as it can; what waits is not sent."""
        self._is_closing = True  # first: the thread may be between looking and taking
        self._outgoing.clear()
        self._has_outgoing.set()

    def close(self) -> None:
        """Gives the thread half a second for what is still to be sent."""
        self._is_closing = True
        self._has_outgoing.set()
        self._thread.join(CLOSE_S)

    def _write(self) -> None:
        try:
            while True:
                self._has_outgoing.wait()
                self._has_outgoing.clear()
                while self._outgoing:
                    self._connection.send(self._outgoing.popleft())
                if self._is_closing:
                    return
        except (OSError, ValueError):
            self._on_broken()
        except (TypeError, IndexError):  # closed while it wrote, or abandoned before it took
            if not self._is_closing:
                raise
