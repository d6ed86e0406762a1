"""Where a REMI token stands, and which tokens may follow it.

After a note comes a higher one of the same step, a later step of the same bar, or the next bar. The model is told
so, in training as in play, and spends no probability on anything else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fractal_live.baselines.events import PITCHES, vocabulary
from fractal_live.model.config import BAR_STEPS


@dataclass(frozen=True, slots=True)
class Places:
    """Where tokens stand, (B, L) int each: REMI bar counted from the first, step in it (-1 before its first
    Position), pitch last struck on that step (-1 before its first)."""

    bar: Tensor
    step: Tensor
    pitch: Tensor

    @property
    def time(self) -> Tensor:
        """Steps since the first bar line: (B, L)."""
        return self.bar.clamp(min=0) * BAR_STEPS + self.step.clamp(min=0)


def places(tokens: Tensor) -> Places:
    """The places of tokens (B, L) that begin with the beginning of a window."""
    words = vocabulary()
    index = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    is_bar = (tokens == words.bar) | (tokens == words.begin)
    is_position = (tokens >= words.position) & (tokens < words.position + BAR_STEPS)
    is_pitch = (tokens >= words.pitch) & (tokens < words.pitch + PITCHES)
    mark = torch.where(is_bar | is_position, index, 0).cummax(dim=1).values
    sounded = torch.where(is_pitch, index, -1).cummax(dim=1).values
    at_mark, at_pitch = tokens.gather(1, mark), tokens.gather(1, sounded.clamp(min=0))
    step = torch.where(is_position.gather(1, mark), at_mark - words.position, -1)
    pitch = torch.where(sounded > mark, at_pitch - words.pitch, -1)
    return Places((tokens == words.bar).cumsum(dim=1) - 1, step, pitch)


class Grammar(nn.Module):
    """Tables of what may follow, as buffers that no checkpoint holds."""

    after: Tensor
    above: Tensor
    later: Tensor

    def __init__(self) -> None:
        super().__init__()
        words = vocabulary()
        ids = torch.arange(words.size)
        is_pitch = (ids >= words.pitch) & (ids < words.pitch + PITCHES)
        is_velocity = (ids >= words.velocity) & (ids < words.duration)
        is_duration = (ids >= words.duration) & (ids < words.position)
        is_position = (ids >= words.position) & (ids < words.position + BAR_STEPS)
        is_bar = ids == words.bar
        after = torch.zeros(words.size, words.size, dtype=torch.bool)
        after[[words.begin, words.pad]] = is_bar
        after[words.bar] = is_bar | is_position
        after[is_position] = is_pitch
        after[is_pitch] = is_velocity
        after[is_velocity] = is_duration
        after[is_duration] = is_bar
        self.register_buffer("after", after, persistent=False)
        highest = torch.arange(-1, PITCHES)[:, None]
        self.register_buffer("above", is_pitch & (ids - words.pitch > highest), persistent=False)
        latest = torch.arange(-1, BAR_STEPS)[:, None]
        self.register_buffer("later", is_position & (ids - words.position > latest), persistent=False)

    def allowed(self, tokens: Tensor, at: Places) -> Tensor:
        """What may follow tokens (B, L) that stand at these places: (B, L, V) bool."""
        words = vocabulary()
        is_duration = ((tokens >= words.duration) & (tokens < words.position))[..., None]
        further = self.above[at.pitch + 1] | self.later[at.step + 1]
        found: Tensor = self.after[tokens] | (is_duration & further)
        return found
