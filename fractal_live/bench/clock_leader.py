"""A MIDI clock leader on a port of its own: Start, clocks that stop when told to, a tempo that moves."""

from __future__ import annotations

from fractal_live.live.player import Output

CLOCK, START, STOP = b"\xf8", b"\xfa", b"\xfc"
CLOCKS_PER_BEAT = 24
AHEAD_NS = 200_000_000
ARMED_NS = 20_000_000  # between Start and the first clock


class Leader:
    """Hands clocks to a sender ahead of their time; for one thread, which calls `go_on` often enough. In a gap time
    and beats pass, but no clock is sent. `clocks` have passed since the start, silent ones too."""

    def __init__(self, output: Output, tempo_bpm: float) -> None:
        self.tempo_bpm = tempo_bpm
        self.clocks = 0
        self._output = output
        self._next_ns: int | None = None  # None before the start and after the end
        self._silent_until_ns = 0

    def start(self, now_ns: int) -> None:
        self._next_ns = now_ns + ARMED_NS
        self._output.send([START])
        self.go_on(now_ns)

    def go_on(self, now_ns: int) -> None:
        """Clocks for the time up to a little after now; none before the start."""
        if self._next_ns is None:
            return
        clocks = []
        while self._next_ns < now_ns + AHEAD_NS:
            if self._next_ns >= self._silent_until_ns:
                clocks.append((self._next_ns, 0, CLOCK))
            self.clocks += 1
            self._next_ns += round(60e9 / self.tempo_bpm / CLOCKS_PER_BEAT)
        self._output.play(clocks)
        self._output.take_sent()  # nobody here asks when they left

    def fall_silent(self, seconds: float) -> None:
        """No clocks for so long, beginning with those that are not handed over yet."""
        if self._next_ns is not None:
            self._silent_until_ns = self._next_ns + round(seconds * 1e9)

    def stop(self) -> None:
        self._next_ns = None
        self._output.take_back()
        self._output.send([STOP])
