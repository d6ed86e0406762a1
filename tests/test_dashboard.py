import io
import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from fractal_live.dashboard import Dashboard, DashboardState, render, spark, svg_of
from fractal_live.live.controls import CONTROLS, Controls
from fractal_live.music.meter import FOUR_FOUR, PPQN, Meter
from fractal_live.music.notes import Bar, Note
from fractal_live.music.plan import ATTRIBUTES
from fractal_live.piano_roll import piano_roll

BAR = FOUR_FOUR.ticks_per_bar


def printed(state: DashboardState, width: int = 80, height: int = 24) -> list[str]:
    """The lines a terminal of that size gets, through rich as in the show."""
    out = io.StringIO()
    Console(file=out, width=width, height=height, color_system=None, legacy_windows=False).print(
        render(state, width, height)
    )
    return out.getvalue().splitlines()


def playing() -> DashboardState:
    controls = Controls()
    controls.apply("/fractal/param/temperature", [0.5])
    controls.apply("/fractal/latent/level0", [4.0, -4.0])
    plan = np.tile(np.array([attribute.high for attribute in ATTRIBUTES], dtype=np.float32), (32, 1))
    return DashboardState(
        title="Nocturne",
        is_rolling=True,
        is_locked=True,
        tempo_bpm=119.987,
        tick=12 * BAR + PPQN + 7,
        plan=plan,
        bars=(Bar(12, (Note(0, 60, BAR // 4, 80), Note(BAR // 2, 72, BAR, 80))), Bar(13, (Note(0, 64, 120, 80),))),
        controls=controls.snapshot,
        lead_bars=1,
        generation_ms=83.4,
        lateness_p50_ns=20_000,
        lateness_p99_ns=400_000,
        lateness_max_ns=1_500_000,
        underruns=3,
        xruns=2,
        is_spared=True,
        sounding=5,
        osc_messages=100,
        osc_refused=2,
        osc_last="/fractal/panic",
        device="cpu",
        checkpoint="default",
        output_port="out-port",
        input_port="in-port",
        osc_port="127.0.0.1:5005",
        recording="set.mid",
        errors=("old", "first error", "second error"),
    )


HUGE = replace(
    playing(),
    title="é" * 500,
    tempo_bpm=1e300,
    tick=2**62,
    generation_ms=math.inf,
    lateness_max_ns=10**30,
    underruns=10**40,
    sounding=-1,
    plan=np.full((5, 6), np.nan, dtype=np.float32),
    given=np.zeros((64, 6), dtype=np.float32),
    bars=tuple(Bar(i, tuple(Note(0, pitch, 10**9, 127) for pitch in range(128))) for i in range(40)),
    osc_last="\x1b[2J\nhidden\x07" * 100,
    errors=("日本語" * 100, "two\nlines"),
)
STATES = {
    "empty": DashboardState(),
    "playing": playing(),
    "huge": HUGE,
    "backwards": replace(playing(), tick=-5, meter=Meter(7, 8), tempo_bpm=math.nan),
    "long meter": replace(playing(), meter=Meter(64, 16), bars=(Bar(0, meter=Meter(64, 16)),)),
    "wrong plan": replace(playing(), plan=np.zeros((0, 3), dtype=np.float32)),
    "nonsense": replace(playing(), bars=(None,), errors=(None,), tick=None),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60), (40, 10), (1, 1), (79, 23), (0, 0)])
def test_every_state_fits_every_terminal(name: str, width: int, height: int) -> None:
    frame = render(STATES[name], width, height)
    lines = frame.split("\n")
    assert len(lines) <= max(1, height)
    assert all(line.cell_len <= max(1, width) for line in lines)


@pytest.mark.parametrize("name", [name for name in STATES if name != "nonsense"])
def test_eighty_by_twenty_four_is_filled_exactly(name: str) -> None:
    assert len(printed(STATES[name])) == 24


def test_a_taller_terminal_gives_the_room_to_the_piano_roll() -> None:
    assert len(printed(playing(), 100, 50)) == 50


def test_everything_the_performer_needs_is_readable_at_80_by_24() -> None:
    text = "\n".join(printed(playing()))
    for part in (
        "Nocturne",
        "playing",
        "bar 13.2",
        "○●○○",
        "119.99 bpm",
        "locked",
        "led by midi",
        "1 of 2 bars",
        "a bar takes 83 ms",
        "underruns 3",
        "sounding 5",
        "p50 0.02  p99 0.40  max 1.50 ms   xruns 2",
        "slow model: asked for less",
        "temperature 0.5",
        "latent █▁",
        "gain 1.00",
        "127.0.0.1:5005  100 messages, 2 refused  /fractal/panic",
        "default on cpu",
        "out-port",
        "in-port",
        "set.mid",
        "first error",
        "second error",
        *(f" {attribute.name} " for attribute in ATTRIBUTES),
        *(f"{control.name} " for control in CONTROLS if control.group == "param"),
    ):
        assert part in text, part


def test_what_is_not_known_is_shown_as_such_and_not_as_zero() -> None:
    text = "\n".join(printed(DashboardState()))
    assert "- bpm" in text and "p50 -  p99 -  max - ms" in text and "·" * 32 in text


def test_text_from_outside_cannot_move_the_cursor() -> None:
    assert all(character.isprintable() for line in printed(HUGE) for character in line)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "▁"), (1.0, "█"), (0.5, "▅"), (-9.0, "▁"), (9.0, "█"), (math.nan, "·"), (math.inf, "█")],
)
def test_a_spark_shows_the_share_of_the_range(value: float, shown: str) -> None:
    assert spark(value, 0, 1) == shown


def test_held_cells_of_the_plan_look_different_from_imagined_ones() -> None:
    given = np.full((32, 6), np.nan, dtype=np.float32)
    given[0, 0] = 5
    frame = render(replace(playing(), given=given), 80, 24).split("\n")[2]
    styles = [str(span.style) for span in frame.spans]
    assert styles.count("bold yellow") == 1 and styles.count("cyan") == 31


def test_the_piano_roll_places_notes_by_step_and_pitch() -> None:
    bars = (Bar(0, (Note(0, 48, 480, 80), Note(480, 72, 240, 80))), Bar(1, (Note(0, 60, 120, 80),)))
    lines = [line.plain for line in piano_roll(bars, None, 40, 3)]
    assert lines == [
        "  C5     ▀▀          │                │ ",
        "                     │▄               │ ",
        "  C3 ▄▄▄▄            │                │ ",
    ]


def test_random_states_never_raise_and_never_overflow() -> None:
    rng = random.Random(11)
    odd: list[object] = [None, 0, -1, 10**30, 1e308, math.nan, -math.inf, "", "x" * 300, "\x00\x1b", (), True, object()]
    names = list(DashboardState.__dataclass_fields__)
    for _ in range(300):
        changes = {rng.choice(names): rng.choice(odd) for _ in range(rng.randint(1, 6))}
        frame = render(replace(playing(), **changes), 80, 24)  # type: ignore[arg-type]
        assert len(frame.split("\n")) <= 24


def test_the_dashboard_draws_on_the_alternate_screen_and_leaves_it() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=24, legacy_windows=False)
    with Dashboard(console) as dashboard:
        dashboard.update(playing())
        assert comes_true(lambda: "Nocturne" in out.getvalue())
    assert "\x1b[?1049h" in out.getvalue() and "\x1b[?1049l" in out.getvalue()
    drawn = len(out.getvalue())
    dashboard.update(playing())
    assert len(out.getvalue()) == drawn


def test_a_terminal_that_goes_away_ends_the_picture_and_not_the_show() -> None:
    class Gone(io.StringIO):
        is_gone = False

        def write(self, text: str) -> int:
            if self.is_gone:
                raise BrokenPipeError
            return super().write(text)

    out = Gone()
    dashboard = Dashboard(Console(file=out, force_terminal=True, width=80, height=24, legacy_windows=False))
    with dashboard:
        out.is_gone = True
        dashboard.update(playing())
        assert comes_true(lambda: not dashboard.is_showing)
        dashboard.update(playing())


def test_a_terminal_that_blocks_holds_up_neither_the_loop_nor_the_end() -> None:
    """Ctrl-S once stopped the daemon's loop, so that the stage heard no pings and left: silence."""
    is_free = threading.Event()

    class Blocked(io.StringIO):
        is_blocked = False

        def write(self, text: str) -> int:
            if self.is_blocked:
                is_free.wait(10)
            return super().write(text)

    out = Blocked()
    began = time.monotonic()
    with Dashboard(Console(file=out, force_terminal=True, width=80, height=24, legacy_windows=False)) as dashboard:
        out.is_blocked = True
        for _ in range(5):
            dashboard.update(playing())
    assert time.monotonic() - began < 5
    is_free.set()


def comes_true(claim: Callable[[], bool], limit_s: float = 5.0) -> bool:
    """The dashboard draws in a thread of its own."""
    deadline = time.monotonic() + limit_s
    while not claim() and time.monotonic() < deadline:
        time.sleep(0.01)
    return claim()


def test_the_picture_is_valid_and_needs_nothing_from_outside() -> None:
    svg = svg_of(playing())
    ElementTree.fromstring(svg)
    assert "font-face" not in svg and "url(http" not in svg
    assert svg == svg_of(playing())


def test_a_loop_and_silenced_parts_are_seen_before_they_are_forgotten() -> None:
    controls = Controls()
    controls.apply("/fractal/split/2/mute", [1])
    controls.apply("/fractal/split/1/solo", [1])
    shown = render(DashboardState(loop_bars=4, controls=controls.snapshot), 120, 40).plain
    assert "loop of 4 bars   muted 2   solo 1" in shown
    plain = render(DashboardState(controls=Controls().snapshot), 120, 40).plain
    assert "loop of" not in plain and "muted" not in plain
