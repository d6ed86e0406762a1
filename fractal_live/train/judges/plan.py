"""Does it play what is asked? Plans and harmonies of real songs, and drawn ones, against what sounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fractal_live.music.excerpt import FloatArray
from fractal_live.music.notes import Bar
from fractal_live.music.plan import COLUMN, PlanTable, unknown_plan
from fractal_live.music.request import Generator
from fractal_live.train.corpus import Song
from fractal_live.train.judges.asked import Pairs, adherence, deciles, harmony_of, measured
from fractal_live.train.judges.pictures import draw_scatter
from fractal_live.train.judges.playing import Wish, play
from fractal_live.train.judges.real import pieces
from fractal_live.train.judges.report import Goal, Line, Report, at_least, at_most, padded
from fractal_live.train.judges.trial import JudgeError, Trial

JUDGED = ("density", "polyphony", "duration", "register", "loudness")
"""Tempo is left out: a bar's tempo is the plan's, nothing is played that could differ."""

GUIDANCE = (1.0, 1.5, 2.5)
PAST_BARS = 8
DRAWN_BARS = 32

DENSITY_GOALS = {
    "r": at_least(0.95, 0.97),
    "within_r": at_least(0.88, 0.92),
    "mae": at_most(2.0, 1.5),
    "decile": at_least(None, 0.50),
    "decile_near": at_least(None, 0.90),
}
OTHER_GOALS = {"r": at_least(0.85, 0.93)}
CHROMA_GOAL = at_least(0.85, 0.93)
STRICTER_GOAL = at_most(1.0, 0.95)


def plan(generator: Generator, songs: Sequence[Song], trial: Trial) -> Report:
    """Judges plans of so many stretches of held-out songs, given whole and an attribute at a time, with guidance,
    and going on from a real past; and drawn density curves. Raises JudgeError without stretches long enough."""
    real = pieces(songs, trial.bars, trial.pieces)
    if len(real) < 2 or trial.bars <= PAST_BARS:
        raise JudgeError(
            f"the plan judge needs two runs of {trial.bars} full 4/4 bars, more than {PAST_BARS} each; "
            f"there are {len(real)}: give more songs or other --bars"
        )
    asking = _Asking(generator, real, trial)
    guided = {scale: asking.whole(scale) for scale in GUIDANCE}
    harmony = {scale: asking.harmony(scale) for scale in GUIDANCE}
    alone = {name: asking.alone(name) for name in JUDGED}
    past = asking.after_a_past()
    drawn = {name: asking.drawn(name, curve) for name, curve in drawn_densities().items()}
    lines = [
        *(line for name in JUDGED for line in _attribute_lines("all", name, list(guided.values()))),
        *(line for name in JUDGED for line in _attribute_lines("alone", name, [alone[name]])),
        *(line for name in JUDGED for line in _attribute_lines("past", name, [past])),
        *_drawn_lines(drawn),
        Line("all: chroma cosine", tuple(found.chroma_cosine() for found in guided.values()), CHROMA_GOAL),
        Line("alone: chroma cosine", tuple(found.chroma_cosine() for found in harmony.values()), CHROMA_GOAL),
        Line("past: chroma cosine", (past.chroma_cosine(),), CHROMA_GOAL),
        *_guidance_lines(guided, harmony, real),
    ]
    if trial.plots is not None:
        _draw("plan-all", guided[1.0], JUDGED, trial)
        _draw("plan-drawn", _joined(list(drawn.values())), JUDGED[:1], trial)
    return Report(
        "plan",
        f"{len(real)} stretches of {trial.bars} bars of held-out songs",
        tuple(f"cfg {scale:g}" for scale in GUIDANCE),
        padded(lines, len(GUIDANCE)),
        (
            "all: whole plan and harmony given; alone: one thing given; past: all given after 8 real bars",
            "within_r: after each piece's own mean is taken off; decile: hits among the deciles of what was asked",
        ),
    )


def plays(stretches: int) -> int:
    """How many pieces are played when so many stretches are judged: what a progress bar needs."""
    return stretches * (2 * len(GUIDANCE) + len(JUDGED) + 1) + len(drawn_densities())


def drawn_densities() -> dict[str, FloatArray]:
    """Curves of onsets per bar that no song has, over 32 bars."""
    place = np.arange(DRAWN_BARS)
    curves = {
        "ramp": np.linspace(0, 40, DRAWN_BARS),
        "step": np.where(place < DRAWN_BARS // 2, 6.0, 32.0),
        "sine": 20 + 15 * np.sin(2 * np.pi * place / 16),
        "silence": np.where(place // 8 % 2 == 1, 0.0, 20.0),
    }
    return curves | {f"held {level}": np.full(DRAWN_BARS, float(level)) for level in (0, 10, 20, 30, 40)}


class _Asking:
    """Asks a generator for pieces in several ways and pairs what was asked with what came."""

    def __init__(self, generator: Generator, real: Sequence[Sequence[Bar]], trial: Trial) -> None:
        self.generator = generator
        self.trial = trial
        self.real = [(measured(bars), harmony_of(bars), bars) for bars in real]

    def _hear(
        self, found: Pairs, name: str, place: int, asked: PlanTable, wish: Wish, cfg_scale: float | None = None
    ) -> None:
        seed = self.trial.seed + place
        sampling = self.trial.sampling
        sampling = sampling if cfg_scale is None else replace(sampling, cfg_scale=cfg_scale)
        bars = play(self.generator, len(asked), seed, sampling, wish)
        self.trial.heard(bars, f"plan-{name}-{seed:06d}")
        found.hear(asked, wish.chroma, bars)

    def whole(self, cfg_scale: float) -> Pairs:
        """Every attribute and the harmony given."""
        found = Pairs()
        for place, (table, chroma, _) in enumerate(self.real):
            self._hear(found, f"all-cfg-{cfg_scale:g}", place, table, Wish(table, chroma), cfg_scale)
        return found

    def harmony(self, cfg_scale: float) -> Pairs:
        """Nothing but the harmony given."""
        found = Pairs()
        for place, (table, chroma, _) in enumerate(self.real):
            self._hear(found, f"chroma-cfg-{cfg_scale:g}", place, table, Wish(None, chroma), cfg_scale)
        return found

    def alone(self, attribute: str) -> Pairs:
        """One attribute given, the others imagined."""
        found = Pairs()
        for place, (table, _, _) in enumerate(self.real):
            self._hear(found, f"alone-{attribute}", place, table, Wish(_only(table, attribute)))
        return found

    def after_a_past(self) -> Pairs:
        """The song's first bars stand as what was played; plan and harmony of the others are given."""
        found = Pairs()
        for place, (table, chroma, bars) in enumerate(self.real):
            wish = Wish(table[PAST_BARS:], chroma[PAST_BARS:], bars[:PAST_BARS])
            self._hear(found, "past", place, table[PAST_BARS:], wish)
        return found

    def drawn(self, name: str, density: FloatArray) -> Pairs:
        """A density curve given, the rest imagined."""
        table = unknown_plan(len(density))
        table[:, COLUMN["density"]] = density
        found = Pairs()
        self._hear(found, f"drawn-{name.replace(' ', '-')}", 0, table, Wish(table))
        return found


def _only(table: PlanTable, attribute: str) -> PlanTable:
    given = unknown_plan(len(table))
    given[:, COLUMN[attribute]] = table[:, COLUMN[attribute]]
    return given


def _joined(many: Sequence[Pairs]) -> Pairs:
    joined = Pairs()
    for found in many:
        joined.asked += found.asked
        joined.played += found.played
    return joined


def _attribute_lines(group: str, attribute: str, columns: Sequence[Pairs]) -> list[Line]:
    goals: dict[str, Goal] = DENSITY_GOALS if attribute == "density" else OTHER_GOALS
    found = [adherence(pairs, attribute) for pairs in columns]
    if attribute == "density":
        found = [figures | deciles(pairs, attribute) for figures, pairs in zip(found, columns, strict=True)]
    return [
        Line(f"{group}: {attribute} {name}", tuple(figures[name] for figures in found), goals.get(name))
        for name in found[0]
    ]


def _drawn_lines(drawn: dict[str, Pairs]) -> list[Line]:
    together = adherence(_joined(list(drawn.values())), "density")
    lines = [Line(f"drawn: density {name}", (together[name],), DENSITY_GOALS[name]) for name in ("r", "mae")]
    lines += [Line(f"drawn {name}: mae", (adherence(found, "density")["mae"],)) for name, found in drawn.items()]
    asked, played = (np.concatenate(part) for part in drawn["silence"].columns("density"))
    return [
        *lines,
        Line("drawn silence: share of silent bars that sound", (float((played[asked == 0] > 0).mean()),), at_most(0.0)),
    ]


def _guidance_lines(
    guided: dict[float, Pairs], harmony: dict[float, Pairs], real: Sequence[Sequence[Bar]]
) -> list[Line]:
    """Whether more guidance obeys better: plan errors in the songs' own spread, and the harmony's distance."""
    rows = np.concatenate([measured(bars) for bars in real])
    spread = {name: float(max(np.nanstd(rows[:, COLUMN[name]]), 1e-6)) for name in JUDGED}
    errors = [float(found.errors(spread).mean()) for found in guided.values()]
    missed = [1 - found.chroma_cosine() for found in harmony.values()]
    lines = [Line("guidance: plan error in sd", tuple(errors))]
    for name, found in (("plan error", errors), ("chroma missed", missed)):
        for scale, value in zip(GUIDANCE[1:], found[1:], strict=True):
            ratio = value / found[0] if found[0] else 1.0
            lines.append(Line(f"guidance: {name}, cfg {scale:g} over {GUIDANCE[0]:g}", (ratio,), STRICTER_GOAL))
    return lines


def _draw(name: str, found: Pairs, attributes: Sequence[str], trial: Trial) -> None:
    assert trial.plots is not None, "only called where pictures are wanted"
    columns = {attribute: found.columns(attribute) for attribute in attributes}
    asked = {attribute: np.concatenate(pair[0]) for attribute, pair in columns.items()}
    draw_scatter(asked, {name: np.concatenate(pair[1]) for name, pair in columns.items()}, trial.plots, name)
