"""What went wrong, told to the performer: shown, logged and sent out, each text at most once a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from fractal_live.ports.osc_out import OscOut
from fractal_live.status import Status

log = logging.getLogger(__name__)

AGAIN_S = 1.0
MAX_TEXTS = 64


class Reporter:
    """For the event loop. `clock` is in seconds."""

    def __init__(self, status: Status, osc_out: OscOut, clock: Callable[[], float] = time.monotonic) -> None:
        self._status = status
        self._osc_out = osc_out
        self._clock = clock
        self._told_s: dict[str, float] = {}

    def tell(self, text: str) -> None:
        now_s = self._clock()
        if text in self._told_s and now_s - self._told_s[text] < AGAIN_S:
            return
        if len(self._told_s) >= MAX_TEXTS:
            self._told_s.clear()
        self._told_s[text] = now_s
        self._status.errors.append(text)
        log.warning("%s", text)
        self._osc_out.send("/fractal/out/error", text)
