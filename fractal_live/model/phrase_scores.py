"""What `phrase.PhraseHeads` says of the few half bars that are made at once, in numpy: one decision follows another,
and each is so small that calling torch would take longer than what it does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from fractal_live.model.balance import HARMONY_LAGS, KEY_HALVES, RARE
from fractal_live.model.config import (
    CHROMA_CENTRES,
    CHROMA_LEVELS,
    ECHO_SOURCES,
    ECHO_STRENGTHS,
    ECHOES,
    MAX_HALF_ONSETS,
)
from fractal_live.model.echo import GRADE_OF, MOST_RUN, NO_ECHO, SOURCE_OF
from fractal_live.model.grid import FloatArray, IntArray
from fractal_live.model.phrase import ORDER, PhraseHeads

Mask = npt.NDArray[np.bool_]
CENTRES = np.array(CHROMA_CENTRES, dtype=np.float32)
STRENGTHS = len(ECHO_STRENGTHS)


@dataclass(frozen=True, slots=True)
class Before:
    """What N half bars know of others when they are opened: the echoes they may choose (N, ECHOES), the class of the
    half bar before (N,) and how long its distance has been echoed (N,), as `echo.echo_before` and `run_before` say it,
    and the harmony of those before them (N, lags + 1, 12) as `balance.earlier_harmony` does."""

    allowed: Mask
    echo: IntArray
    run: IntArray
    harmony: FloatArray


@dataclass(frozen=True, slots=True)
class Harmony:
    """What does not change while one pitch class is drawn after another: own scores (branches, N, 12, levels), and what
    is expected of all classes, counted from each, as the hidden units hear it (branches, N, 12, width)."""

    own: FloatArray
    expected: FloatArray


def before(halves: IntArray, group: IntArray, echo: IntArray, chroma: IntArray, has_onsets: Mask) -> Before:
    """Of half bars (N,) of a piece: group, echo, has_onsets (H,), chroma levels (H, 12)."""
    there = halves[:, None] + np.array(ECHO_SOURCES)
    inside = (there >= 0) & (there < len(group))
    there = there % len(group)
    can_source = inside & (group[there] < group[halves, None]) & has_onsets[there]
    allowed = np.ones((len(halves), ECHOES), dtype=np.bool_)
    allowed[:, 1:] = np.repeat(can_source, STRENGTHS, axis=1)
    last, run = np.full(len(halves), NO_ECHO), np.zeros(len(halves), dtype=np.int64)
    for place, half in enumerate(halves.tolist()):
        if half and group[half - 1] < group[half]:
            last[place] = echo[half - 1]
            run[place] = _run(half, group, SOURCE_OF[echo[max(0, half - MOST_RUN) : half]])
    earlier = halves[:, None] - np.array(HARMONY_LAGS)
    inside, earlier = earlier >= 0, np.maximum(earlier, 0)
    is_known = inside & (group[earlier] < group[halves, None])
    held = CENTRES[chroma[earlier]]
    lagged = (held - held.mean(-1, keepdims=True)) * is_known[..., None]
    return Before(allowed, last, run, np.concatenate([lagged, _foreign(halves, group, chroma)], axis=1))


def _foreign(halves: IntArray, group: IntArray, chroma: IntArray) -> FloatArray:
    """The pitch classes that are foreign to the key, as the last row of `balance.earlier_harmony`: (N, 1, 12)."""
    near = halves[:, None] - np.arange(1, KEY_HALVES + 1)
    inside, near = near >= 0, np.maximum(near, 0)
    is_known = inside & (group[near] < group[halves, None])
    count = is_known.sum(1)[:, None]
    mean = (CENTRES[chroma[near]] * is_known[..., None]).sum(1) / np.maximum(count, 1)
    out: FloatArray = ((mean < RARE) & (count >= KEY_HALVES // 2))[:, None].astype(np.float32)
    return out


def _run(half: int, group: IntArray, distances: IntArray) -> int:
    """Of the distances that are echoed up to the half bar before it, so many at the end are one and known."""
    if not distances[-1]:
        return 0
    is_one = (distances == distances[-1]) & (group[half - len(distances) : half] < group[half])
    breaks = np.flatnonzero(~is_one[::-1])
    return int(breaks[0]) if len(breaks) else len(distances)


class PhraseScores:
    """Of heads whose weights stay as they are meanwhile. Hidden states (branches, N, dim); scores of every branch."""

    def __init__(self, heads: PhraseHeads) -> None:
        self._echo, self._own, self._count = (_line(layer) for layer in (heads.echo, heads.own, heads.count))
        balance = heads.balance
        grade = GRADE_OF
        self._favour = _array(heads.continued)[:, grade]  # (grades before, ECHOES)
        self._lasting = _array(heads.lasting)[:, grade]  # (runs, ECHOES)
        self._balance = _array(balance.lasting) * _array(balance.is_known_again)[grade]
        self._weights = _array(balance.weights)
        self._copied_chroma, self._copied_count = _array(heads.copied_chroma), _array(heads.copied_count)
        self._pair = _array(heads.pair)
        heard, out = heads.consonance.heard, heads.consonance.out
        weight, self._heard_bias = _array(heard.weight), _array(heard.bias)
        of_levels = 12 * (CHROMA_LEVELS + 1)
        self._by_level = weight[:, :of_levels].T.reshape(12, CHROMA_LEVELS + 1, -1)
        self._by_share = weight[:, of_levels:].T
        self._out, self._out_bias = _line(out)

    def echoes(self, hidden: FloatArray, known: Before, is_free: Mask) -> FloatArray:
        """As `PhraseHeads.echo_scores`, is_free (N,): (branches, N, ECHOES)."""
        goes_on = (SOURCE_OF[known.echo][:, None] == SOURCE_OF) & (known.run > 0)[:, None]
        favour = self._favour[GRADE_OF[known.echo]] + self._lasting[known.run] + self._balance * is_free[:, None]
        weight, bias = self._echo
        scores = hidden @ weight + bias + favour * goes_on
        out: FloatArray = np.where(known.allowed, scores, np.float32(-np.inf))
        return out

    def harmony(self, hidden: FloatArray, known: Before, echo: IntArray, held: IntArray) -> Harmony:
        """What `pitch_class` is to be asked with: echo (N,) and the chroma levels of its source, held (N, 12)."""
        weight, bias = self._own
        own = (hidden @ weight + bias).reshape(*hidden.shape[:2], 12, CHROMA_LEVELS)
        grade = GRADE_OF[echo]
        own += self._copied_chroma[grade[:, None], held] * (grade > 0)[:, None, None]
        own += (known.harmony * self._weights[:, None]).sum(1)[..., None] * CENTRES
        shares = np.exp(own - own.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        expected = shares[:, :, ORDER].reshape(*own.shape[:3], -1) @ self._by_share + self._heard_bias
        return Harmony(own, expected)

    def pitch_class(self, harmony: Harmony, pitch_class: int, chroma: IntArray) -> FloatArray:
        """As `PhraseHeads.chroma_scores`, of one class, given the levels (N, 12) of which those before it count:
        (branches, N, levels)."""
        before = np.arange(pitch_class)
        paired = self._pair[pitch_class][:, before, chroma[:, before]].sum(-1).T
        order = ORDER[pitch_class]
        told = np.where(order < pitch_class, chroma[:, order], CHROMA_LEVELS)
        heard = harmony.expected[:, :, pitch_class] + self._by_level[np.arange(12), told].sum(1)
        consonant = np.maximum(heard, 0) @ self._out + self._out_bias
        out: FloatArray = harmony.own[:, :, pitch_class] + paired + consonant
        return out

    def counts(self, hidden: FloatArray, echo: IntArray, onsets: IntArray) -> FloatArray:
        """As `PhraseHeads.count_scores`, onsets (N,) of the sources: (branches, N, MAX_HALF_ONSETS + 1)."""
        weight, bias = self._count
        grade = GRADE_OF[echo]
        copied = self._copied_count[grade, np.minimum(onsets, MAX_HALF_ONSETS)] * (grade > 0)[:, None]
        out: FloatArray = hidden @ weight + bias + copied
        return out


def _array(weights: Tensor) -> FloatArray:
    out: FloatArray = weights.detach().cpu().numpy()
    return out


def _line(layer: nn.Linear) -> tuple[FloatArray, FloatArray]:
    """Weight (in, out) and bias (out,)."""
    return _array(layer.weight).T, _array(layer.bias)
