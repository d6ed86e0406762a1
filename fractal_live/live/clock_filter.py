"""Arrival times to the tempo and phase behind them, while it is doubtful what each arrival means.

A leader's clock may come late, be lost, come twice, or be the first of a new tempo, and which of these it was
shows only some clocks later. So a handful of *readings* of the stream are kept, each a Kalman filter of two states
(when the last clock was due, and the period) with a log-probability; every arrival extends each of them in each way
that it could be meant, and the most probable survive. The best reading is what holds now; when a later clock proves
another one right, that one has been followed all along and nothing needs to be learned anew.
(Multiple hypothesis tracking: D. Reid, "An algorithm for tracking multiple targets", 1979.)

Counts clocks; knows nothing of ticks, beats and Start. Milliseconds in floats, always relative to the last
arrival, so that hours of clocks lose no precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from operator import itemgetter

MAX_READINGS = 12
MAX_DOUBT = 18.0  # readings less probable than the best by more than this (in nats) are given up
RARE_PARENTS = 3  # only the most probable readings are extended by what is rare,
RARE_DOUBT = 8.0  # and of them none that is less probable than the best by more than this
SETTLED_CLOCKS = 24  # readings of one count that differ only in what happened before this many clocks are one

START_CLOCKS = 24  # so many are taken to arrive once each, until it is known how they come

TEMPO_WANDER = 1e-3  # a leader's tempo walks by this share (standard deviation) in a second
FIRST_JITTER_MS = 3.0
MIN_JITTER_MS = 0.1
MAX_JITTER_MS = 8.0
JITTER_MEMORY = 0.02
COARSE_PERIODS = 0.4  # arrivals rounded to more than that tell nothing about single clocks
UNKNOWN_PERIODS = 10.0  # the standard deviation of a period that is not known at all, in periods
LONG_INTERVAL = 1.3  # periods; behind a clock that took so long others may wait in a queue
LOG_ROOT_TAU = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True, slots=True, eq=False)
class Meaning:
    """One way to read an arrival: it is so many `clocks` after the last one, with new doubt about period and phase
    (standard deviations, in periods), and a jitter of at least `jitter` periods from now on; `log_prior`: the
    logarithm of how often that happens. With `scale_ms` the moment of the arrival says nothing: how far off it is
    falls off exponentially on that scale."""

    log_prior: float
    clocks: int = 1
    period_doubt: float = 0.0
    phase_doubt: float = 0.0
    jitter: float = 0.0
    scale_ms: float = 0.0

    @property
    def is_break(self) -> bool:
        """Tempo or phase are new."""
        return self.period_doubt + self.phase_doubt > 0


STEADY = Meaning(math.log(0.97))
JUMP = Meaning(math.log(3e-4), period_doubt=0.05)  # a new tempo nearby
SWERVE = Meaning(math.log(3e-4), period_doubt=0.25)  # a new tempo further off, yet too near for a lost clock
RESET = Meaning(math.log(1e-4), period_doubt=1.0)  # any new tempo
# Tempo and phase as before, but the arrivals scatter more. Without it, jitter that sets in after exact clocks is
# read as one new tempo after another with clocks lost in between, and the position slips for good.
ROUGH = Meaning(math.log(3e-4), jitter=0.2)
LEAP = Meaning(math.log(3e-5), phase_doubt=0.25)  # the same tempo from another moment on
# A lost clock must be likelier than RESET, or every lost one would bend the tempo; two of them in a row less likely,
# or half the tempo would forever be taken for every other clock lost.
LOST = (Meaning(math.log(8e-3), 2), Meaning(math.log(5e-4), 3), Meaning(math.log(1e-4), 4))
HOLE = Meaning(math.log(1e-5))  # more than four lost; how many is read off the interval
HOLE_AND_LEAP = Meaning(math.log(1e-6), phase_doubt=0.25)
LATE = Meaning(math.log(0.02), scale_ms=8.0)
QUEUED = Meaning(math.log(0.3), scale_ms=1.0)  # late, at once behind another late one
DOUBLE = Meaning(math.log(1e-3), 0, scale_ms=1.0)
DOUBLE_IN_QUEUE = Meaning(math.log(1e-5), 0, scale_ms=1.0)


@dataclass(slots=True)
class Reading:
    """What the stream means if every arrival meant what this reading says. `time_ms`: when the last clock was due,
    relative to the last arrival. The variances and the covariance are of (time, period); `jitter` is the variance
    of arrivals, `residual_ms` how late the last one was after all. `age`: clocks since tempo or phase were last in
    doubt, because of `since`; `jitter_age`: clocks since the jitter was. `has_queue`: the last arrival was so late
    that others may wait behind it."""

    count: int
    time_ms: float
    period_ms: float
    time_variance: float
    covariance: float
    period_variance: float
    jitter: float
    residual_ms: float = 0.0
    age: int = 1
    since: Meaning = STEADY
    jitter_age: int = 1
    has_queue: bool = False
    lost: int = 0
    log_weight: float = 0.0


class ClockFilter:
    """For one thread. `min_period_ms`: no clock is faster. `quantum_ms` may be set at any time: arrivals
    are rounded up to a multiple of it (0: they are not)."""

    def __init__(self, period_ms: float, min_period_ms: float) -> None:
        self.quantum_ms = 0.0
        self._min_period_ms = min_period_ms
        self._first_count = 0
        self._readings = [Reading(-1, 0.0, period_ms, 0.0, 0.0, 0.0, FIRST_JITTER_MS**2)]

    @property
    def best(self) -> Reading:
        return self._readings[0]

    def begin(self) -> None:
        """This arrival is the next clock and its phase the truth; the tempo is unknown until another comes."""
        best = self._restarted(self.best)
        best.period_variance = (UNKNOWN_PERIODS * best.period_ms) ** 2
        self._readings = [best]
        self._first_count = best.count

    def anchor(self, elapsed_ms: float) -> None:
        """This arrival, so long after the last one, is surely the next clock. Where it does not fit, the leader
        has begun anew at this moment, and its tempo is the old one."""
        best = self.best
        error_ms = elapsed_ms - best.time_ms - best.period_ms
        tolerance_ms = min(3 * math.sqrt(self._expected(best, STEADY)), best.period_ms / 4)
        is_anew = abs(error_ms) > tolerance_ms
        self._readings = [self._restarted(best) if is_anew else self._extended(best, STEADY, elapsed_ms, 0.0)]

    def arrive(self, elapsed_ms: float) -> None:
        """A clock, so long after the last arrival."""
        if self.best.period_variance > self.best.period_ms**2:
            self._arrive_second(elapsed_ms)
            return
        candidates = []
        for rank, reading in enumerate(self._readings):
            is_likely = rank < RARE_PARENTS and reading.log_weight > -RARE_DOUBT
            meanings = self._meanings(reading, elapsed_ms) if is_likely else (STEADY,)
            for meaning in meanings:
                log_weight = reading.log_weight + self._log_likelihood(reading, meaning, elapsed_ms)
                candidates.append((log_weight, reading, meaning))
        candidates.sort(key=itemgetter(0), reverse=True)
        best_weight = candidates[0][0]
        readings: dict[tuple[object, ...], Reading] = {}
        for log_weight, reading, meaning in candidates:
            if log_weight < best_weight - MAX_DOUBT or len(readings) == MAX_READINGS:
                break
            extended = self._extended(reading, meaning, elapsed_ms, log_weight - best_weight)
            is_settled = extended.age >= SETTLED_CLOCKS
            is_rough = extended.jitter_age < min(SETTLED_CLOCKS, extended.age)
            doubt = (SETTLED_CLOCKS, STEADY) if is_settled else (extended.age, extended.since)
            readings.setdefault((extended.count, extended.has_queue, is_rough, *doubt), extended)
        self._readings = list(readings.values())

    def _arrive_second(self, elapsed_ms: float) -> None:
        first = self.best
        self._readings = [self._extended(first, STEADY, elapsed_ms, 0.0)]

    def _meanings(self, reading: Reading, elapsed_ms: float) -> list[Meaning]:
        """All that the arrival can mean."""
        interval_ms = elapsed_ms - reading.time_ms
        periods = interval_ms / reading.period_ms
        meanings = [STEADY, JUMP]
        if self.quantum_ms > COARSE_PERIODS * reading.period_ms:
            return meanings
        if interval_ms > self._min_period_ms:
            meanings.append(RESET)
        if periods > 1:
            meanings += (LATE, QUEUED) if reading.has_queue else (LATE,)
        if reading.count - self._first_count < START_CLOCKS:
            return meanings
        meanings += [SWERVE, ROUGH, LEAP, DOUBLE_IN_QUEUE if reading.has_queue else DOUBLE]
        if periods > LONG_INTERVAL:
            meanings += LOST
        if periods > LOST[-1].clocks + 0.5:
            meanings += [replace(hole, clocks=round(periods)) for hole in (HOLE, HOLE_AND_LEAP)]
        return meanings

    def _log_likelihood(self, reading: Reading, meaning: Meaning, elapsed_ms: float) -> float:
        """Of this meaning and this arrival, per millisecond."""
        if meaning.scale_ms:
            is_late = meaning is LATE
            off_ms = elapsed_ms - reading.time_ms - reading.period_ms if is_late else elapsed_ms
            return meaning.log_prior - off_ms / meaning.scale_ms - math.log(meaning.scale_ms)
        error_ms = elapsed_ms - reading.time_ms - meaning.clocks * reading.period_ms
        variance = self._expected(reading, meaning)
        return meaning.log_prior - 0.5 * (error_ms * error_ms / variance + math.log(variance)) - LOG_ROOT_TAU

    def _jitter(self, reading: Reading, meaning: Meaning = STEADY) -> float:
        jitter = max(reading.jitter, MIN_JITTER_MS**2, self.quantum_ms**2 / 12)
        if meaning.jitter:
            return max(jitter, min((meaning.jitter * reading.period_ms) ** 2, MAX_JITTER_MS**2))
        return jitter

    def _expected(self, reading: Reading, meaning: Meaning) -> float:
        """The variance that is expected of an arrival's lateness."""
        return self._predicted(reading, meaning)[0] + self._jitter(reading, meaning)

    def _predicted(self, reading: Reading, meaning: Meaning) -> tuple[float, float, float]:
        """The variance of the time, the covariance and the variance of the period at the clock that comes."""
        n, period_ms = meaning.clocks, reading.period_ms
        wander = TEMPO_WANDER * TEMPO_WANDER * 1e-3 * period_ms**3 * n
        period_variance = reading.period_variance + wander + (meaning.period_doubt * period_ms) ** 2
        covariance = reading.covariance + n * period_variance
        time_variance = reading.time_variance + n * (reading.covariance + covariance)
        return time_variance + (meaning.phase_doubt * period_ms) ** 2, covariance, period_variance

    def _extended(self, reading: Reading, meaning: Meaning, elapsed_ms: float, log_weight: float) -> Reading:
        """The reading after this arrival."""
        n = meaning.clocks
        if n == 0:
            return replace(reading, time_ms=reading.time_ms - elapsed_ms, log_weight=log_weight)
        has_queue = meaning.scale_ms > 0 or elapsed_ms - reading.time_ms > LONG_INTERVAL * reading.period_ms
        time_variance, covariance, period_variance = self._predicted(reading, meaning)
        period_ms = reading.period_ms
        time_ms = reading.time_ms + n * period_ms - elapsed_ms
        jitter_age = 1 if meaning.is_break or meaning.jitter else reading.jitter_age + 1
        jitter, residual_ms = self._jitter(reading, meaning), reading.residual_ms
        if not meaning.scale_ms:
            error_ms = -time_ms
            gain = time_variance / (time_variance + jitter)
            period_gain = covariance / (time_variance + jitter)
            time_ms += gain * error_ms
            period_ms = max(period_ms + period_gain * error_ms, self._min_period_ms)
            period_variance -= period_gain * covariance
            covariance *= 1 - gain
            time_variance *= 1 - gain
            # From one error to the next, because all of them being late is no jitter.
            scatter = 0.5 * (error_ms - reading.residual_ms) ** 2 * (1 - gain)
            residual_ms = -time_ms
            share = max(JITTER_MEMORY, 1 / (reading.jitter_age + 8))
            jitter = min((1 - share) * jitter + share * scatter, MAX_JITTER_MS**2)
        return Reading(
            reading.count + n,
            time_ms,
            period_ms,
            time_variance,
            covariance,
            period_variance,
            jitter,
            residual_ms,
            1 if meaning.is_break else reading.age + 1,
            meaning if meaning.is_break else reading.since,
            jitter_age,
            has_queue,
            reading.lost + n - 1,
            log_weight,
        )

    def _restarted(self, reading: Reading) -> Reading:
        """The next clock, due at this arrival, at the old tempo."""
        return Reading(
            reading.count + 1,
            0.0,
            reading.period_ms,
            self._jitter(reading),
            0.0,
            reading.period_variance,
            self._jitter(reading),
            lost=reading.lost,
        )
