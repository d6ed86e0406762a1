"""Level 0 at work: a plan with its unknown cells imagined, from the past, from what is given and from the latent."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fractal_live.model.fractal import Fractal
from fractal_live.model.grid import FloatArray, scaled_plan, unscaled_plan
from fractal_live.model.sampling import draw, guidance, guided
from fractal_live.model.structure import Wish, plan_of_bin
from fractal_live.music.plan import PlanTable
from fractal_live.music.request import Sampling

CALM = 0.6  # how much of level 0's chance a latent at full gain takes away


@dataclass(frozen=True, slots=True)
class Window:
    """Past and horizon as level 0 reads them: plan (1, R, 6) scaled with NaN, is_present (1, R)."""

    plan: Tensor
    is_present: Tensor


def plan_window(model: Fractal, past_rows: FloatArray, plan: FloatArray) -> Window:
    """The newest past rows (n, 6) in units, and up to `plan_bars` rows of plan; what lies beyond either is absent."""
    config, device = model.config, model.no_plan.device
    rows = np.full((config.past_bars + config.plan_bars, plan.shape[1]), np.nan, dtype=np.float32)
    is_present = np.zeros(len(rows), dtype=bool)
    recent = past_rows[-config.past_bars :]
    if len(recent):
        rows[config.past_bars - len(recent) : config.past_bars] = recent
    rows[config.past_bars : config.past_bars + len(plan)] = plan
    is_present[config.past_bars - len(recent) : config.past_bars + len(plan)] = True
    return Window(torch.from_numpy(scaled_plan(rows))[None].to(device), torch.from_numpy(is_present)[None].to(device))


def imagine_plan(
    model: Fractal,
    plan: PlanTable,
    past_rows: FloatArray,
    latent: tuple[float, ...],
    gain: float,
    sampling: Sampling,
    generator: torch.Generator,
) -> PlanTable:
    """The plan (n, 6) in units with its unknown cells drawn; longer than the model's horizon, it is imagined window by
    window, each continuing the one before, all under the same latent."""
    whole, horizon = plan.astype(np.float32).copy(), model.config.plan_bars
    wish = _wish(model, latent, gain)
    calm = replace(sampling, temperature=sampling.temperature * (1 - CALM * gain))
    for low in range(0, len(whole), horizon):
        rows = whole[low : low + horizon]
        known = np.concatenate([past_rows, whole[:low]]) if low else past_rows
        window = plan_window(model, known, rows)
        filled = _fill(model, window, len(rows), wish, calm, generator)
        whole[low : low + horizon] = np.where(np.isnan(rows), filled, rows)
    return whole


def _wish(model: Fractal, latent: tuple[float, ...], gain: float) -> Wish:
    z = torch.tensor([latent], dtype=torch.float32, device=model.no_plan.device)
    return Wish(z, model.latent.vivid_sketch(z), torch.full_like(z[:, 0], gain))


def _fill(
    model: Fractal, window: Window, rows: int, wish: Wish, sampling: Sampling, generator: torch.Generator
) -> FloatArray:
    """The horizon's first rows with unknown cells drawn, in units: in a few rounds of random cells on a cosine
    schedule (Chang et al. 2022, MaskGIT), or cell by cell in time where level 0 is sequential."""
    past = model.config.past_bars
    cells = torch.nonzero(torch.isnan(window.plan[0, past : past + rows])) + torch.tensor(
        [past, 0], device=window.plan.device
    )
    is_sequential = model.structure.is_sequential
    if not is_sequential:
        shuffled = torch.randperm(len(cells), generator=generator, device=generator.device)
        cells = cells[shuffled.to(cells.device)]
    rounds = len(cells) if is_sequential else max(1, min(sampling.iterations, len(cells)))
    plan, opened = window.plan.clone(), 0
    for turn in range(rounds if len(cells) else 0):
        left = math.floor(len(cells) * math.cos(math.pi / 2 * (turn + 1) / rounds)) if turn < rounds - 1 else 0
        upto = opened + 1 if is_sequential else max(opened + 1, len(cells) - left)
        chosen = cells[opened:upto]
        asked = torch.nonzero(torch.bincount(chosen[:, 0]))[:, 0]
        scores = _scores(model, plan, window.is_present, wish, sampling, opened / len(cells), asked)
        drawn = draw(scores[torch.searchsorted(asked, chosen[:, 0].contiguous()), chosen[:, 1]], sampling, generator)
        plan[0, chosen[:, 0], chosen[:, 1]] = plan_of_bin(drawn)
        opened += len(chosen)
    return unscaled_plan(plan[0, past : past + rows].cpu().numpy())


def _scores(
    model: Fractal,
    plan: Tensor,
    is_present: Tensor,
    wish: Wish,
    sampling: Sampling,
    opened: float,
    asked: Tensor,
) -> Tensor:
    """Scores of all cells of the rows asked (M,): (M, 6, bins); with guidance the latent's part in them is
    amplified."""
    structure, scale = model.structure, guidance(sampling, 0, opened)
    if scale == 1.0 or float(wish.gain[0]) == 0:
        return structure.scores(plan, plan, is_present, wish, asked)[0]
    gain = torch.cat([wish.gain, torch.zeros_like(wish.gain)])
    both = Wish(wish.z.repeat(2, 1), wish.sketch.repeat(2, 1, 1), gain)
    plan, is_present = plan.repeat(2, 1, 1), is_present.repeat(2, 1)
    return guided(structure.scores(plan, plan, is_present, both, asked), scale)[0]
