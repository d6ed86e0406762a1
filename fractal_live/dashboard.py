"""The terminal's view of the show: one state in, one frame of text out, never taller than the terminal.

Reads nothing by itself and decides nothing.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from fractal_live.live.controls import BY_NAME, CONTROLS
from fractal_live.live.snapshot import ControlSnapshot
from fractal_live.music.meter import FOUR_FOUR, PPQN, TICKS_PER_STEP, Meter
from fractal_live.music.notes import Bar
from fractal_live.music.plan import ATTRIBUTES, PLAN_BARS, PlanTable
from fractal_live.piano_roll import piano_roll

UPDATES_PER_SECOND = 8
SPARKS = "▁▂▃▄▅▆▇█"
UNKNOWN = "-"
ERRORS_SHOWN = 2
CLOSE_S = 0.5


@dataclass(frozen=True, slots=True)
class DashboardState:
    """Everything that is shown; None means not known yet. `tick` is the transport's position, `peers` are the others
    in a Link session. `plan` is (32, 6) from the playing bar on, `given` marks by numbers what of it the performer
    holds (NaN elsewhere). `bars` are the playing one and those that come, in order. `errors`: newest last.
    `loop_bars`: so many go round (0: none). `is_spared`: the model is slower than the music and asked for less."""

    title: str = ""
    sync: str = "midi"
    peers: int = 0
    is_rolling: bool = False
    is_locked: bool = False
    tempo_bpm: float | None = None
    meter: Meter = FOUR_FOUR
    tick: int = 0
    plan: PlanTable | None = None
    given: PlanTable | None = None
    bars: tuple[Bar, ...] = ()
    controls: ControlSnapshot | None = None
    lead_bars: int | None = None
    loop_bars: int = 0
    generation_ms: float | None = None
    lateness_p50_ns: int | None = None
    lateness_p99_ns: int | None = None
    lateness_max_ns: int | None = None
    underruns: int = 0
    xruns: int = 0
    is_spared: bool = False
    sounding: int = 0
    osc_messages: int = 0
    osc_refused: int = 0
    osc_last: str = ""
    device: str = ""
    checkpoint: str = ""
    output_port: str = ""
    input_port: str = ""
    osc_port: str = ""
    recording: str = ""
    errors: tuple[str, ...] = ()


def render(state: DashboardState, width: int, height: int) -> Text:
    """One frame of at most `height` lines and `width` columns. Never raises: a state that cannot be shown
    is a frame that says so."""
    try:
        lines = _lines(state, max(1, width), max(1, height))
    except Exception as error:
        # The show goes on behind a broken picture; the daemon must not see this.
        lines = [Text(f"the dashboard cannot show this state: {type(error).__name__}", style="red")]
    for line in lines:
        line.truncate(max(1, width), overflow="crop")
    return Text("\n", no_wrap=True, overflow="crop", end="").join(lines[: max(1, height)])


def _lines(state: DashboardState, width: int, height: int) -> list[Text]:
    above = [_title(state), _transport(state), *_plan(state, width)]
    below = [
        *_health(state),
        *_controls(state.controls, width),
        _osc(state),
        _machine(state),
        *_errors(state.errors),
    ]
    room = height - len(above) - len(below)
    return above + _piano_roll(state, width, max(0, room)) + below


def _title(state: DashboardState) -> Text:
    return _line(
        (" fractal-live ", "bold reverse"),
        (f"  {_clean(state.title)}", "bold"),
        (f"   recording {_clean(state.recording)}" if state.recording else "   not recording", "dim"),
    )


def _transport(state: DashboardState) -> Text:
    bar_index, tick = state.meter.bar_at(state.tick)
    beat = tick // PPQN
    beats = max(1, math.ceil(state.meter.ticks_per_bar / PPQN))
    dots = "".join("●" if place == beat and state.is_rolling else "○" for place in range(min(beats, 16)))
    lead = "own tempo" if state.sync == "internal" else "locked" if state.is_locked else "not locked"
    if state.sync == "link" and state.is_locked:
        lead = "1 peer" if state.peers == 1 else f"{state.peers} peers"
    return _line(
        (" ▶ playing  " if state.is_rolling else " ■ stopped  ", "bold green" if state.is_rolling else "bold yellow"),
        (f"bar {bar_index + 1}.{beat + 1}  {dots}  ", "bold"),
        f"{_number(state.tempo_bpm, 2)} bpm ",
        (lead, "green" if state.is_locked or state.sync == "internal" else "yellow"),
        (f"  {state.meter}  {_leader(state)}", "dim"),
    )


def _leader(state: DashboardState) -> str:
    """Who leads; while nothing rolls, what the performer can do to make it."""
    if not state.is_rolling and state.lead_bars:
        ready = {"midi": "ready: press play in the DAW", "osc": "ready: /fractal/trigger/bar"}
        ready["link"] = "ready: press play in a Link peer that shares Start/Stop, or /fractal/transport/start"
        return ready.get(state.sync, "ready")
    return f"led by {_clean(state.sync)}"


def _plan(state: DashboardState, width: int) -> list[Text]:
    plan, given = _table(state.plan), _table(state.given)
    lines = []
    for column, attribute in enumerate(ATTRIBUTES):
        line = _line((f" {attribute.name:<10}", "dim"), f"{_number(plan[0, column], 1):>6} ")
        for value, held in zip(plan[:, column].tolist(), given[:, column].tolist(), strict=True):
            line.append(spark(value, attribute.low, attribute.high), "cyan" if math.isnan(held) else "bold yellow")
        if width >= 72:
            line.append(f"  {attribute.low:g} to {attribute.high:g} {attribute.unit}", "dim")
        lines.append(line)
    return lines


def spark(value: float, low: float, high: float) -> str:
    """One block character for a value in a range; a dot for what is not known."""
    if math.isnan(value):
        return "·"
    share = min(max((value - low) / (high - low), 0.0), 1.0)
    return SPARKS[min(int(share * len(SPARKS)), len(SPARKS) - 1)]


def _piano_roll(state: DashboardState, width: int, rows: int) -> list[Text]:
    playhead = state.meter.bar_at(state.tick)[1] // TICKS_PER_STEP if state.bars and state.is_rolling else None
    return piano_roll(state.bars, playhead, width, rows)


def _withheld(state: DashboardState) -> str:
    """Why something does not change, or is not heard: forgotten, it looks like a fault."""
    said = [f"loop of {state.loop_bars} bars"] if state.loop_bars else []
    if state.controls is not None:
        for name, splits in (("muted", state.controls.dress.muted), ("solo", state.controls.dress.soloed)):
            if splits:
                said.append(f"{name} {' '.join(str(split + 1) for split in sorted(splits))}")
    return "".join(f"   {text}" for text in said)


def _health(state: DashboardState) -> list[Text]:
    wanted = UNKNOWN if state.controls is None else str(state.controls.lead_bars)
    lead = UNKNOWN if state.lead_bars is None else str(state.lead_bars)
    late = [_number(_milliseconds(ns), 2) for ns in (state.lateness_p50_ns, state.lateness_p99_ns)]
    return [
        _line(
            (" lead ", "dim"),
            f"{lead} of {wanted} bars",
            ("   a bar takes ", "dim"),
            f"{_number(state.generation_ms, 0)} ms",
            ("   underruns ", "dim"),
            (str(state.underruns), "bold red" if state.underruns else "green"),
            ("   sounding ", "dim"),
            str(state.sounding),
            (_withheld(state), "bold yellow"),
        ),
        _line(
            (" lateness ", "dim"),
            f"p50 {late[0]}  p99 {late[1]}  max {_number(_milliseconds(state.lateness_max_ns), 2)} ms",
            ("   xruns ", "dim") if state.xruns else "",
            (str(state.xruns), "bold yellow") if state.xruns else "",
            ("   slow model: asked for less", "bold yellow") if state.is_spared else "",
        ),
    ]


def _controls(snapshot: ControlSnapshot | None, width: int) -> list[Text]:
    """Two lines of values, changed ones bright, and the latent."""
    shown = _control_values(snapshot)
    lines = [_line(" "), _line(" ")]
    place = 0
    for name, value in shown.items():
        entry = f"{name} {UNKNOWN if value is None else f'{value:.4g}'}  "
        if place == 0 and len(lines[0]) + len(entry) > width:
            place = 1
        lines[place].append(entry, "bold yellow" if value not in (None, BY_NAME[name].default) else "dim")
    latent = _line((" latent ", "dim"))
    dims = snapshot.latent if snapshot is not None else ()
    latent.append("".join(spark(value, BY_NAME["latent"].low, BY_NAME["latent"].high) for value in dims) or UNKNOWN)
    latent.append(f"  gain {_number(None if snapshot is None else snapshot.latent_gain, 2)}", "dim")
    if snapshot is not None:
        latent.append(f"   seed {snapshot.cycle_seed}  rerolls {snapshot.rerolls}", "dim")
    return [*lines, latent]


def _control_values(snapshot: ControlSnapshot | None) -> dict[str, float | None]:
    """What is always shown, and of the rest what was moved."""
    names = [control.name for control in CONTROLS if control.group == "param"]
    if snapshot is None:
        return dict.fromkeys(names)
    values: dict[str, float | None] = {name: _value_of(name, snapshot) for name in names}
    for control in CONTROLS:
        if control.group == "sound" and control.name not in values and control.default is not None:
            value = _value_of(control.name, snapshot)
            if value != control.default:
                values[control.name] = value
    return values


def _value_of(name: str, snapshot: ControlSnapshot) -> float:
    """A control's number, wherever in the snapshot it stands."""
    if name == "cfg":
        return snapshot.sampling.cfg_scale
    holders = (snapshot.sampling, snapshot, snapshot.dress)
    return next((float(getattr(holder, name)) for holder in holders if hasattr(holder, name)), math.nan)


def _osc(state: DashboardState) -> Text:
    return _line(
        (" osc ", "dim"),
        f"{_clean(state.osc_port) or UNKNOWN}  {state.osc_messages} messages, ",
        (f"{state.osc_refused} refused", "yellow" if state.osc_refused else "dim"),
        (f"  {_clean(state.osc_last) or 'none yet'}", "cyan"),
    )


def _machine(state: DashboardState) -> Text:
    return _line(
        (" model ", "dim"),
        f"{_clean(state.checkpoint) or UNKNOWN} on {_clean(state.device) or UNKNOWN}",
        ("   out ", "dim"),
        _clean(state.output_port) or UNKNOWN,
        ("   in ", "dim"),
        _clean(state.input_port) or UNKNOWN,
    )


def _errors(errors: Sequence[str]) -> list[Text]:
    newest = list(errors)[-ERRORS_SHOWN:]
    lines = [_line((f" {_clean(error)}", "red")) for error in newest]
    return lines + [Text(" ")] * (ERRORS_SHOWN - len(lines))


def _line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="crop", end="")


def _clean(text: str) -> str:
    """Text from outside without what would move the cursor, bounded."""
    return "".join(character if character.isprintable() else "?" for character in str(text)[:200])


def _number(value: float | None, digits: int) -> str:
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.1e}"


def _milliseconds(ns: int | None) -> float | None:
    return None if ns is None else ns / 1e6


def _table(plan: PlanTable | None) -> PlanTable:
    """(32, 6) float32, filled up with NaN."""
    table = np.full((PLAN_BARS, len(ATTRIBUTES)), np.nan, dtype=np.float32)
    if plan is not None and plan.ndim == 2 and plan.shape[1] == len(ATTRIBUTES):
        table[: len(plan)] = plan[:PLAN_BARS]
    return table


class Dashboard:
    """The frames on the terminal's alternate screen, from `with` to its end. The daemon's loop calls
    `update` about UPDATES_PER_SECOND times a second; a terminal that fails ends the picture, not the show.

    A thread draws, because a terminal can block (Ctrl-S, a selection with the mouse) and the loop must not."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        # Left alone, rich ends the process when its terminal goes away.
        self._console.on_broken_pipe = _raise_again  # type: ignore[method-assign]
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self.is_showing = False
        self._newest: DashboardState | None = None
        self._has_news = threading.Event()
        self._drawer = threading.Thread(target=self._draw, name="dashboard", daemon=True)

    def __enter__(self) -> Dashboard:
        self._live.__enter__()
        self.is_showing = True
        self._drawer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_showing = False
        self._has_news.set()
        self._drawer.join(CLOSE_S)  # no longer: it may wait for a blocked terminal

    def update(self, state: DashboardState) -> None:
        """Has a frame drawn in the terminal's present size; of several waiting ones the newest. Never
        raises, never waits."""
        if self.is_showing:
            self._newest = state
            self._has_news.set()

    def _draw(self) -> None:
        """The thread: frames as they come, and at last the terminal as it was."""
        while self._has_news.wait() and self.is_showing:
            self._has_news.clear()
            state = self._newest
            if state is None:
                continue
            try:
                width, height = self._console.size
                self._live.update(render(state, width, height), refresh=True)
            except Exception:
                # A closed terminal: nobody sees the picture, everybody hears the music.
                self.is_showing = False
        with contextlib.suppress(Exception):
            self._live.__exit__(None, None, None)


def _raise_again() -> None:
    """To be called while an exception is handled."""
    raise


def svg_of(state: DashboardState, width: int = 80, height: int = 24) -> str:
    """One frame as an SVG picture that refers to no outside font."""
    console = Console(record=True, width=width, height=height, file=io.StringIO(), force_terminal=True)
    console.print(render(state, width, height))
    return re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="fractal-live run"), flags=re.DOTALL)
