"""What the fractal learns from: crops of songs, and what of them each level may see."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """B crops of T steps: H = T/8 half bars, C = T x bands cells (step * bands + band), R plan rows.

    content (B, T, 3, 128) float: what the order makes visible; group (B, H) int: when each half bar is opened,
    order (B, C) int: when each cell is; step_in_bar, bar_len (B, T) int; is_valid (B, T) bool; bar_of_half (B, H)
    int: the half's row in the horizon; plan (B, R, 6) scaled 0..1 with NaN; is_present (B, R) bool; hidden_cells
    (B, R, 6) bool: to be imagined; chroma (B, H, 12) int; echo (B, H) int: class of what is echoed; onsets (B, H)
    int; remaining, steps_left (B, C) int: onsets and steps still to come in the half bar when a cell is opened;
    notes (M, 4) int: cell number b*C + c, pitch, velocity bin, duration class, sorted; plan_given, texture_given,
    latent_given (B,) bool; noise (B, 16). `plans` are as many plans again for level 0 alone.
    """

    content: Tensor
    group: Tensor
    order: Tensor
    step_in_bar: Tensor
    bar_len: Tensor
    is_valid: Tensor
    bar_of_half: Tensor
    plan: Tensor
    is_present: Tensor
    hidden_cells: Tensor
    chroma: Tensor
    echo: Tensor
    onsets: Tensor
    remaining: Tensor
    steps_left: Tensor
    notes: Tensor
    plan_given: Tensor
    texture_given: Tensor
    latent_given: Tensor
    noise: Tensor
    plans: Plans


@dataclass(frozen=True, slots=True)
class Plans:
    """What level 0 learns from: N plans (N, R, 6), is_present (N, R), hidden_cells (N, R, 6), latent_given (N,) and
    noise (N, 16), as in `Batch`. Plans are cheap, so that it sees many more of them than the levels below see
    music."""

    plan: Tensor
    is_present: Tensor
    hidden_cells: Tensor
    latent_given: Tensor
    noise: Tensor
