"""The stage's end of the daemon's pipe: a reader and a writer thread, so that the loop never waits.

Between the threads lie bounded queues; a socket pair wakes the loop, which sleeps in `select`.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from multiprocessing.connection import Connection

from fractal_live.ports.pipe_writer import PipeWriter
from fractal_live.ports.wake_up import WakeUp

MAX_INCOMING = 8192


class PipeEnds:
    """`send`, `take` and `close` are the loop's. A full incoming queue loses its oldest messages."""

    def __init__(self, connection: Connection, wake: WakeUp) -> None:
        self.is_closed = False  # the other end has gone
        self._connection = connection
        self._wake = wake
        self._incoming: deque[object] = deque(maxlen=MAX_INCOMING)
        self._writer = PipeWriter(connection, self._end)
        self._reader = threading.Thread(target=self._read, name="pipe-reader", daemon=True)
        self._reader.start()

    @property
    def lost(self) -> int:
        """Messages that the other end was too slow for."""
        return self._writer.lost

    def send(self, message: object) -> None:
        """Hand a message to the writer; never blocks."""
        self._writer.send([message])

    def send_all(self, messages: list[object]) -> None:
        """As `send`, with one wake-up for all."""
        self._writer.send(messages)

    def take(self) -> list[object]:
        """What has come in since the last call."""
        taken = []
        while self._incoming:
            taken.append(self._incoming.popleft())
        return taken

    def close(self) -> None:
        """Gives the writer half a second for what is still to be sent, then lets go."""
        self._writer.close()
        with contextlib.suppress(OSError):
            self._connection.close()

    def _end(self) -> None:
        self.is_closed = True
        self._wake.poke()

    def _read(self) -> None:
        try:
            while True:
                self._incoming.append(self._connection.recv())
                self._wake.poke()
        except (EOFError, OSError, TypeError):  # TypeError: closed on our side while reading
            self._end()
