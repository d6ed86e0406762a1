"""Every kind of checkpoint gets its engine, and a stranger a reason."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fractal_live.baselines import door
from fractal_live.baselines.event_checkpoint import load
from fractal_live.baselines.event_engine import EventEngine
from fractal_live.baselines.kinds import ENGINES, FRACTAL, peek_kind
from fractal_live.model import checkpoint
from fractal_live.model.checkpoint import META_KEY, CheckpointError, meaning
from fractal_live.music.request import BarRequest, ModelFault, ModelReady, ModelSetup
from tests.baselines.small import needs_miditok, random_bars, small_checkpoint, small_transformer

needs_miditok()


def test_a_file_tells_its_kind_and_one_without_is_a_fractal(tmp_path: Path) -> None:
    assert peek_kind(small_checkpoint(tmp_path)) == "event-transformer"
    old = tmp_path / "old.safetensors"
    save_file({"x": torch.zeros(1)}, old, metadata={META_KEY: json.dumps(meaning())})
    stranger, broken = tmp_path / "stranger.safetensors", tmp_path / "broken.safetensors"
    save_file({"x": torch.zeros(1)}, stranger)
    broken.write_bytes(b"\xff" * 40)
    for path in (old, stranger, broken, tmp_path / "nothing.safetensors"):
        assert peek_kind(path) == FRACTAL


def test_looking_at_a_kind_loads_no_torch() -> None:
    code = "import sys, fractal_live.baselines.kinds; assert not {'torch', 'miditok'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_door_opens_an_event_transformer(tmp_path: Path) -> None:
    path = small_checkpoint(tmp_path)
    engine = door.open_engine(path, "cpu")
    assert isinstance(engine, EventEngine) and engine.parameters == sum(
        parameter.numel() for parameter in small_transformer(1).parameters()
    )


def test_an_unknown_kind_is_refused_naming_what_is_known(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    checkpoint.write(torch.nn.Linear(2, 2), path, {"kind": "wavenet"})
    with pytest.raises(ValueError, match="wavenet.*" + ", ".join(ENGINES)):
        door.open_engine(path, "cpu")


def test_a_loader_refuses_another_s_checkpoint(tmp_path: Path) -> None:
    path = small_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"event-transformer.*fractal"):
        checkpoint.load(path)
    checkpoint.write(torch.nn.Linear(2, 2), path, {"kind": FRACTAL})
    with pytest.raises(CheckpointError, match=r"fractal.*event-transformer"):
        load(path)


def test_an_event_transformer_comes_back_as_it_was(tmp_path: Path) -> None:
    model = small_transformer(7)
    loaded = load(small_checkpoint(tmp_path, seed=7)).model
    assert loaded.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float()), name


def test_other_words_are_refused(tmp_path: Path) -> None:
    model = small_transformer(1)
    path = tmp_path / "a.safetensors"
    header = {"kind": "event-transformer", "config": model.config.as_dict(), "words": ["PAD_None"]}
    checkpoint.write(model, path, header)
    with pytest.raises(CheckpointError, match="tokens are not those of the MidiTok"):
        load(path)


class Stage:
    """The daemon's side of the pipe: asks, keeps what it hears, hangs up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module, name in ((os, "nice"), (signal, "signal"), (gc, "freeze")):
            monkeypatch.setattr(module, name, lambda *_: None)

    def heard(self, setup: ModelSetup, requests: list[Any]) -> list[Any]:
        ours, theirs = multiprocessing.Pipe()
        heard: list[Any] = []

        def talk() -> None:
            ours.send(setup)
            heard.append(ours.recv())
            for request in requests:
                ours.send(request)
                heard.append(ours.recv())
            ours.close()

        talker = threading.Thread(target=talk)
        talker.start()
        door.main(theirs)
        talker.join()
        return heard


def test_the_model_process_plays_it_and_outlives_a_request_it_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small_checkpoint(tmp_path)
    request = BarRequest(4, random_bars(1, 4), seed=2, version=8)
    broken = BarRequest(4, plan=None, version=9)  # type: ignore[arg-type]
    ready, fault, reply = Stage(monkeypatch).heard(ModelSetup(str(path), "cpu"), [broken, request])
    assert isinstance(ready, ModelReady) and ready.device == "cpu" and ready.checkpoint_id.startswith("events-")
    assert isinstance(fault, ModelFault) and fault.version == 9
    assert reply.bar == EventEngine(path, "cpu").bar(request).bar and reply.version == 8


def test_the_model_process_says_why_it_cannot_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [fault] = Stage(monkeypatch).heard(ModelSetup(str(tmp_path / "no.safetensors"), "cpu"), [])
    assert isinstance(fault, ModelFault) and "no such checkpoint" in fault.text
