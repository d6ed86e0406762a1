"""The arithmetic of tokens on a CPU, compiled (numba): of a few hundred products of small matrices one after another,
most of the time would go into calling them. All arrays are C-contiguous, single precision unless they are places.

Every function has its slow twin among the modules whose weights it is given. Without numba the modules do the work.
What calls one another stands in this one file: of a function that is kept on disk numba sees that its own file has
changed, not that another one has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

try:
    import numba
except ImportError:  # a platform that it does not serve
    njit: Any = None
else:
    njit = numba.njit

Array = npt.NDArray[np.float32]
Weight = npt.NDArray[np.float32] | npt.NDArray[np.int16]
"""Of a linear layer: as it was trained, or in whole steps of its lines' `scale`, which takes half as long to read."""
Places = npt.NDArray[np.int64]
Whole = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Function = TypeVar("Function", bound=Callable[..., Any])

HAS_COMPILER = njit is not None


def _weights(*values: float) -> tuple[np.float32, ...]:
    """Of a polynomial, from its highest power down."""
    return tuple(np.float32(value) for value in values)


ZERO, ONE, HALF = np.float32(0), np.float32(1), np.float32(0.5)
SQUARE_ROOT_OF_HALF = np.float32(math.sqrt(0.5))
TANH_SLOPE, TANH_CUBE = np.float32(math.sqrt(2 / math.pi)), np.float32(0.044715)
EPSILON = np.float32(1e-5)
NONE = np.zeros(0, dtype=np.float32)
"""The bias of a layer that has none."""
TANH_ENDS = np.float32(7.90531110763549805)
TANH_OVER = _weights(
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
TANH_UNDER = _weights(1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
ERF_ENDS = np.float32(4)
ERF_OVER = _weights(
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
ERF_UNDER = _weights(
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02
)
LEAST_LOGARITHM, ONE_OVER_LN_2 = np.float32(-87.3), np.float32(1.44269504)
LN_2_HIGH, LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
EXPONENTIAL = _weights(
    1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1
)
MANY = 12  # tokens from which on unpacking weights first takes less time than reading them packed for every two


def compiled(function: Function) -> Function:
    """Compiled when it is first called, and kept on disk for the next time. Other threads go on meanwhile."""
    return _made(function)


def summing(function: Function) -> Function:
    """As `compiled`, of what adds up products and does nothing else: in any order, so that eight go at a time. Anywhere
    else that would let results depend, by their last bit, on where in memory an array lies."""
    return _made(function, fastmath={"reassoc", "contract"})


def _made(function: Function, **options: Any) -> Function:
    if njit is None:
        return function
    try:
        made: Function = njit(nogil=True, cache=True, error_model="numpy", **options)(function)
    except RuntimeError:  # there is no folder that it could be kept in
        made = njit(nogil=True, error_model="numpy", **options)(function)
    return made


@summing
def product_of(a: Array, b: Array) -> np.float32:
    """Of two vectors (n,)."""
    total = ZERO
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@summing
def total_of(a: Array) -> np.float32:
    total = ZERO
    for i in range(len(a)):
        total += a[i]
    return total


@summing
def square_of(a: Array, centre: np.float32) -> np.float32:
    """The sum of squared distances of a vector (n,) from a centre."""
    total = ZERO
    for i in range(len(a)):
        total += (a[i] - centre) * (a[i] - centre)
    return total


@summing
def four_products(x: Array, weight: Weight, out: Array, o: int) -> None:
    """x (M, in) by four lines (4, in), into the four columns of out (M, O) that begin at `o`."""
    M = len(x)
    pairs = M - M % 2
    for m in range(0, pairs, 2):
        a0, a1, a2, a3 = ZERO, ZERO, ZERO, ZERO
        b0, b1, b2, b3 = ZERO, ZERO, ZERO, ZERO
        for i in range(x.shape[1]):
            a, b = x[m, i], x[m + 1, i]
            w0, w1 = np.float32(weight[0, i]), np.float32(weight[1, i])
            w2, w3 = np.float32(weight[2, i]), np.float32(weight[3, i])
            a0 += w0 * a
            a1 += w1 * a
            a2 += w2 * a
            a3 += w3 * a
            b0 += w0 * b
            b1 += w1 * b
            b2 += w2 * b
            b3 += w3 * b
        out[m, o], out[m, o + 1], out[m, o + 2], out[m, o + 3] = a0, a1, a2, a3
        out[m + 1, o], out[m + 1, o + 1], out[m + 1, o + 2], out[m + 1, o + 3] = b0, b1, b2, b3
    if pairs < M:
        a0, a1, a2, a3 = ZERO, ZERO, ZERO, ZERO
        for i in range(x.shape[1]):
            a = x[pairs, i]
            a0 += np.float32(weight[0, i]) * a
            a1 += np.float32(weight[1, i]) * a
            a2 += np.float32(weight[2, i]) * a
            a3 += np.float32(weight[3, i]) * a
        out[pairs, o], out[pairs, o + 1], out[pairs, o + 2], out[pairs, o + 3] = a0, a1, a2, a3


@summing
def products(x: Array, weight: Weight, out: Array) -> None:
    """x (M, in), weight (O, in), out (M, O). Four lines of the weight at two tokens at a time, so that what is read
    once serves several products; of many tokens the four are unpacked first."""
    M, lines_ = len(x), len(weight)
    fours = lines_ - lines_ % 4
    if M < MANY:
        for o in range(0, fours, 4):
            four_products(x, weight[o : o + 4], out, o)
    else:
        four = np.empty((4, x.shape[1]), dtype=np.float32)
        for o in range(0, fours, 4):
            for line in range(4):
                for i in range(x.shape[1]):
                    four[line, i] = np.float32(weight[o + line, i])
            four_products(x, four, out, o)
    for o in range(fours, lines_):
        for m in range(M):
            a0 = ZERO
            for i in range(x.shape[1]):
                a0 += np.float32(weight[o, i]) * x[m, i]
            out[m, o] = a0


@compiled
def lines(x: Array, weight: Weight, scale: Array, bias: Array, out: Array) -> None:
    """A linear layer: x (M, in), weight (O, in), scale and bias (O or 0,), out (M, O)."""
    products(x, weight, out)
    if len(scale):
        for m in range(len(out)):
            for o in range(len(scale)):
                out[m, o] *= scale[o]
    if len(bias):
        for m in range(len(out)):
            for o in range(len(bias)):
                out[m, o] += bias[o]


@compiled
def erf_of(x: np.float32) -> np.float32:
    """The error function to within 1e-6, by the quotient of two polynomials (Eigen, MathFunctionsImpl.h)."""
    x = min(max(x, -ERF_ENDS), ERF_ENDS)
    square = x * x
    over, under = ZERO, ZERO
    for weight in ERF_OVER:
        over = over * square + weight
    for weight in ERF_UNDER:
        under = under * square + weight
    return x * over / under


@compiled
def gelu(x: Array) -> None:
    """In place (Hendrycks & Gimpel 2016): x (n,)."""
    for i in range(len(x)):
        x[i] = HALF * x[i] * (ONE + erf_of(x[i] * SQUARE_ROOT_OF_HALF))


@compiled
def gelu_tanh(x: Array) -> None:
    """As `gelu`, by the approximation through tanh, itself to within 1e-6 by the quotient of two polynomials (Eigen,
    MathFunctionsImpl.h): x (n,)."""
    for i in range(len(x)):
        y = TANH_SLOPE * x[i] * (ONE + TANH_CUBE * x[i] * x[i])
        y = min(max(y, -TANH_ENDS), TANH_ENDS)
        square = y * y
        over, under = ZERO, ZERO
        for weight in TANH_OVER:
            over = over * square + weight
        for weight in TANH_UNDER:
            under = under * square + weight
        x[i] = HALF * x[i] * (ONE + y * over / under)


@compiled
def exponential(x: Array, bits: Whole) -> None:
    """In place, to within 1e-7 of each, never quite zero: x (n,) not above 80, bits (n,) to work in. What is whole of
    the logarithm to base 2 becomes the exponent, the rest a polynomial (Cephes, expf.c)."""
    for i in range(len(x)):
        y = max(x[i], LEAST_LOGARITHM)
        whole = np.floor(y * ONE_OVER_LN_2 + HALF)
        y = y - whole * LN_2_HIGH - whole * LN_2_LOW
        sum_ = ZERO
        for weight in EXPONENTIAL:
            sum_ = sum_ * y + weight
        x[i] = sum_ * y * y + y + ONE
        bits[i] = (np.int32(whole) + np.int32(127)) << np.int32(23)
    powers = bits.view(np.float32)
    for i in range(len(x)):
        x[i] *= powers[i]


@compiled
def modulations(cond: Array, weights: Weight, scales: Array, biases: Array) -> Array:
    """What conditions (N, K) make of several norms, weights (norms, 2C, K): scale and shift, (norms, N, 2C)."""
    out = np.empty((len(weights), len(cond), weights.shape[1]), dtype=np.float32)
    for norm in range(len(weights)):
        lines(cond, weights[norm], scales[norm], biases[norm], out[norm])
    return out


@compiled
def normed(x: Array, modulation: Array, which: Places, out: Array) -> None:
    """AdaLN: x and out (M, C), modulation (n, 2C) scales and shifts, which (M,) of them is each token's."""
    M, C = x.shape
    for m in range(M):
        mean = total_of(x[m]) / np.float32(C)
        rate = ONE / np.sqrt(square_of(x[m], mean) / np.float32(C) + EPSILON)
        under = modulation[which[m]]
        for i in range(C):
            out[m, i] = (x[m, i] - mean) * rate * (ONE + under[i]) + under[C + i]


@compiled
def attended(
    asked: Array, keys: Array, values: Array, own_keys: Array, own_values: Array, seen: Mask, out: Array
) -> None:
    """Attention of one head: queries asked (L, D), already scaled, to keys and values (S, D) and, behind them, own ones
    (N, D), where seen (L or 1, S + N) is True; out (L, D)."""
    L, D = asked.shape
    S, N = len(keys), len(own_keys)
    near, own = np.empty((L, S), dtype=np.float32), np.empty((L, N), dtype=np.float32)
    products(asked, keys, near)
    products(asked, own_keys, own)
    scores, bits = np.empty(S + N, dtype=np.float32), np.empty(S + N, dtype=np.int32)
    for place in range(L):
        row = seen[place if len(seen) > 1 else 0]
        most = np.float32(-np.inf)
        for s in range(S):
            scores[s] = near[place, s] if row[s] else np.float32(-np.inf)
            most = max(most, scores[s])
        for n in range(N):
            scores[S + n] = own[place, n] if row[S + n] else np.float32(-np.inf)
            most = max(most, scores[S + n])
        for s in range(S + N):
            scores[s] -= most
        exponential(scores, bits)
        for s in range(S + N):
            if not row[s]:
                scores[s] = ZERO
        weighted(scores, values, own_values, out[place])
        total = total_of(scores)
        for i in range(D):
            out[place, i] /= total


@compiled
def weighted(shares: Array, values: Array, own_values: Array, out: Array) -> None:
    """The sum of values (S, D), then of own ones (N, D), by their shares (S + N,): out (D,)."""
    S = len(values)
    fours = S - S % 4
    out[:] = ZERO
    for s in range(0, fours, 4):
        a, b, c, d = shares[s], shares[s + 1], shares[s + 2], shares[s + 3]
        for i in range(len(out)):
            out[i] += a * values[s, i] + b * values[s + 1, i] + c * values[s + 2, i] + d * values[s + 3, i]
    for s in range(fours, S):
        for i in range(len(out)):
            out[i] += shares[s] * values[s, i]
    for n in range(len(own_values)):
        for i in range(len(out)):
            out[i] += shares[S + n] * own_values[n, i]


@compiled
def block(
    x: Array,
    before: Array,
    after: Array,
    qkv: Weight,
    qkv_scale: Array,
    qkv_bias: Array,
    joined: Weight,
    joined_scale: Array,
    joined_bias: Array,
    mlp_in: Weight,
    mlp_in_scale: Array,
    mlp_in_bias: Array,
    mlp_out: Weight,
    mlp_out_scale: Array,
    mlp_out_bias: Array,
    cos: Array,
    sin: Array,
    mask: Mask,
    keys: Array,
    values: Array,
    places: Places,
    low: int,
    high: int,
    is_kept: bool,
    left: Places,
) -> Array:
    """A block of a trunk, x (B, N, C) to (B, len(left), C): the tokens that go on from here.

    before (B or B * N, 2C) and after (B or B * len(left), 2C) modulate its norms; cos and sin (N, D/2) turn queries and
    keys. keys and values (B, H, S, D) are remembered, of which slots `low` to `high` are attended to where mask (1 or
    B, 1 or N, columns) is True. The tokens' own are put into the slots `places` (N,) if they are kept, or stand as N
    more columns behind the others."""
    B, N, C = x.shape
    heads, D = keys.shape[1], keys.shape[3]
    half, L = D // 2, len(left)
    per = len(before) // B
    which = np.empty(B * N, dtype=np.int64)
    for b in range(B):
        for n in range(N):
            which[b * N + n] = b * per + (n if per > 1 else 0)
    normal = np.empty((B * N, C), dtype=np.float32)
    normed(x.reshape(B * N, C), before, which, normal)
    own = np.empty((B * N, 3 * C), dtype=np.float32)
    lines(normal, qkv, qkv_scale, qkv_bias, own)
    for b in range(B):
        for n in range(N):
            row = own[b * N + n]
            for start in range(0, 2 * C, D):
                for i in range(half):
                    even, odd = row[start + i], row[start + half + i]
                    row[start + i] = even * cos[n, i] - odd * sin[n, i]
                    row[start + half + i] = even * sin[n, i] + odd * cos[n, i]
            if is_kept:
                for h in range(heads):
                    for i in range(D):
                        keys[b, h, places[n], i] = row[C + h * D + i]
                        values[b, h, places[n], i] = row[2 * C + h * D + i]
    heard = np.empty((B * L, C), dtype=np.float32)
    asked, out = np.empty((L, D), dtype=np.float32), np.empty((L, D), dtype=np.float32)
    more = 0 if is_kept else N
    own_keys, own_values = np.empty((more, D), dtype=np.float32), np.empty((more, D), dtype=np.float32)
    rows = L if mask.shape[1] > 1 else 1
    seen = np.empty((rows, mask.shape[2]), dtype=np.bool_)
    scale = np.float32(D**-0.5)
    for b in range(B):
        for row in range(rows):
            seen[row] = mask[b if len(mask) > 1 else 0, left[row] if rows > 1 or mask.shape[1] > 1 else 0]
        for h in range(heads):
            for place in range(L):
                for i in range(D):
                    asked[place, i] = own[b * N + left[place], h * D + i] * scale
            for n in range(more):
                for i in range(D):
                    own_keys[n, i] = own[b * N + n, C + h * D + i]
                    own_values[n, i] = own[b * N + n, 2 * C + h * D + i]
            attended(asked, keys[b, h, low:high], values[b, h, low:high], own_keys, own_values, seen, out)
            for place in range(L):
                for i in range(D):
                    heard[b * L + place, h * D + i] = out[place, i]
    made = np.empty((B * L, C), dtype=np.float32)
    lines(heard, joined, joined_scale, joined_bias, made)
    goes_on, per = np.empty(B * L, dtype=np.int64), len(after) // B
    for b in range(B):
        for place in range(L):
            goes_on[b * L + place] = b * per + (place if per > 1 else 0)
            for i in range(C):
                made[b * L + place, i] += x[b, left[place], i]
    passed = np.empty((B * L, C), dtype=np.float32)
    normed(made, after, goes_on, passed)
    wide = np.empty((B * L, len(mlp_in)), dtype=np.float32)
    lines(passed, mlp_in, mlp_in_scale, mlp_in_bias, wide)
    gelu_tanh(wide.reshape(wide.size))
    lines(wide, mlp_out, mlp_out_scale, mlp_out_bias, passed)
    for m in range(B * L):
        for i in range(C):
            made[m, i] += passed[m, i]
    return made.reshape(B, L, C)


@compiled
def trunk(
    x: Array,
    under: Array,
    qkv: Weight,
    qkv_scale: Array,
    qkv_bias: Array,
    joined: Weight,
    joined_scale: Array,
    joined_bias: Array,
    mlp_in: Weight,
    mlp_in_scale: Array,
    mlp_in_bias: Array,
    mlp_out: Weight,
    mlp_out_scale: Array,
    mlp_out_bias: Array,
    cos: Array,
    sin: Array,
    mask: Mask,
    keys: Array,
    values: Array,
    places: Places,
    low: int,
    high: int,
    is_kept: bool,
    left: Places,
) -> Array:
    """All blocks of a trunk and its last norm, x (B, N, C) to (B, len(left), C): what goes on from the last block. Of
    `block`'s arguments the weights and what is remembered have the blocks before all else; under (2 * blocks + 1, B or
    B * N, 2C) modulates the norms."""
    B, N, C = x.shape
    blocks, L = len(qkv), len(left)
    every = np.arange(N)
    per = under.shape[1] // B
    last = np.empty((B * (L if per > 1 else 1), 2 * C), dtype=np.float32)
    for index in range(blocks):
        is_last = index == blocks - 1
        after = under[2 * index + 1]
        if is_last and per > 1:
            for b in range(B):
                for place in range(L):
                    last[b * L + place] = after[b * N + left[place]]
            after = last
        x = block(
            x,
            under[2 * index],
            after,
            qkv[index],
            qkv_scale[index],
            qkv_bias[index],
            joined[index],
            joined_scale[index],
            joined_bias[index],
            mlp_in[index],
            mlp_in_scale[index],
            mlp_in_bias[index],
            mlp_out[index],
            mlp_out_scale[index],
            mlp_out_bias[index],
            cos,
            sin,
            mask,
            keys[index],
            values[index],
            places,
            low,
            high,
            is_kept,
            left if is_last else every,
        )
    which = np.empty(B * L, dtype=np.int64)
    for b in range(B):
        for place in range(L):
            which[b * L + place] = b * N + left[place] if per > 1 else b
    out = np.empty((B * L, C), dtype=np.float32)
    normed(x.reshape(B * L, C), under[2 * blocks], which, out)
    return out.reshape(B, L, C)


@compiled
def step_codes(
    content: Array,
    sweep: Array,
    sweep_bias: Array,
    refine: Array,
    refine_bias: Array,
    project: Weight,
    scale: Array,
    bias: Array,
) -> Array:
    """What steps (N, 3, P) hold, as `layers.StepEncoder` says it with its stride of 4 and padding of 4 and 1: (N, dim).
    Most of a step is empty, so that only what sounds is swept."""
    N, channels, P = content.shape
    wide, taps, narrow, places = len(sweep), sweep.shape[2], len(refine), P // 4
    at_rest = sweep_bias.copy()
    gelu(at_rest)
    swept = np.empty((wide, places + 2), dtype=np.float32)
    touched = np.zeros(places, dtype=np.bool_)
    refined = np.empty((N, narrow * places), dtype=np.float32)
    for n in range(N):
        for c in range(wide):
            swept[c, 0] = swept[c, places + 1] = ZERO
            for q in range(places):
                swept[c, q + 1] = sweep_bias[c]
        touched[:] = False
        for channel in range(channels):
            for p in range(P):
                held = content[n, channel, p]
                if held != ZERO:
                    for q in range(max(0, (p + 4 - taps + 4) // 4), min(places - 1, (p + 4) // 4) + 1):
                        touched[q] = True
                        for c in range(wide):
                            swept[c, q + 1] += held * sweep[c, channel, p + 4 - 4 * q]
        for q in range(places):
            for c in range(wide):
                if touched[q]:
                    x = swept[c, q + 1]
                    swept[c, q + 1] = HALF * x * (ONE + erf_of(x * SQUARE_ROOT_OF_HALF))
                else:
                    swept[c, q + 1] = at_rest[c]
        for o in range(narrow):
            row = refined[n, o * places : (o + 1) * places]
            row[:] = refine_bias[o]
            for c in range(wide):
                for k in range(3):
                    weight = refine[o, c, k]
                    for q in range(places):
                        row[q] += weight * swept[c, q + k]
    gelu(refined.reshape(refined.size))
    out = np.empty((N, len(project)), dtype=np.float32)
    lines(refined, project, scale, bias, out)
    return out


@compiled
def recalled(maps: Array, weight: Array, bias: Array) -> Array:
    """Remembered pitches as features of each pitch, `pitch.PitchRecall` before its mix: maps (N, maps, P), weight
    (channels, maps, K), bias (channels,): (N, channels, P). Most of the maps is empty."""
    N, rows, P = maps.shape
    channels, taps = len(weight), weight.shape[2]
    half = taps // 2
    out = np.empty((N, channels, P), dtype=np.float32)
    wide = np.empty(P + 2 * half, dtype=np.float32)
    for n in range(N):
        for c in range(channels):
            wide[:] = bias[c]
            for row in range(rows):
                for p in range(P):
                    held = maps[n, row, p]
                    if held != ZERO:
                        for k in range(taps):
                            wide[p + 2 * half - k] += held * weight[c, row, k]
            for p in range(P):
                out[n, c, p] = wide[half + p]
    gelu(out.reshape(out.size))
    return out


@compiled
def pitch_scores(
    hidden: Array,
    below: Places,
    low: Places,
    high: Places,
    features: Array,
    source: Array,
    pull: Array,
    table: Array,
    pitch_bias: Array,
    mix: Array,
    mix_bias: Array,
    query: Weight,
    query_scale: Array,
    query_bias: Array,
    gate: Weight,
    gate_scale: Array,
    gate_bias: Array,
    interval: Weight,
    interval_scale: Array,
    interval_bias: Array,
    stop: Weight,
    stop_scale: Array,
    stop_bias: Array,
) -> Array:
    """Of the next pitch and of stopping, `pitch.Leaf.pitch_logits`: hidden (N, dim), below (N,) with -1 for none, low
    and high (N,), features (N, channels, P), source (N, 3, P), pull (N,): (N, P + 1)."""
    N, dim = hidden.shape
    P, channels = len(table), len(gate)
    asked, gates, stops = (
        np.empty((N, dim), dtype=np.float32),
        np.empty((N, channels), dtype=np.float32),
        np.empty((N, 1), dtype=np.float32),
    )
    lines(hidden, query, query_scale, query_bias, asked)
    lines(hidden, gate, gate_scale, gate_bias, gates)
    lines(hidden, stop, stop_scale, stop_bias, stops)
    own = np.empty((N, P), dtype=np.float32)
    lines(asked, table, NONE, pitch_bias, own)
    relative = np.empty((N, P), dtype=np.float32)
    lines(hidden, interval, interval_scale, interval_bias, relative)
    out = np.full((N, P + 1), np.float32(-np.inf), dtype=np.float32)
    for n in range(N):
        shift = ZERO
        for c in range(channels):
            shift += gates[n, c] * mix_bias[c]
        for d in range(channels):
            share = ZERO
            for c in range(channels):
                share += gates[n, c] * mix[c, d]
            for p in range(P):
                own[n, p] += share * features[n, d, p]
        due = P
        for p in range(max(low[n], below[n] + 1), high[n] + 1):
            out[n, p] = own[n, p] + shift + (relative[n, p - below[n]] if below[n] >= 0 else ZERO)
            if due == P and source[n, 0, p] > ZERO:
                due = p
        out[n, P] = stops[n, 0]
        out[n, due] += pull[n]
    return out


@compiled
def value_scores(
    hidden: Array,
    told: Array,
    held: Array,
    source: Array,
    first: Weight,
    first_scale: Array,
    first_bias: Array,
    last: Weight,
    last_scale: Array,
    last_bias: Array,
) -> Array:
    """Of a velocity or a duration, `pitch.Leaf.velocity_logits`: hidden (N, dim), told (N, dim) of what was chosen
    before, held (N, 3) of the echoed step: (N, values)."""
    N, dim = hidden.shape
    seen = np.empty((N, dim), dtype=np.float32)
    lines(hidden, first, first_scale, first_bias, seen)
    for n in range(N):
        for i in range(dim):
            seen[n, i] += told[n, i]
            for k in range(held.shape[1]):
                seen[n, i] += held[n, k] * source[i, k]
    gelu(seen.reshape(seen.size))
    out = np.empty((N, len(last)), dtype=np.float32)
    lines(seen, last, last_scale, last_bias, out)
    return out


@compiled
def texture_codes(
    told: Array,
    chroma: Places,
    remaining: Places,
    left: Places,
    echo: Places,
    chroma_weight: Array,
    chroma_bias: Array,
    remaining_table: Array,
    pace_weight: Array,
    pace_bias: Array,
    echo_table: Array,
) -> None:
    """Adds the texture of N tokens to what is told them (N, dim), as `layers.GuideEncoder` does: chroma (N, 12)."""
    N, dim = told.shape
    levels = chroma_weight.shape[1] // 12
    for n in range(N):
        count = min(max(remaining[n], 0), len(remaining_table) - 1)
        pace = np.float32(remaining[n]) / np.float32(max(left[n], 1))
        rest = np.float32(left[n]) / np.float32(8)
        for i in range(dim):
            sum_ = chroma_bias[i] + pace_bias[i] + pace * pace_weight[i, 0] + rest * pace_weight[i, 1]
            for k in range(12):
                sum_ += chroma_weight[i, k * levels + chroma[n, k]]
            told[n, i] += sum_ + remaining_table[count, i] + echo_table[echo[n], i]


@compiled
def conditions(
    parent: Array,
    plan: Array,
    is_given: Mask,
    chroma: Places,
    remaining: Places,
    left: Places,
    echo: Places,
    plan_weight: Weight,
    plan_scale: Array,
    plan_bias: Array,
    null: Array,
    mix: Weight,
    mix_scale: Array,
    mix_bias: Array,
    chroma_weight: Array,
    chroma_bias: Array,
    remaining_table: Array,
    pace_weight: Array,
    pace_bias: Array,
    echo_table: Array,
) -> Array:
    """What is handed down to N tokens, parent (rows, N, P), beside what guides them as `layers.GuideEncoder` says it:
    (rows * N, P + dim). Some rows are given it (rows,), the others its null; plan (N, columns) has NaN where unknown,
    chroma (N, 12) is empty where there is no texture."""
    rows, N, P = parent.shape
    columns, dim = plan.shape[1], len(mix)
    cells = np.zeros((N, 2 * columns), dtype=np.float32)
    for n in range(N):
        for column in range(columns):
            if not np.isnan(plan[n, column]):
                cells[n, column], cells[n, columns + column] = plan[n, column], ONE
    told = np.empty((N, dim), dtype=np.float32)
    lines(cells, plan_weight, plan_scale, plan_bias, told)
    if len(chroma):
        texture_codes(
            told,
            chroma,
            remaining,
            left,
            echo,
            chroma_weight,
            chroma_bias,
            remaining_table,
            pace_weight,
            pace_bias,
            echo_table,
        )
    said, mixed = np.empty((rows * N, dim), dtype=np.float32), np.empty((rows * N, dim), dtype=np.float32)
    for row in range(rows):
        for n in range(N):
            for i in range(dim):
                value = told[n, i] if is_given[row] else null[i]
                said[row * N + n, i] = value / (ONE + np.exp(-value))
    lines(said, mix, mix_scale, mix_bias, mixed)
    out = np.empty((rows * N, P + dim), dtype=np.float32)
    for row in range(rows):
        for n in range(N):
            out[row * N + n, :P] = parent[row, n]
            out[row * N + n, P:] = mixed[row * N + n]
    return out
