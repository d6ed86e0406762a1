"""What keeps free play in balance: how the harmony of a half bar stands to that of half bars before it, how readily it
leaves their key, and how likely what returns goes on returning.

A model that is right about every next half bar of a song still drifts when it goes on from its own: what is a little
too alike is taken for a past of its kind, and what comes is more alike still; a section that is broken off once is not
taken up again. A few weights tilt what is drawn until pieces that the model invents are, in these few figures, as songs
are (exponential tilting: of all distributions with those figures the nearest to the model's).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fractal_live.model.config import CHROMA_CENTRES, ECHO_STRENGTHS

HARMONY_LAGS = (1, 2, 4)
"""Half bars. Farther apart they are as alike as in songs without help; a weight there works against what returns."""
KEY_HALVES, RARE = 16, 0.01
"""Half bars that tell a key, half of them at least; and what their mean (levels' centres) holds less of is foreign to
it: a pitch class that was touched once, or not at all."""
LEAST_GRADE = 2
"""Of echoes that are known again when they are heard."""


def earlier_harmony(chroma: Tensor, group: Tensor) -> Tensor:
    """What the balance hears of those half bars before each that are opened in an earlier group: what those so many
    before it hold, about their mean over the pitch classes, and 0 where that is not known; and last, 1 for the pitch
    classes that are foreign to them. Chroma levels (..., H, 12), group (..., H): (..., H, lags + 1, 12)."""
    centres = torch.tensor(CHROMA_CENTRES, device=chroma.device)[chroma]
    held = centres - centres.mean(-1, keepdim=True)
    found = []
    for lag in HARMONY_LAGS:
        there = nn.functional.pad(held, (0, 0, lag, 0))[..., : held.shape[-2], :]
        is_known = nn.functional.pad(group[..., :-lag] < group[..., lag:], (min(lag, group.shape[-1]), 0))
        found.append(there * is_known[..., None])
    return torch.stack([*found, _foreign(centres, group)], dim=-2)


def _foreign(centres: Tensor, group: Tensor) -> Tensor:
    """Centres (..., H, 12), group (..., H): (..., H, 12)."""
    index = torch.arange(group.shape[-1], device=group.device)
    ago = index[:, None] - index
    is_known = (ago > 0) & (ago <= KEY_HALVES) & (group[..., None, :] < group[..., None])  # (..., H, H)
    count = is_known.sum(-1, keepdim=True)
    mean = is_known.to(centres.dtype) @ centres / count.clamp(min=1)
    return ((mean < RARE) & (count >= KEY_HALVES // 2)).to(centres.dtype)


class Balance(nn.Module):
    """Its weights are not learned with the others, for no song tells what the model itself does to songs: see
    `train.free_play`. `lags` (HARMONY_LAGS,) per level's centre and what was held before; `foreign` (1,) per level's
    centre of a class that is foreign to the key; `lasting` (1,) nats for an echo of a grade that is known again and
    goes on from the distance of the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.lags: Tensor
        self.register_buffer("lags", torch.zeros(len(HARMONY_LAGS)))
        self.foreign: Tensor
        self.register_buffer("foreign", torch.zeros(1))
        self.lasting: Tensor
        self.register_buffer("lasting", torch.zeros(1))
        self.centres: Tensor
        self.register_buffer("centres", torch.tensor(CHROMA_CENTRES), persistent=False)
        self.is_known_again: Tensor
        grades = torch.arange(len(ECHO_STRENGTHS) + 1)
        self.register_buffer("is_known_again", grades >= LEAST_GRADE, persistent=False)

    @property
    def weights(self) -> Tensor:
        """Those of the harmony, as `earlier_harmony` has its rows: (lags + 1,)."""
        return torch.cat([self.lags, self.foreign])

    def harmony(self, earlier: Tensor) -> Tensor:
        """What is added to the scores of pitch classes: earlier (..., lags + 1, 12) to (..., 12, levels)."""
        drawn = torch.einsum("...lc,l->...c", earlier, self.weights.to(earlier.dtype))
        return drawn[..., None] * self.centres

    def going_on(self, grade: Tensor) -> Tensor:
        """What is added to the scores of echoes that go on: grade (...) to (...)."""
        return self.lasting * self.is_known_again[grade]
