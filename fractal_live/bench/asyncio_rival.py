"""The sender one writes first: asyncio's `call_at`, in the process in which torch generates in a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from fractal_live.baselines.door import open_engine
from fractal_live.bench import score
from fractal_live.bench.rivals import LEAD_IN_S, Play, Played, RivalReady, RivalSetup
from fractal_live.live.player import Output
from fractal_live.music.notes import Bar
from fractal_live.music.request import BarRequest
from fractal_live.ports import pipes
from fractal_live.ports.midi_out import open_output
from fractal_live.ports.midi_system import PortError

PAST_BARS = 64


def main(connection: Connection) -> None:
    """Entry point: RivalSetup, then RivalReady, then Played for every Play, until the pipe closes."""
    try:
        setup: RivalSetup = connection.recv()
        torch.set_num_threads(setup.threads)
        try:
            engine = open_engine(Path(setup.checkpoint), setup.device)
            engine.warm_up()
            output = open_output("fractal-rival", setup.midi_api, setup.connect)
        except (PortError, ValueError, RuntimeError) as trouble:
            connection.send(pipes.Fault(str(trouble)))
            return
        try:
            connection.send(RivalReady())
            while True:
                play: Play = connection.recv()
                connection.send(_perform(engine, output, setup.tempo_bpm, play.seconds))
        finally:
            output.close()
    except (EOFError, OSError):
        return


def _perform(engine: Any, output: Output, tempo_bpm: float, seconds: float) -> Played:
    is_over = threading.Event()
    made: list[Bar] = []
    generating = threading.Thread(target=_generate, args=(engine, made, is_over), name="generation")
    generating.start()
    try:
        start_ns, late_ns = asyncio.run(_send(output, tempo_bpm, seconds))
    finally:
        is_over.set()
        generating.join()
    return Played(start_ns, tuple(late_ns), len(late_ns), len(made))


def _generate(engine: Any, made: list[Bar], is_over: threading.Event) -> None:
    """In its thread: bar after bar, as fast as it goes."""
    while not is_over.is_set():
        reply = engine.bar(BarRequest(len(made), tuple(made[-PAST_BARS:])))
        made.append(reply.bar)


async def _send(output: Output, tempo_bpm: float, seconds: float) -> tuple[int, list[int]]:
    """When step 0 was due, and how late each message was."""
    loop = asyncio.get_running_loop()
    half_s = score.step_ns(tempo_bpm) / 2e9
    start_s = time.monotonic() + LEAD_IN_S  # what asyncio's clock is
    over = asyncio.Event()
    late_ns: list[int] = []
    steps = max(round(seconds / (2 * half_s)), 1)

    def fire(half: int) -> None:
        due_ns = round((start_s + half * half_s) * 1e9)
        step, is_release = divmod(half, 2)
        for message in score.releases(step) if is_release else score.strikes(step):
            late_ns.append(time.monotonic_ns() - due_ns)
            output.send([message])
        if half + 1 < 2 * steps:
            loop.call_at(start_s + (half + 1) * half_s, fire, half + 1)
        else:
            over.set()

    loop.call_at(start_s, fire, 0)
    await over.wait()
    return round(start_s * 1e9), late_ns
