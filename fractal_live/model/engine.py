"""The engine: a checkpoint kept warm, one request in, one bar out; and the process it lives in."""

from __future__ import annotations

import gc
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from fractal_live.model.checkpoint import CheckpointError, load
from fractal_live.model.unfold import unfold
from fractal_live.music.notes import Bar
from fractal_live.music.plan import COLUMN
from fractal_live.music.request import BarReply, BarRequest, ModelFault, ModelReady, ModelSetup

NICENESS = 10
WARM_UP_BARS = 4


def choose_device(wanted: str) -> torch.device:
    """auto is CUDA where it works, else the CPU. Raises ValueError for a device that is not there."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device is {wanted!r}; allowed: auto, cpu, cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but torch finds no CUDA device; use --device cpu or auto")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


class Engine:
    """Unfolds bars with one model on one device. Not for several threads at once."""

    def __init__(self, checkpoint_path: Path, device: str = "auto") -> None:
        self.device = choose_device(device)
        loaded = load(checkpoint_path, self.device)
        self.model, self.checkpoint_id, self.training = loaded.model, loaded.checkpoint_id, loaded.training

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    def warm_up(self) -> int:
        """Unfolds a few bars on what came before, so that the first real one is not the slowest.
        Returns the nanoseconds the last one took."""
        past: tuple[Bar, ...] = ()
        took_ns = 0
        for index in range(WARM_UP_BARS):
            reply = self.bar(BarRequest(index, past))
            past = (*past, reply.bar)
            took_ns = reply.took_ns
        return took_ns

    def bar(self, request: BarRequest) -> BarReply:
        """The bar a request asks for. Chance comes from its seed and index alone."""
        started_ns = time.monotonic_ns()
        generator = torch.Generator(self.device)
        generator.manual_seed(int(np.random.SeedSequence([request.seed, request.index]).generate_state(1)[0]))
        with torch.inference_mode():
            result = unfold(self.model, request, generator)
        row = result.plan[0]
        bar = Bar(
            request.index,
            result.notes,
            request.meter,
            float(row[COLUMN["tempo"]]),
            tuple(float(value) for value in row),
            tuple(tuple(float(value) for value in half) for half in result.chroma),
            request.seed,
            self.checkpoint_id,
        )
        return BarReply(bar, result.plan, request.version, time.monotonic_ns() - started_ns)


def main(connection: Connection) -> None:
    """The model process: ModelSetup, then ModelReady, then a BarReply or ModelFault per BarRequest, until
    the pipe closes. Leaves Ctrl-C to the daemon."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        setup: ModelSetup = connection.recv()
        _be_modest(setup.threads)
        try:
            engine = Engine(Path(setup.checkpoint), setup.device)
            bar_ns = engine.warm_up()
        except (CheckpointError, ValueError, RuntimeError) as error:
            connection.send(ModelFault(str(error)))
            return
        gc.collect()
        gc.freeze()
        connection.send(ModelReady(engine.checkpoint_id, str(engine.device), engine.parameters, bar_ns))
        while True:
            request: BarRequest = connection.recv()
            try:
                connection.send(engine.bar(request))
            except Exception as error:
                # Whatever one request does to the model, the next one is answered.
                connection.send(ModelFault(f"bar {request.index}: {type(error).__name__}: {error}", request.version))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _be_modest(threads: int) -> None:
    """The stage and the DAW come first: few threads, low priority."""
    torch.set_num_threads(threads)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
