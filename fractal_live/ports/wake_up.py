"""Something that `select` can wait for, which any thread can set off."""

from __future__ import annotations

import contextlib
import socket


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
