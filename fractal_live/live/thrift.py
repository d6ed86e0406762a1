"""What is spared when the model is slower than the music: first the lead shrinks by itself, then each bar is
asked for with less, then the fallbacks play."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import replace

from fractal_live.music.request import Sampling

WINDOW = 8
FULL_SHARE = 0.8  # of a bar's length: a model this slow is spared
REST_SHARE = 0.4  # and no longer once it is this fast


class Thrift:
    """`is_on`: bars are asked for with one round of the masked levels and without guidance."""

    def __init__(self) -> None:
        self.is_on = False
        self._shares: deque[float] = deque(maxlen=WINDOW)

    def took(self, took_ns: int, bar_ns: int) -> None:
        """A bar that lasts `bar_ns` took `took_ns` to make."""
        self._shares.append(took_ns / bar_ns)
        usual = statistics.median(self._shares)
        limit = REST_SHARE if self.is_on else FULL_SHARE
        is_known = len(self._shares) >= (WINDOW if self.is_on else WINDOW // 2)
        if is_known and (usual > limit) != self.is_on:
            self.is_on = not self.is_on
            self._shares.clear()

    def spared(self, sampling: Sampling) -> Sampling:
        """The sampling to ask with."""
        if not self.is_on:
            return sampling
        return replace(sampling, iterations=1, cfg_scale=1.0)
