"""The training loop: batches in, a checkpoint and a log of losses out; resumes where it was killed."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fractal_live.model import checkpoint
from fractal_live.model.config import ModelConfig
from fractal_live.model.fractal import Batch, Fractal
from fractal_live.model.latent import plan_summary
from fractal_live.train.card import model_card
from fractal_live.train.dataset import Dataset, batches, collate

log = logging.getLogger(__name__)

# Per note the leaf, per half bar the harmony and the onsets, per cell the plan: near their share of the
# bits of a half bar, with the rare ones raised so that the upper levels learn as fast as the leaf.
WEIGHTS = {"pitch": 1.0, "velocity": 1.0, "duration": 1.0, "chroma": 0.3, "onsets": 1.0, "plan": 0.5, "kl": 0.1}
LN2 = math.log(2)


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """`decay_share` is the last part of the run, in which the rate falls to zero; `minutes` ends the run
    early, to be resumed."""

    steps: int = 7500
    batch_size: int = 4
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 200
    decay_share: float = 0.35
    ema_decay: float = 0.999
    clip_norm: float = 1.0
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    save_minutes: float = 3.0
    validate_every: int = 500
    minutes: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """One step's report: losses per thing in nats, and on validation steps the bits per note."""

    step: int
    steps: int
    losses: dict[str, float]
    bits_per_note: float | None


def learning_rate_at(step: int, settings: TrainSettings) -> float:
    """Linear warm-up, a plateau, linear decay to zero: the plateau lets a run be shortened or prolonged."""
    warm = min(1.0, (step + 1) / settings.warmup_steps)
    left = (settings.steps - step) / max(1.0, settings.decay_share * settings.steps)
    return settings.learning_rate * min(warm, 1.0, left)


def per_thing(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: losses[name] / losses[f"{name}_count"].clamp(min=1) for name in WEIGHTS}


def bits_per_note(losses: dict[str, float]) -> float:
    """Pitch with stop, velocity and duration of a note, in bits, given plan and harmony."""
    return (losses["pitch"] + losses["velocity"] + losses["duration"]) / LN2


class Trainer:
    """Owns model, averaged weights and optimiser; `run` yields a Progress per step."""

    def __init__(self, config: ModelConfig, settings: TrainSettings, dataset: Dataset, out: Path) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.dataset, self.out = settings, dataset, out
        self.model = Fractal(config).to(settings.device)
        self._measure_latent()
        self.average = deepcopy(self.model).requires_grad_(False)
        matrices = [p for p in self.model.parameters() if p.ndim >= 2]
        vectors = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95), fused=True)
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0

    def _measure_latent(self) -> None:
        """Mean and deviation of the latent's readable quantities over the songs' plans."""
        rng = np.random.default_rng(self.settings.seed)
        plans = [self.dataset.draw(rng)["plan"] for _ in range(256)]
        horizon = torch.from_numpy(np.stack(plans))[:, self.model.config.past_bars :]
        summary = plan_summary(horizon)
        self.model.latent.summary_mean.copy_(summary.mean(0))
        self.model.latent.summary_std.copy_(summary.std(0))

    def run(self, validation: list[Batch]) -> Iterator[Progress]:
        settings = self.settings
        started = saved = time.monotonic()
        for batch in batches(self.dataset, settings.batch_size, settings.seed, self.step):
            if self.step >= settings.steps:
                break
            before = time.monotonic()
            losses = self._update(batch)
            self.step += 1
            self.seconds += time.monotonic() - before
            bits = None
            if self.step % settings.validate_every == 0 or self.step == settings.steps:
                bits = self._record(losses, validation)
            yield Progress(self.step, settings.steps, losses, bits)
            is_over = settings.minutes is not None and time.monotonic() - started > settings.minutes * 60
            if is_over or time.monotonic() - saved > settings.save_minutes * 60:
                self.save()
                saved = time.monotonic()
            if is_over:
                return
        self.save()

    def _update(self, batch: Batch) -> dict[str, float]:
        settings = self.settings
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(self.step, settings)
        with torch.autocast(settings.device.split(":")[0], torch.bfloat16):
            losses = per_thing(self.model.losses(_moved(batch, settings.device)))
        total = sum(WEIGHTS[name] * value for name, value in losses.items())
        assert isinstance(total, Tensor)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        decay = min(settings.ema_decay, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _record(self, losses: dict[str, float], validation: list[Batch]) -> float | None:
        row: dict[str, float] = {"step": self.step, **{f"train_{name}": value for name, value in losses.items()}}
        bits = None
        if validation:
            held_out = evaluate_losses(self.average, validation, self.settings.device)
            row |= {f"valid_{name}": value for name, value in held_out.items()}
            bits = row["valid_bits_per_note"] = bits_per_note(held_out)
        self.history.append(row)
        return bits

    def save(self) -> None:
        """The averaged weights as a checkpoint, and the state a resumed run needs."""
        self.out.mkdir(parents=True, exist_ok=True)
        training: dict[str, Any] = {
            "settings": asdict(self.settings),
            "songs": len(self.dataset.songs),
            "step": self.step,
            "minutes": round(self.seconds / 60, 1),
            "history": self.history,
        }
        checkpoint.save(self.average, self.out / "model.safetensors", training)
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        card = model_card(self.out.name, self.model.config, parameters, training, data_note="MIDI files.")
        (self.out / "model.md").write_text(card, encoding="utf-8")
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        temporary = self.out / "state.pt.part"
        torch.save(state, temporary)
        os.replace(temporary, self.out / "state.pt")

    def resume(self) -> bool:
        """Goes on from the folder's saved state, if there is one."""
        path = self.out / "state.pt"
        if not path.is_file():
            return False
        state = torch.load(path, map_location=self.settings.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]
        return True


def _moved(batch: Batch, device: str) -> Batch:
    return Batch(**{name: getattr(batch, name).to(device) for name in Batch.__dataclass_fields__})


def validation_batches(dataset: Dataset, count: int = 16, batch_size: int = 4) -> list[Batch]:
    """A fixed set of crops, untransposed, in order of time with everything given."""
    rng = np.random.default_rng(1)
    time_order = np.arange(dataset.steps // 8)
    samples = []
    for place in range(count):
        song = dataset.songs[place * len(dataset.songs) // count]
        sample = dataset.sample(song, 4, 0, rng, order=time_order)
        given = np.array(True)
        samples.append({**sample, "plan_given": given, "chroma_given": given})
    return [collate(samples[low : low + batch_size]) for low in range(0, count, batch_size)]


def evaluate_losses(model: Fractal, batches_: list[Batch], device: str) -> dict[str, float]:
    """Losses per thing over batches, in nats, full precision."""
    totals: dict[str, float] = {}
    with torch.inference_mode():
        for batch in batches_:
            for name, value in model.losses(_moved(batch, device)).items():
                totals[name] = totals.get(name, 0.0) + float(value)
    return {name: totals[name] / max(1.0, totals[f"{name}_count"]) for name in WEIGHTS}
