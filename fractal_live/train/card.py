"""The model card: what a checkpoint is, how it was made and how it plays, as Markdown beside the weights.

Everything but the prose comes from the checkpoint's own header and from `train.evaluate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fractal_live.model.config import ModelConfig

Table = Mapping[str, Mapping[str, float]]

DATA_NOTE = """POP909 (Music X Lab, MIT licence for the data set; the songs themselves are commercial compositions,
and the licence covers the data set's authors' rights only), re-barred so that bar lines fall on the beat: melody,
bridge and piano merged into one voice, quantised to sixteenths, transposed by -5 to +6 semitones at random."""


def model_card(
    name: str,
    config: ModelConfig,
    parameters: int,
    training: Mapping[str, Any],
    data_note: str = DATA_NOTE,
    evaluation: Mapping[str, Table] | None = None,
    weaknesses: str = "",
) -> str:
    """The card of a checkpoint. `training` is its header's; `evaluation` maps a title to a table of figures."""
    settings = training["settings"]
    parts = [
        f"# {name}",
        f"{parameters / 1e6:.2f} million parameters, {len(_levels(config))} levels. "
        "Made by `fractal-live train`; the file is safetensors, half precision, config in its header.",
        "## Data",
        f"{data_note.strip()} {training['songs']} songs.",
        "## Recipe",
        _table(
            ["", "value"],
            [
                ["steps", f"{training['step']} of {settings['steps']}"],
                ["batch", f"{settings['batch_size']} crops of 32 bars"],
                ["time", f"{training['minutes']:.0f} minutes on {settings['device']}, {settings['threads']} thread(s)"],
                ["seed", str(settings["seed"])],
                [
                    "optimiser",
                    f"AdamW (0.9, 0.95), weight decay {settings['weight_decay']}, clip {settings['clip_norm']}",
                ],
                [
                    "rate",
                    f"{settings['learning_rate']:g}: {settings['warmup_steps']} steps of warm-up, a plateau, "
                    f"linear to 0 over the last {settings['decay_share']:.0%}",
                ],
                ["averaging", f"weights averaged with decay {settings['ema_decay']}"],
                ["precision", "bfloat16 autocast"],
            ],
        ),
        "## Levels",
        _table(
            ["level", "width", "blocks", "heads", "generator", "handed down"],
            [
                [
                    level,
                    *(
                        str(column[key])
                        for key in ("embed_dim", "num_blocks", "num_heads", "generator", "compressed_dim")
                    ),
                ]
                for level, column in _levels(config).items()
            ],
        ),
        "## Loss curve",
        "Nats: per note for pitch (with the stop), velocity and duration; per half bar for chroma and onsets; per cell "
        "for the plan. `valid` is held-out songs, in order of time, plan and harmony given.",
        _curve(training["history"]),
    ]
    for title, table in (evaluation or {}).items():
        columns = list(next(iter(table.values())))
        rows = [[row, *(f"{values[column]:.3f}" for column in columns)] for row, values in table.items()]
        parts += [f"## {title}", _table(["", *columns], rows)]
    if weaknesses:
        parts += ["## Known weaknesses", weaknesses.strip()]
    return "\n\n".join(parts) + "\n"


def _levels(config: ModelConfig) -> dict[str, dict[str, Any]]:
    return {name: value for name, value in config.as_dict().items() if isinstance(value, dict)}


def _curve(history: list[dict[str, float]]) -> str:
    names = ("pitch", "velocity", "duration", "chroma", "onsets", "plan")
    rows = []
    for row in history:
        bits = row.get("valid_bits_per_note")
        valid = [f"{row[f'valid_{name}']:.3f}" if f"valid_{name}" in row else "" for name in names]
        rows.append([str(int(row["step"])), *valid, "" if bits is None else f"{bits:.3f}"])
    return _table(["step", *(f"valid {name}" for name in names), "bits per note"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
