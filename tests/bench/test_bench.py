"""The commands on real processes, as short as can be: every figure is there, and the figures fit each other."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fractal_live.bench.machine import command_of
from fractal_live.cli import app
from tests import jack
from tests.baselines.small import needs_miditok, small_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def typed(*arguments: str) -> dict[str, Any]:
    """The figures that a command prints last, after its table."""
    done = CliRunner().invoke(app, ["bench", *arguments, "--json"], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    *shown, last = done.stdout.splitlines()
    assert any("┃" in line for line in shown), "a table for people"
    figures: dict[str, Any] = json.loads(last)
    return figures


def is_spread(value: dict[str, float]) -> bool:
    return value["p50"] <= value["p99"] <= value["max"]


@contextlib.contextmanager
def a_port_if_there_can_be_one() -> Iterator[str]:
    """The MIDI system to name on the command line."""
    if jack.missing():
        yield "none"
        return
    with jack.jack_server(f"fractal-bench-{os.getpid()}"):
        yield "jack"


def our_children() -> set[int]:
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    children = {int(pid) for pid in listed.read_text().split()} if listed.exists() else set()
    return {pid for pid in children if "multiprocessing.spawn" in command_of(pid)}


@pytest.mark.ports
def test_timing_measures_what_is_sent_and_what_is_heard_on_both_sides_of_one_port() -> None:
    before = our_children()
    with a_port_if_there_can_be_one() as api:
        figures = typed("timing", "--seconds", "2", "--repeats", "1", "--midi-api", api)
    assert set(figures) >= {
        *("send_ms", "arrival_ms", "asyncio_with_torch_ms", "isobar_ms", "ratio_p99", "ratio_max"),
        *("priority", "pressure", "port", "seconds"),
    }
    assert is_spread(figures["send_ms"]) and is_spread(figures["asyncio_with_torch_ms"])
    assert figures["ratio_p99"] == pytest.approx(
        figures["asyncio_with_torch_ms"]["p99"] / figures["send_ms"]["p99"], abs=0.01
    )
    # 24 steps in 2 s at 180 bpm: 6 chords of 4 and 18 single notes, each with its end.
    assert figures["sent"]["asyncio"] == 2 * (6 * 4 + 18)
    assert figures["sent"]["ours"] >= figures["sent"]["asyncio"] - 2 * 7, "less the empty first beat"
    if api == "none":
        assert figures["port"] == "no port"
        assert figures["arrival_ms"] == {"p50": None, "p99": None, "max": None}
    else:
        assert "fractal-ear" in figures["port"]
        assert is_spread(figures["arrival_ms"])
        assert -5 < figures["arrival_ms"]["p50"] < 500, "what is heard belongs to the note that was due then"
    assert our_children() <= before


def test_a_soak_plays_through_the_death_of_the_model_and_leaves_nothing_open() -> None:
    before = our_children()
    figures = typed("soak", "--minutes", "0.12", "--faults", "model", "--sync", "internal", "--midi-api", "none")
    assert set(figures) >= {
        *("minutes", "bars", "silent_bars", "fallbacks", "open_notes", "crashes"),
        *("send_ms", "rss_growth_mb_per_hour"),
    }
    assert figures["accidents"] == {"model": 1}
    assert figures["minutes"] >= 0.12
    assert figures["bars"] >= 1 and figures["notes"] > 0
    assert (figures["open_notes"], figures["crashes"], figures["silent_bars"]) == (0, 0, 0)
    assert figures["fallbacks_after_accidents"] <= figures["fallbacks"] <= figures["bars"] + 2
    assert figures["sent"] >= figures["notes"]
    assert is_spread(figures["send_ms"])
    assert our_children() <= before


def test_bar_measures_request_to_notes_and_a_rival_beside_it(tmp_path: Path) -> None:
    needs_miditok()
    rival = small_checkpoint(tmp_path)
    figures = typed("bar", "--bars", "5", "--pieces", "1", "--against", str(rival))
    slowest_ms = max(figures[name]["p99"] for name in ("request_to_notes_ms", "overtaking_to_notes_ms"))
    assert figures["control_to_bar_line_ms"] == pytest.approx(slowest_ms + 40, abs=0.2)
    assert set(figures) >= {"request_to_notes_ms", "device", "bars", "bars_per_second", "piece_32_bars_s", "against"}
    for side in (figures, figures["against"]):
        assert is_spread(side["request_to_notes_ms"]) and is_spread(side["overtaking_to_notes_ms"])
        assert side["engine_ms"]["p50"] <= side["request_to_notes_ms"]["p50"], "the pipe takes time too"
        assert side["bars"] == 5
    assert figures["notes_per_bar"] > 0
    assert figures["parameters"] > figures["against"]["parameters"]
    assert figures["piece_32_bars_s"] > 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("soak", "--faults", "model,flood"), "--faults is 'flood'; allowed: model, stage, hang, clock, port, none"),
        (("soak", "--sync", "osc"), "--sync is 'osc'; allowed: auto, midi, internal"),
        (("bar", "--against", "nothing"), "nothing: neither a file nor shipped with the program"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_begins(options: tuple[str, ...], complaint: str) -> None:
    refused = CliRunner().invoke(app, ["bench", *options], env={"COLUMNS": "200"})
    assert refused.exit_code == 2
    assert refused.stderr.startswith(complaint)


def test_a_clock_leader_without_a_midi_system_is_refused() -> None:
    refused = CliRunner().invoke(app, ["bench", "soak", "--sync", "midi", "--midi-api", "none"], env={"COLUMNS": "200"})
    assert refused.exit_code == 1
    assert "no MIDI system answers" in refused.stderr
