"""Token after token: a window of what came before, its keys and values kept, moved on when it is full."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fractal_live.baselines.event_grammar import Places, places
from fractal_live.baselines.event_transformer import EventCache, EventTransformer
from fractal_live.baselines.events import PITCHES
from fractal_live.model.config import BAR_STEPS


class Decoder:
    """One piece being written. `start` reads what there is, `follow` one token more; both return the scores (V,)
    of the next."""

    def __init__(self, model: EventTransformer) -> None:
        self.model = model
        self.device = model.embed.weight.device
        self.cache = EventCache(model.config, 1, self.device)
        self.window: list[int] = []
        self._at = (0, 0, 0)

    def start(self, tokens: Sequence[int], most: int) -> Tensor:
        """tokens: a piece from a Bar on; of it the newest whole bars are read that take at most so many tokens."""
        words = self.model.words
        self.window = [words.begin, *latest(tokens, most - 1, words.bar)]
        self.cache.filled = 0
        fed = torch.tensor([self.window], device=self.device)
        at = places(fed)
        self._at = (int(at.bar[0, -1]), int(at.step[0, -1]), int(at.pitch[0, -1]))
        return self._scored(fed, at)

    def follow(self, token: int) -> Tensor:
        """A full window first moves on: half of it stays, beginning with a Bar, and is read again."""
        if len(self.window) == self.model.config.context:
            return self.start([*self.window[1:], token], self.model.config.context // 2)
        self.window.append(token)
        self._at = self._moved(token)
        bar, step, pitch = (torch.tensor([[value]], device=self.device) for value in self._at)
        fed = torch.tensor([[token]], device=self.device)
        return self._scored(fed, Places(bar, step, pitch))

    def _scored(self, fed: Tensor, at: Places) -> Tensor:
        scores: Tensor = self.model(fed, at, self.cache)
        return scores[0, -1]

    def _moved(self, token: int) -> tuple[int, int, int]:
        """Bar, step and pitch after a token: what `places` says of the whole window."""
        words = self.model.words
        bar, step, pitch = self._at
        if token == words.bar:
            return bar + 1, -1, -1
        if words.position <= token < words.position + BAR_STEPS:
            return bar, token - words.position, -1
        if words.pitch <= token < words.pitch + PITCHES:
            return bar, step, token - words.pitch
        return bar, step, pitch


def latest(tokens: Sequence[int], most: int, bar: int) -> Sequence[int]:
    """The newest tokens, at most so many, from a Bar on where there is one among them."""
    if len(tokens) <= most:
        return tokens
    low = len(tokens) - most
    first = next((place for place in range(low, len(tokens)) if tokens[place] == bar), low)
    return tokens[first:]
