"""Ends of a JACK graph that think in frames: what arrives at which frame, and messages sent at given ones.

RtMidi's ends are no company for our own ports in one process: it keeps the interpreter lock while it waits for the
server, which waits for our callbacks, which wait for the lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jack


class FrameListener:
    """An input connected to `port`: `heard` holds (frame, bytes), frames counted by the server."""

    def __init__(self, port: str) -> None:
        self.heard: list[tuple[int, bytes]] = []
        self.xruns = 0
        self.client: Any = jack.Client("frame-listener", no_start_server=True)
        self._port = self.client.midi_inports.register("input")
        self._is_over = False
        self._end: int | None = None
        self.client.set_process_callback(self._process)
        self.client.activate()
        self.client.connect(port, self._port)

    def _process(self, frames: int) -> None:
        if self._is_over:
            raise jack.CallbackExit
        begin = self.client.last_frame_time
        self.xruns += self._end not in (None, begin)
        self._end = begin + frames
        for offset, event in self._port.incoming_midi_events():
            self.heard.append((begin + offset, bytes(event)))

    @property
    def messages(self) -> list[bytes]:
        return [message for _, message in list(self.heard)]

    def await_that(self, claim: Callable[[list[bytes]], object], limit_s: float = 5.0) -> bool:
        """Whether `claim(messages)` comes true within the limit."""
        deadline_s = time.monotonic() + limit_s
        while not claim(self.messages):
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.01)
        return True

    def close(self) -> None:
        self._is_over = True
        time.sleep(0.1)  # the callback's thread ends by itself; cancelled, it would take the interpreter lock along
        self.client.close()


class FrameSender:
    """An output connected to `port`: sends a message every so many frames, and knows when that was."""

    def __init__(self, port: str, messages: list[bytes], every_frames: int) -> None:
        self.sent: list[int] = []  # frames
        self.anchor = (0, 0)  # a frame and its time.monotonic_ns
        self._messages, self._every = messages, every_frames
        self._next: int | None = None
        self._is_over = False
        self.client: Any = jack.Client("frame-sender", no_start_server=True)
        self._port = self.client.midi_outports.register("output")
        self.client.set_process_callback(self._process)
        self.client.activate()
        self.client.connect(self._port, port)

    def _process(self, frames: int) -> None:
        self._port.clear_buffer()
        if self._is_over:
            raise jack.CallbackExit
        begin = self.client.last_frame_time
        if self._next is None:
            if not self._port.number_of_connections:
                return
            self._next = begin + frames
        while self._next < begin + frames and len(self.sent) < len(self._messages):
            self._port.write_midi_event(max(self._next - begin, 0), self._messages[len(self.sent)])
            self.sent.append(self._next)
            self._next += self._every
        self.anchor = (self.client.frame_time, time.monotonic_ns())

    def close(self) -> None:
        self._is_over = True
        time.sleep(0.1)
        self.client.close()
