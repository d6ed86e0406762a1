"""Ableton Link: the session that programs on one network share, by the package aalink, which is optional.

Belongs to the daemon and its asyncio loop. What the session says becomes small messages for the stage, which keeps
time by them; nothing is ever fired from here.
"""

from __future__ import annotations

import time
from typing import Any

from fractal_live.ports.pipes import LinkState

READS = 5  # of the session's beat; the one that took least counts
GOOD_READ_NS = 50_000
LEAD_BEATS = 0.25  # alone in a session, the bar line is put so far ahead


class LinkError(RuntimeError):
    """There is no Link here; the message says how to get it."""


class LinkSession:
    """Our end of the session. `shares_start_stop`: its playing and stopping are ours, and ours its."""

    def __init__(self, link: Any, shares_start_stop: bool) -> None:
        self.shares_start_stop = shares_start_stop
        self._link = link

    @property
    def peers(self) -> int:
        """How many others there are."""
        return int(self._link.num_peers)

    def state(self) -> LinkState:
        """Where the session is now."""
        is_playing = self.shares_start_stop and bool(self._link.playing)
        beat, at_ns = self._beat()
        return LinkState(float(self._link.tempo), beat, at_ns, is_playing, self.peers)

    def set_tempo(self, tempo_bpm: float) -> None:
        """For the whole session."""
        self._link.tempo = tempo_bpm

    def start(self, beat: float) -> None:
        """We begin to play, at `beat` of our bar. Alone, the session's bar is moved so that this is soon; the bar
        of others is not ours to move."""
        if self.peers == 0:
            self._link.request_beat(beat - LEAD_BEATS)
        if self.shares_start_stop:
            self._link.playing = True

    def stop(self) -> None:
        """We have stopped."""
        if self.shares_start_stop:
            self._link.playing = False

    def close(self) -> None:
        """Leaves the session; the others play on."""
        self._link.enabled = False

    def _beat(self) -> tuple[float, int]:
        """A beat and its time (time.monotonic_ns); Link's own clock is another. Something may come between the
        two readings, so the quickest of a few is taken."""
        best_ns, best = 0, (0.0, 0)
        for read in range(READS):
            before_ns = time.monotonic_ns()
            beat = float(self._link.beat)
            took_ns = time.monotonic_ns() - before_ns
            if read == 0 or took_ns < best_ns:
                best_ns, best = took_ns, (beat, before_ns + took_ns // 2)
            if took_ns <= GOOD_READ_NS:
                break
        return best


def open_link(tempo_bpm: float, quantum_beats: float, shares_start_stop: bool) -> LinkSession:
    """Joins the session on this network, or begins one at `tempo_bpm`; a bar has `quantum_beats`. To be called from
    a running asyncio loop. Raises LinkError."""
    try:
        import aalink
    except ImportError as error:
        raise LinkError(
            f"--sync link needs the package aalink ({error}): pip install 'fractal-live[link]'; "
            "without it --sync midi, internal and osc are there"
        ) from error
    link = aalink.Link(tempo_bpm)
    link.quantum = quantum_beats
    link.start_stop_sync_enabled = shares_start_stop
    link.enabled = True
    return LinkSession(link, shares_start_stop)
