"""What went wrong, told to the performer: shown, logged and sent out, each kind at most once a second."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

from fractal_live.ports.osc_out import OscOut, Peer
from fractal_live.status import Status

log = logging.getLogger(__name__)

AGAIN_S = 1.0
MAX_KINDS = 256


class Reporter:
    """For the event loop. `clock` is in seconds. `kept_back` are those that came too soon after one of their kind."""

    def __init__(self, status: Status, osc_out: OscOut, clock: Callable[[], float] = time.monotonic) -> None:
        self.kept_back = 0
        self._status = status
        self._osc_out = osc_out
        self._clock = clock
        self._told_s: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()

    def tell(self, text: str, kind: str = "", mistaken: Peer | None = None) -> None:
        """`kind`: what else counts as the same; none: only the same text. `mistaken` is the sender whose message is
        answered by this: it goes to that sender where it subscribed, else to everybody."""
        kind = kind or text
        now_s = self._clock()
        if kind in self._told_s and now_s - self._told_s[kind] < AGAIN_S:
            self.kept_back += 1
            self._unsaid[kind] += 1
            return
        if len(self._told_s) >= MAX_KINDS:
            self._told_s.clear()
            self._unsaid.clear()
        self._told_s[kind] = now_s
        unsaid = self._unsaid.pop(kind, 0)
        if unsaid and kind != text:
            text = f"{text} (and {unsaid} more like it)"
        self._status.errors.append(text)
        log.warning("%s", text)
        receivers = self._osc_out.subscribed_by(mistaken) if mistaken is not None else ()
        self._osc_out.send("/fractal/out/error", text, to=receivers or None)
