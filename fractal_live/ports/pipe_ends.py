"""The stage's end of the daemon's pipe: a reader and a writer thread, so that the loop never waits.

Between the threads lie bounded queues; a socket pair wakes the loop, which sleeps in `select`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from multiprocessing.connection import Connection

MAX_OUTGOING = 8192
MAX_INCOMING = 8192
CLOSE_S = 0.5


class WakeUp:
    """Something for `select` that any thread, or a signal handler, can make readable."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        return self._reader.fileno()

    def poke(self) -> None:
        """From any thread; never blocks. A full socket is awake already."""
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def clear(self) -> None:
        """From the loop's thread, before it looks at what came in."""
        with contextlib.suppress(BlockingIOError):
            while len(self._reader.recv(4096)) == 4096:
                pass

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


class PipeEnds:
    """`send`, `take` and `close` are the loop's. A full outgoing queue loses its oldest messages
    (counted in `lost`): the daemon is hung then. A full incoming queue likewise."""

    def __init__(self, connection: Connection, wake: WakeUp) -> None:
        self.is_closed = False  # the other end has gone
        self.lost = 0
        self._connection = connection
        self._wake = wake
        self._incoming: deque[object] = deque(maxlen=MAX_INCOMING)
        self._outgoing: deque[object] = deque(maxlen=MAX_OUTGOING)
        self._has_outgoing = threading.Event()
        self._is_closing = False
        self._reader = threading.Thread(target=self._read, name="pipe-reader", daemon=True)
        self._writer = threading.Thread(target=self._write, name="pipe-writer", daemon=True)
        self._reader.start()
        self._writer.start()

    def send(self, message: object) -> None:
        """Hand a message to the writer; never blocks."""
        self.send_all([message])

    def send_all(self, messages: list[object]) -> None:
        """As `send`, with one wake-up for all."""
        self.lost += max(len(self._outgoing) + len(messages) - MAX_OUTGOING, 0)
        self._outgoing.extend(messages)
        self._has_outgoing.set()

    def take(self) -> list[object]:
        """What has come in since the last call."""
        taken = []
        while self._incoming:
            taken.append(self._incoming.popleft())
        return taken

    def close(self) -> None:
        """Gives the writer half a second for what is still to be sent, then lets go."""
        self._is_closing = True
        self._has_outgoing.set()
        self._writer.join(CLOSE_S)
        with contextlib.suppress(OSError):
            self._connection.close()

    def _read(self) -> None:
        try:
            while True:
                self._incoming.append(self._connection.recv())
                self._wake.poke()
        except (EOFError, OSError, TypeError):  # TypeError: closed on our side while reading
            self.is_closed = True
            self._wake.poke()

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
            self.is_closed = True
            self._wake.poke()
