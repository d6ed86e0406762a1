"""What held-out music costs the event transformer, so that it can be set beside what it costs the fractal.

Comparable bits: of the same crops (32 full bars, `train.event_dataset.comparable_crops`) the same notes after the
fractal's quantisation; every token of them but the first Bar, which is free, paid exactly once, the Bar that closes
the last one included; all of it divided by the number of notes. A token is paid given the tokens before it in a
window that slides from bar line to bar line, never fewer than `least` of them unless the crop had fewer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from fractal_live.baselines.event_transformer import EventTransformer
from fractal_live.baselines.events import vocabulary
from fractal_live.model.grid import IntArray

LN2 = math.log(2)


@dataclass(frozen=True, slots=True)
class NoteBits:
    """Bits in all, by what they were paid for, and the notes they were paid for. Crops add up."""

    notes: int
    position: float
    pitch: float
    velocity: float
    duration: float

    @property
    def per_note(self) -> float:
        return (self.position + self.pitch + self.velocity + self.duration) / max(1, self.notes)

    def __add__(self, other: NoteBits) -> NoteBits:
        return NoteBits(
            self.notes + other.notes,
            self.position + other.position,
            self.pitch + other.pitch,
            self.velocity + other.velocity,
            self.duration + other.duration,
        )


NOTHING = NoteBits(0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens `low` to `high` of a piece, read behind a beginning; those from `paid` on are paid for here."""

    low: int
    paid: int
    high: int


def sliding_windows(tokens: IntArray, context: int, least: int) -> list[Window]:
    """Windows that pay for every token of a piece once, in order. tokens (n,) begin with a Bar; every window begins
    with one that lies at least `least` tokens before what it pays for, if it is not so far away that nothing would
    be paid."""
    if not 0 < least < context:
        raise ValueError(f"least context is {least}; allowed: 1 to below {context}")
    bars = np.flatnonzero(tokens == vocabulary().bar)
    windows = [Window(0, 0, min(context, len(tokens)))]
    while windows[-1].high < len(tokens):
        paid = windows[-1].high
        low = int(bars[np.searchsorted(bars, paid - least, side="right") - 1])
        low = low if low > paid - context else paid - least
        windows.append(Window(low, paid, min(low + context, len(tokens))))
    return windows


def surprise(model: EventTransformer, tokens: IntArray, least: int | None = None) -> torch.Tensor:
    """What each token of a piece costs, in nats: (n,). least: three quarters of the context unless told."""
    context = model.config.context
    words, device = model.words, model.embed.weight.device
    found = torch.zeros(len(tokens), device=device)
    with torch.inference_mode():
        for part in sliding_windows(tokens, context, context * 3 // 4 if least is None else least):
            fed = torch.tensor([[words.begin, *tokens[part.low : part.high].tolist()]], device=device)
            found[part.paid : part.high] = model.surprise(fed)[0, 1 + part.paid - part.low :]
    return found


def comparable_bits(model: EventTransformer, tokens: IntArray, least: int | None = None) -> NoteBits:
    """The bits of one crop: whole bars from a Bar on, and the Bar behind them."""
    nats = surprise(model, tokens, least)
    kinds = model.kinds(torch.tensor(tokens[None], device=nats.device))
    bits = {kind: float(nats[is_kind[0]].double().sum()) / LN2 for kind, is_kind in kinds.items()}
    return NoteBits(int(kinds["duration"].sum()), **bits)


def bits_of_crops(model: EventTransformer, crops: Iterable[IntArray], least: int | None = None) -> NoteBits:
    """All crops together."""
    return sum((comparable_bits(model, tokens, least) for tokens in crops), NOTHING)
