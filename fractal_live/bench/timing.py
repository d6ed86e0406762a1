"""How late the stage sends while the model generates flat out, beside other ways to send, in turns on the same port.

Ours is the stage process itself, fed by this one as the daemon feeds it. The model process unfolds bar after bar
meanwhile; beside asyncio's sender the same model does so in the sender's own process, as one would write it first.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from fractal_live.bench import isobar_rival, score
from fractal_live.bench.companion import BenchError, Companion, companion
from fractal_live.bench.ear import ENTRY as EAR_ENTRY
from fractal_live.bench.ear import EarReady, EarSetup, Heard, Take
from fractal_live.bench.figures import Spread, median_spread, ratio, shown, spread, spread_of
from fractal_live.bench.generation import Generation
from fractal_live.bench.machine import cpu_pressure
from fractal_live.bench.rivals import ASYNCIO_ENTRY, ISOBAR_ENTRY, Play, Played, RivalReady, RivalSetup
from fractal_live.daemon import PING_S
from fractal_live.live.telemetry import lateness_of
from fractal_live.model_side import MODEL_START_S
from fractal_live.music.request import ModelSetup
from fractal_live.ports import pipes
from fractal_live.stage_side import STAGE_ENTRY, STAGE_START_S

LEAD_BARS = 4
ANSWER_S = 30.0
LAST_HEARD_S = 0.2  # what a MIDI system may still carry
NO_PORT = "no port"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TimingSettings:
    """`seconds` is how long each side plays in each repetition. `midi_api` as in StageSetup."""

    checkpoint: Path
    seconds: float = 20.0
    tempo_bpm: float = 180.0
    repeats: int = 3
    midi_api: str = "auto"
    device: str = "auto"
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Turn:
    """One side's repetition. `arrival` has nothing where there is no port; `bars` were generated meanwhile; of the
    note-ons that were sent, `lost` were not heard."""

    send: Spread
    arrival: Spread
    bars: int
    sent: int
    lost: int
    priority: str = ""


@dataclass(slots=True)
class _Stage:
    """What the stage said during a turn."""

    health: pipes.StageHealth | None = None
    positions: list[tuple[int, int]] = field(default_factory=list)  # (tick, time.monotonic_ns) while it rolled


def run_timing(settings: TimingSettings, tell: Progress = lambda text: None) -> dict[str, Any]:
    """The figures: every side plays `repeats` times, in turns. Raises BenchError."""
    return asyncio.run(_run(settings, tell))


async def _run(settings: TimingSettings, tell: Progress) -> dict[str, Any]:
    turns: dict[str, list[Turn]] = {"ours": [], "asyncio": [], "isobar": []}
    pressures: list[float | None] = []
    async with AsyncExitStack() as stack:
        tell("warming up the model, once in each process")
        ear = await stack.enter_async_context(companion("ear", EAR_ENTRY, EarSetup(settings.midi_api)))
        port = (await ear.expect(EarReady, ANSWER_S)).port
        generation = Generation(ModelSetup(str(settings.checkpoint), settings.device, settings.threads))
        stack.callback(generation.end)
        rivals = {"asyncio": ASYNCIO_ENTRY}
        if isobar_rival.is_installed():
            rivals["isobar"] = ISOBAR_ENTRY
        rival_setup = _rival_setup(settings, port)
        playing = {
            side: await stack.enter_async_context(companion(f"{side} rival", entry, rival_setup))
            for side, entry in rivals.items()
        }
        await generation.warm()
        for rival in playing.values():
            await rival.expect(RivalReady, MODEL_START_S)
        for repeat in range(settings.repeats):
            for side in ("ours", *playing):
                tell(f"repetition {repeat + 1} of {settings.repeats}: {side}")
                await _take(ear)  # forgets what came between the turns
                if side != "asyncio":
                    generation.start()
                bars = generation.bars
                if side == "ours":
                    turn = await _our_turn(settings, ear, port)
                else:
                    turn = await _their_turn(settings, ear, playing[side])
                generation.stop()
                generation.check()
                turns[side].append(replace(turn, bars=turn.bars + generation.bars - bars))
                pressures.append(cpu_pressure())
    return _figures(settings, turns, pressures, port)


def _rival_setup(settings: TimingSettings, port: str) -> RivalSetup:
    return RivalSetup(
        settings.tempo_bpm,
        settings.midi_api if port else "none",
        port or None,
        str(settings.checkpoint),
        settings.device,
        settings.threads,
    )


async def _our_turn(settings: TimingSettings, ear: Companion, port: str) -> Turn:
    setup = pipes.StageSetup(
        sync="internal",
        port_name="fractal-bench",
        midi_api=settings.midi_api if port else "none",
        connect=port or None,
        tempo_bpm=settings.tempo_bpm,
    )
    async with companion("stage", STAGE_ENTRY, setup, farewell=pipes.Shutdown()) as stage:
        ready = await stage.expect(pipes.StageReady, STAGE_START_S)
        for index in range(LEAD_BARS):
            stage.send(_offer(index))
        stage.send(pipes.TransportCommand("start"))
        said = await _listen(stage, settings.seconds)
    heard = await _take(ear)
    if said.health is None or not said.positions:
        raise BenchError("the stage said nothing of what it played; give it more seconds")
    earliest_ns, latest_ns = score.origin_ns(said.positions, settings.tempo_bpm)
    found = score.placed(heard, (earliest_ns + latest_ns) / 2, settings.tempo_bpm)
    return Turn(
        send=spread_of(lateness_of(said.health.lateness_bins, said.health.lateness_worst_ns)),
        arrival=spread([late_ns for _, late_ns in found]),
        bars=0,
        sent=said.health.sent,
        lost=score.lost([step for step, _ in found]),
        priority=ready.priority,
    )


async def _listen(stage: Companion, seconds: float) -> _Stage:
    """Feeds the stage as the daemon does and keeps what it says, until its health after so many seconds."""
    said = _Stage()
    end_s = time.monotonic() + seconds
    next_ping_s = 0.0
    while True:
        if time.monotonic() >= next_ping_s:
            stage.send(pipes.Ping())
            next_ping_s = time.monotonic() + PING_S
        message = await stage.receive(PING_S / 2)
        if isinstance(message, pipes.BarStarted):
            stage.send(_offer(message.bar.index + LEAD_BARS))
        elif isinstance(message, pipes.TransportState):
            if message.is_rolling and message.tick > 0:
                said.positions.append((message.tick, message.at_ns))
        elif isinstance(message, pipes.StageHealth):
            said.health = message
            if time.monotonic() >= end_s:
                return said


def _offer(index: int) -> pipes.PlayBar:
    return pipes.PlayBar(score.bar(index), 1, score.bar(index + 1))


async def _their_turn(settings: TimingSettings, ear: Companion, rival: Companion) -> Turn:
    rival.send(Play(settings.seconds))
    played = await rival.expect(Played, settings.seconds + ANSWER_S)
    found = score.placed(await _take(ear), played.start_ns, settings.tempo_bpm)
    return Turn(
        send=spread(played.late_ns),
        arrival=spread([late_ns for _, late_ns in found]),
        bars=played.bars,
        sent=played.sent,
        lost=score.lost([step for step, _ in found]),
    )


async def _take(ear: Companion) -> tuple[tuple[int, bytes], ...]:
    await asyncio.sleep(LAST_HEARD_S)
    ear.send(Take())
    return (await ear.expect(Heard, ANSWER_S)).messages


def _figures(
    settings: TimingSettings, turns: dict[str, list[Turn]], pressures: list[float | None], port: str
) -> dict[str, Any]:
    send = {side: median_spread([turn.send for turn in done]) for side, done in turns.items()}
    arrival = {side: median_spread([turn.arrival for turn in done]) for side, done in turns.items()}
    known = [pressure for pressure in pressures if pressure is not None]
    return {
        "send_ms": send["ours"],
        "arrival_ms": arrival["ours"],
        "asyncio_with_torch_ms": send["asyncio"],
        "asyncio_arrival_ms": arrival["asyncio"],
        "isobar_ms": send["isobar"] if turns["isobar"] else None,
        "isobar_arrival_ms": arrival["isobar"] if turns["isobar"] else None,
        "ratio_p99": ratio(send["asyncio"]["p99"], send["ours"]["p99"]),
        "ratio_max": ratio(send["asyncio"]["max"], send["ours"]["max"]),
        "priority": turns["ours"][-1].priority,
        "pressure": round(statistics.median(known), 2) if known else None,
        "port": port or NO_PORT,
        "seconds": settings.seconds,
        "repeats": settings.repeats,
        "bpm": settings.tempo_bpm,
        "sent": {side: sum(turn.sent for turn in done) for side, done in turns.items()},
        "lost": {side: sum(turn.lost for turn in done) for side, done in turns.items()},
        "bars_per_second": {
            side: round(sum(turn.bars for turn in done) / (settings.seconds * settings.repeats), 2)
            for side, done in turns.items()
        },
    }


def table(figures: dict[str, Any]) -> Table:
    """For people."""
    pressure = figures["pressure"]
    result = Table("ms", "p50", "p99", "max", "sent", "lost", "bars/s", title=_title(figures))
    rows = (
        ("the stage: sent - due", "send_ms", "ours"),
        ("the stage: heard - due", "arrival_ms", "ours"),
        ("asyncio beside torch: sent - due", "asyncio_with_torch_ms", "asyncio"),
        ("asyncio beside torch: heard - due", "asyncio_arrival_ms", "asyncio"),
        ("isobar, alone: sent - due", "isobar_ms", "isobar"),
        ("isobar, alone: heard - due", "isobar_arrival_ms", "isobar"),
    )
    for name, key, side in rows:
        of = figures[key]
        if of is None:
            result.add_row(name, "not installed")
        elif "heard" in name and of["p50"] is None:
            result.add_row(name, figures["port"])
        else:
            counts = [str(figures["sent"][side]), "", str(figures["bars_per_second"][side])]
            if "heard" in name:
                counts = ["", str(figures["lost"][side]), ""]
            result.add_row(name, shown(of["p50"]), shown(of["p99"]), shown(of["max"]), *counts)
    result.add_row("asyncio over ours", "", _times(figures["ratio_p99"]), _times(figures["ratio_max"]))
    result.caption = (
        f"port {figures['port']}; priority {figures['priority']}; CPU pressure "
        f"{'unknown' if pressure is None else f'{pressure:g} %'}"
    )
    return result


def _title(figures: dict[str, Any]) -> str:
    return (
        f"{figures['bpm']:g} bpm, sixteenths and chords, {figures['seconds']:g} s a turn, "
        f"medians of {figures['repeats']}"
    )


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} x"
