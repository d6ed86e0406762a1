"""What a half bar echoes: an earlier (or, in infill, a later) half bar that its onsets resemble, and how closely.

Music repeats itself from a distance, and a repetition is decided as a whole, not note by note. So level 1 decides
it first, as one of a few classes, and everything below is shown what it is to echo.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fractal_live.model.config import ECHO_SOURCES, ECHO_STRENGTHS, ECHOES, HALF_STEPS
from fractal_live.model.grid import IntArray

NO_ECHO = 0
LIKENESS_EDGES = (0.35, 0.65, 0.9)
MOST_RUN = 16  # half bars that are told apart by how long they have been echoing from one distance
SOURCE_OF = np.array([0, *np.repeat(ECHO_SOURCES, len(ECHO_STRENGTHS))])
STRENGTH_OF = np.array([0, *ECHO_STRENGTHS * len(ECHO_SOURCES)], dtype=np.float32)
GRADE_OF = np.array([0, *(1 + np.arange(ECHOES - 1) % len(ECHO_STRENGTHS))])
"""Of each class in numpy: what `source_of`, `strength_of` and `strength_index` say of tensors."""


def echoes(notes: IntArray, group: IntArray) -> IntArray:
    """The class of what each half bar echoes, among the half bars opened in an earlier group: (H,). The likeness
    is the cosine of the sets of onsets (step, pitch); below 0.35 there is none. notes (N, 4) as in Song."""
    H = len(group)
    struck = np.zeros((H, HALF_STEPS * 128), dtype=np.float32)
    step, pitch = notes[:, 0], notes[:, 1]
    struck[step // HALF_STEPS, step % HALF_STEPS * 128 + pitch] = 1
    size = np.sqrt(struck.sum(1))
    shared = struck @ struck.T  # whole numbers, so exact
    best, found = np.full(H, LIKENESS_EDGES[0], dtype=np.float64), np.zeros(H, dtype=np.int64)
    for index, offset in enumerate(ECHO_SOURCES):
        here = np.arange(max(0, -offset), min(H, H - offset))
        there = here + offset
        both = size[here] * size[there]
        alike = np.where(both > 0, shared[here, there] / np.maximum(both, 1e-9), 0.0)
        is_better = (alike > best[here] + 1e-6) & (group[there] < group[here])
        strength = np.digitize(alike, LIKENESS_EDGES[1:])
        found[here[is_better]] = (1 + index * len(ECHO_STRENGTHS) + strength)[is_better]
        best[here[is_better]] = alike[is_better]
    return found


def source_of(echo: Tensor) -> Tensor:
    """How many half bars away the source of an echo class lies; 0 for none."""
    offsets = torch.tensor(ECHO_SOURCES, device=echo.device).repeat_interleave(len(ECHO_STRENGTHS))
    return torch.cat([offsets.new_zeros(1), offsets])[echo]


def strength_of(echo: Tensor) -> Tensor:
    """How closely an echo class repeats its source: 0 for none, else up to 1."""
    strengths = torch.tensor(ECHO_STRENGTHS, device=echo.device).repeat(len(ECHO_SOURCES))
    return torch.cat([strengths.new_zeros(1), strengths])[echo]


def strength_index(echo: Tensor) -> Tensor:
    """0 for none, 1 to 3 from loosely to exactly."""
    return torch.where(echo == NO_ECHO, 0, (echo - 1) % len(ECHO_STRENGTHS) + 1)


def echo_before(echo: Tensor, group: Tensor) -> Tensor:
    """The class of the half bar before each, where that one is opened in an earlier group, else NO_ECHO; echo and group
    (..., H)."""
    is_known = group[..., :-1] < group[..., 1:]
    before = torch.where(is_known, echo[..., :-1], NO_ECHO)
    return torch.cat([torch.full_like(echo[..., :1], NO_ECHO), before], dim=-1)


def run_before(echo: Tensor, group: Tensor) -> Tensor:
    """How many half bars, up to the one before each and all of them opened in earlier groups, echo from one distance:
    at most MOST_RUN, 0 where the one before is not known or echoes nothing; echo, group and run (..., H)."""
    distance = source_of(echo)
    last = _shifted(distance, 1)
    goes_on = (last != 0) & (_shifted(group, 1) < group)
    run = goes_on.long()
    for back in range(2, MOST_RUN + 1):
        goes_on = goes_on & (_shifted(distance, back) == last) & (_shifted(group, back) < group)
        if not goes_on.any():
            break
        run = run + goes_on
    return run


def _shifted(values: Tensor, places: int) -> Tensor:
    """Each half bar's value so many half bars before it, 0 before the first: (..., H)."""
    return torch.nn.functional.pad(values, (places, 0))[..., : values.shape[-1]]


def allowed_echoes(can_source: Tensor) -> Tensor:
    """Classes that may be chosen, (..., ECHOES) bool, from whether the half bar at each of the ECHO_SOURCES is
    known and has onsets (..., sources)."""
    each = can_source.repeat_interleave(len(ECHO_STRENGTHS), dim=-1)
    return torch.cat([torch.ones_like(each[..., :1]), each], dim=-1)


def can_source(group: Tensor, has_onsets: Tensor) -> Tensor:
    """Whether each half bar may echo each of the ECHO_SOURCES: (..., H, sources), from groups and whether half
    bars have onsets (..., H)."""
    H = group.shape[-1]
    offsets = torch.tensor(ECHO_SOURCES, device=group.device)
    there = torch.arange(H, device=group.device)[:, None] + offsets
    inside = (there >= 0) & (there < H)
    index = there.clamp(0, H - 1)
    return inside & (group[..., index] < group[..., :, None]) & has_onsets[..., index]


def onsets_per_half(notes: IntArray, halves: int) -> npt.NDArray[np.int64]:
    counted: npt.NDArray[np.int64] = np.bincount(notes[:, 0] // HALF_STEPS, minlength=halves)[:halves]
    return counted


assert len(ECHO_SOURCES) * len(ECHO_STRENGTHS) + 1 == ECHOES
