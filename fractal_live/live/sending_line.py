"""The timeline as it is sent: so much later than the music, or earlier.

Sent later, part of what the music has passed is still to leave. A tempo that moves now moves what comes; what was
passed before keeps the time it had, or a drop would put it long ago and a rise far ahead.
"""

from __future__ import annotations

from collections import deque

from fractal_live.live.timeline import Timeline


class SendingLine:
    """`latency_ns`: positive is later. For one thread."""

    def __init__(self, timeline: Timeline, latency_ns: int) -> None:
        self._latency_ns = latency_ns
        self._line = timeline
        self._passed: deque[tuple[int, Timeline]] = deque()  # up to which tick the music went along which line

    def jump(self, timeline: Timeline) -> None:
        """The position has jumped: nothing of what was passed is still to leave."""
        self._passed.clear()
        self._line = timeline

    def follow(self, timeline: Timeline, now_ns: int) -> None:
        """From now on the music goes along this timeline, without a jump."""
        while self._passed and self._passed[0][1].time_at(self._passed[0][0]) + self._latency_ns < now_ns:
            self._passed.popleft()
        if timeline != self._line:
            if self._latency_ns > 0:
                self._passed.append((self._line.tick_at(now_ns), self._line))
            self._line = timeline

    def tick_at(self, time_ns: int) -> int:
        """The last tick whose time to leave has come then."""
        music_ns = time_ns - self._latency_ns
        for last_tick, line in self._passed:
            tick = line.tick_at(music_ns)
            if tick < last_tick:
                return tick
        return max([self._line.tick_at(music_ns), *(last_tick for last_tick, _ in self._passed)])

    def due_ns(self, tick: int) -> int:
        """When a tick is to leave (time.monotonic_ns); never before an earlier one."""
        times: list[int] = []
        for last_tick, line in self._passed:
            if tick <= last_tick:
                return max([line.time_at(tick), *times]) + self._latency_ns
            times.append(line.time_at(last_tick))
        return max([self._line.time_at(tick), *times]) + self._latency_ns
