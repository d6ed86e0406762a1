"""The training loop: batches in, a checkpoint and a log of losses out; resumes where it was killed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fractal_live.train.card import model_card
from fractal_live.train.curve import draw_curve
from fractal_live.train.distributed import Ranks
from fractal_live.train.objective import Figures, Weighed, figures
from fractal_live.train.schedule import TrainSettings, learning_rate_at, lower_weight_at, resolved, share_done
from fractal_live.train.start import Origin
from fractal_live.train.state import StateError, read_state, write_state
from fractal_live.train.task import Task, batch_at, moved, validated

log = logging.getLogger(__name__)

FREE_TO_CHANGE = {"steps", "minutes", "threads", "device", "save_minutes", "validate_every"}
"""What a resumed run may be told anew without a word in the log."""


class TrainError(ValueError):
    """A run that cannot go on."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One step's report. share: of the run, 0 to 1; learned: what this step's batch cost, on all ranks;
    held_out: what the validation set costs the averaged weights, on validation steps."""

    step: int
    share: float
    learning_rate: float
    learned: Figures
    held_out: Figures | None


class Trainer:
    """Owns model, averaged weights and optimiser; `run` yields a Progress per step.

    origin: where the weights came from, if not fresh. clock: seconds, monotonic.
    """

    def __init__(
        self,
        task: Task,
        settings: TrainSettings,
        out: Path,
        ranks: Ranks = Ranks(),  # noqa: B008 - a frozen value
        origin: Origin | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings = resolved(settings)
        self.task, self.out, self.ranks, self.clock = task, out, ranks, clock
        self.model = task.model.to(settings.device).train()
        self.average = deepcopy(self.model).requires_grad_(False)
        self.weighed = ranks.shared(Weighed(self.model, ranks))
        self.optimiser = _optimiser(self.model, settings)
        self.origin = None if origin is None else origin.as_dict()
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []
        self.since: dict[str, float] = {}  # sums and counts since the last row of the history

    def run(self, validation: list[Any]) -> Iterator[Progress]:
        """Steps until the run is over. Saves now and then, and at the end."""
        settings = self.settings
        began = self.clock() - self.seconds
        saved = self.clock()
        share = share_done(self.step, self.seconds, settings)
        while share < 1:
            rate = learning_rate_at(self.step, share, settings)
            learned = figures(self._update(rate), self.task.objective)
            self.step += 1
            self.seconds = self.ranks.agreed(self.clock() - began, settings.device)
            share = share_done(self.step, self.seconds, settings)
            held_out = None
            if self.step % settings.validate_every == 0 or share >= 1:
                held_out = self._record(rate, validation)
            yield Progress(self.step, share, rate, learned, held_out)
            if share >= 1 and self.task.finish is not None and self.ranks.is_first:
                self.task.finish(self.average.to("cpu"), self.step)  # where its songs are; the run is over
            if share >= 1 or self.clock() - saved > settings.save_minutes * 60:
                self.save()
                saved = self.clock()

    def _update(self, rate: float) -> dict[str, float]:
        """One step of the optimiser: the batch's sums and counts over all ranks."""
        settings, size = self.settings, self.settings.batch_size
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        # what a model throws dice for (dropout) is, like the batch, a function of the step
        torch.manual_seed(int(np.random.SeedSequence([settings.seed, self.step, self.ranks.rank]).generate_state(1)[0]))
        own = range(self.ranks.rank * size, (self.ranks.rank + 1) * size)
        batch = moved(batch_at(self.task, settings.seed, self.step, own), settings.device)
        weights = self.task.objective.weights_at(lower_weight_at(self.step, settings))
        with torch.autocast(settings.device.split(":")[0], torch.bfloat16, enabled=settings.precision == "bfloat16"):
            total, sums = self.weighed(batch, weights)  # a scalar; dict of floats
        self._refuse_nonsense(sums)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self._follow()
        for name, value in sums.items():
            self.since[name] = self.since.get(name, 0.0) + value
        return dict(sums)

    def _refuse_nonsense(self, sums: dict[str, float]) -> None:
        """Before anything was changed by it."""
        broken = [name for name, value in sums.items() if not math.isfinite(value)]
        if broken:
            raise TrainError(
                f"step {self.step}: {', '.join(broken)} is not a finite number; what was saved before stands. "
                "Resume with a lower --rate, or --precision float32"
            )

    def _follow(self) -> None:
        """The averaged weights move towards the model's; fast at first, so that they forget its beginning."""
        decay = min(self.settings.ema_decay, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
            for average, own in zip(self.average.buffers(), self.model.buffers(), strict=True):
                average.copy_(own)

    def _record(self, rate: float, validation: list[Any]) -> Figures | None:
        """A row of the history: means over the steps since the last one, and the held-out figures."""
        row: dict[str, float] = {"step": self.step, "minutes": round(self.seconds / 60, 2), "rate": rate}
        row |= figures(self.since, self.task.objective).row("train")
        held_out = None
        if validation and self.ranks.is_first:
            held_out = validated(self.average, validation, self.task.objective, self.settings.device)
            row |= held_out.row("valid")
        self.since = {}
        self.history.append(row)
        return held_out

    def training(self) -> dict[str, Any]:
        """How the weights were made: the record that travels in the checkpoint's header."""
        return {
            "settings": asdict(self.settings),
            "weights": dict(self.task.objective.weights),
            "songs": self.task.songs,
            "ranks": self.ranks.size,
            "step": self.step,
            "minutes": round(self.seconds / 60, 1),
            "origin": self.origin,
            "history": self.history,
        }

    def save(self) -> None:
        """The averaged weights as a checkpoint, its card, and the state a resumed run needs."""
        if not self.ranks.is_first:
            return
        self.out.mkdir(parents=True, exist_ok=True)
        training = self.training()
        self.task.write(self.average, self.out / "model.safetensors", training)
        self._write_card(training)
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "since": self.since,
            "origin": self.origin,
            "settings": asdict(self.settings),
            "ranks": self.ranks.size,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        write_state(state, self.out / "state.pt")

    def draw(self) -> bool:
        """The loss curve as a picture beside the card, shown in it. False without matplotlib."""
        is_drawn = self.ranks.is_first and draw_curve(self.history, self.out / "model.png")
        if is_drawn:
            self._write_card(self.training(), picture="model.png")
        return is_drawn

    def _write_card(self, training: dict[str, Any], picture: str | None = None) -> None:
        config: Any = self.model.config
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        card = model_card(self.out.name, config.as_dict(), parameters, training, self.task.data_note, picture=picture)
        (self.out / "model.md").write_text(card, encoding="utf-8")

    def resume(self) -> bool:
        """Goes on from the folder's saved state, if there is one. Raises StateError."""
        path = self.out / "state.pt"
        if not path.is_file():
            return False
        state = read_state(path, self.settings.device)
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError, KeyError) as error:
            first = str(error).strip().splitlines()[-1].strip()
            raise StateError(f"{path}: of a model of another shape ({first}); give another --out") from error
        self.step, self.seconds, self.since = state["step"], state["seconds"], state["since"]
        self.history, self.origin = state["history"], state["origin"]
        now = asdict(self.settings) | {"ranks": self.ranks.size}
        before = state["settings"] | {"ranks": state["ranks"]}
        for name in sorted(now.keys() - FREE_TO_CHANGE):
            if now[name] != before.get(name):
                log.warning("going on with %s %s; until now it was %s", name, now[name], before.get(name))
        return True


def _optimiser(model: torch.nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """Decay pulls on matrices alone: a norm's gain or a bias has no reason to be small."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95), fused=True)
