"""The model card: what a checkpoint is, how it was made and how it plays, as Markdown beside the weights.

Everything but the prose comes from the checkpoint's own header and from `train.evaluate`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Figure = float | int | str | None
Table = Mapping[str, Mapping[str, Figure]]

DATA_NOTE = """POP909 (Music X Lab, MIT licence for the data set; the songs themselves are commercial compositions,
and the licence covers the data set's authors' rights only), re-barred so that bar lines fall on the beat: melody,
bridge and piano merged into one voice, quantised to sixteenths, transposed by -5 to +6 semitones at random."""

LEVEL_COLUMNS = {
    "seq_len": "tokens",
    "embed_dim": "width",
    "num_blocks": "blocks",
    "num_heads": "heads",
    "generator": "generator",
    "kind": "kind",
    "compressed_dim": "handed down",
}
CURVE_ROWS = 24
NEW_BY_NAME = 12


def model_card(
    name: str,
    config: Mapping[str, Any],
    parameters: int,
    training: Mapping[str, Any],
    data_note: str = DATA_NOTE,
    evaluation: Mapping[str, Table] | None = None,
    weaknesses: str = "",
    picture: str | None = None,
) -> str:
    """The card of a checkpoint.

    config: `ModelConfig.as_dict()`, or another model's; training: the record in the checkpoint's header;
    evaluation: tables by title, rows by name, figures by column, as a rule `must`, `aim` and `reached`
    (None: nothing is asked or known); picture: file name of the drawn loss curve.
    """
    parts = [
        f"# {name}",
        f"{parameters / 1e6:.2f} million parameters. Made by `fractal-live train`; the file is safetensors, "
        "its config and the record of its training in its header.",
        "## Data",
        f"{data_note.strip()} {training['songs']} songs.",
        "## Recipe",
        _table(["", "value"], [[key, value] for key, value in _recipe(config, training).items()]),
    ]
    if levels := _levels(config):
        parts += ["## Levels", _level_table(levels)]
    parts += [
        "## Loss curve",
        "Nats: per note for pitch (with the stop), velocity and duration; per half bar for chroma and onsets; per cell "
        "for the plan. `valid` is held-out songs, in order of time, plan and harmony given; `train` is the mean since "
        "the row before, with all that training hides. Bits are those of the notes.",
        *([f"![loss over steps]({picture})"] if picture else []),
        _curve(training["history"]),
    ]
    for title, table in (evaluation or {}).items():
        parts += [f"## {title}", _figures(table)]
    if weaknesses:
        parts += ["## Known weaknesses", weaknesses.strip()]
    return "\n\n".join(parts) + "\n"


def _recipe(config: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, str]:
    settings = training["settings"]
    ranks = training.get("ranks", 1)
    crop = f"{settings['batch_size']} crops" + (f" on each of {ranks} devices" if ranks > 1 else "")
    rows = {
        "steps": _extent(training),
        "batch": crop,
        "time": f"{training['minutes']:.0f} minutes on {_machine(settings, ranks)}",
        "seed": str(settings["seed"]),
        "began from": _origin(training.get("origin")),
        "optimiser": f"AdamW (0.9, 0.95), weight decay {settings['weight_decay']} on matrices, "
        f"gradients clipped to {settings['clip_norm']}",
        "rate": f"{settings['learning_rate']:g}: {settings['warmup_steps']} steps of warm-up, "
        f"a half cosine to {settings['floor_share']:.0%} of it",
        "levels": _ramp(settings),
        "averaging": f"weights averaged with decay {settings['ema_decay']}",
        "precision": f"{settings['precision']}" + (" autocast" if settings["precision"] == "bfloat16" else ""),
        "loss weights": ", ".join(f"{name} {value:g}" for name, value in training.get("weights", {}).items()),
        "dropout": ", ".join(f"{key} {value}" for key, value in config.items() if "drop" in key),
    }
    return {key: value for key, value in rows.items() if value}


def _extent(training: Mapping[str, Any]) -> str:
    settings = training["settings"]
    if settings.get("minutes") is None:
        return f"{training['step']} of {settings['steps']}"
    return f"{training['step']} (bounded by {settings['minutes']:g} minutes, or {settings['steps']} steps)"


def _machine(settings: Mapping[str, Any], ranks: int) -> str:
    """The kind of machine alone: what it is called is nobody's business."""
    if not settings["device"].startswith("cpu"):
        return "one GPU" if ranks == 1 else f"{ranks} GPUs"
    threads = settings["threads"]
    each = "one CPU thread" if threads == 1 else f"{threads} CPU threads"
    return each if ranks == 1 else f"{ranks} processes of {each}"


def _origin(origin: Mapping[str, Any] | None) -> str:
    if origin is None:
        return "random weights"
    made = f"`{origin['checkpoint']}` ({origin['steps']} steps, {origin['minutes']:.0f} minutes before)"
    new = origin["new"] if len(origin["new"]) <= NEW_BY_NAME else _by_part(origin["new"])
    return f"{made}, {origin['taken']} tensors taken" + (f", new: {', '.join(new)}" if new else "")


def _by_part(names: Sequence[str]) -> list[str]:
    """Many tensors as how many there are of each part of the model; the header has them by name."""
    counts = Counter(name.partition(".")[0] for name in names)
    return [f"{count} of {part}" for part, count in counts.items()]


def _ramp(settings: Mapping[str, Any]) -> str:
    if not settings["warmup_levels_steps"]:
        return "all from the start"
    return (
        f"the notes' losses rise from {settings['lower_start']:g} to 1 of their weight over the first "
        f"{settings['warmup_levels_steps']} steps, those of the levels above are whole from the start"
    )


def _levels(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The columns of a fractal's config by name: tables of their own, or a list of them, then the leaf."""
    found: dict[str, Mapping[str, Any]] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and "embed_dim" in value:
            found[key] = value
        elif isinstance(value, Sequence) and value and all(isinstance(item, Mapping) for item in value):
            found |= {str(item.get("name", place)): item for place, item in enumerate(value)}
    return found


def _level_table(levels: Mapping[str, Mapping[str, Any]]) -> str:
    columns = [key for key in LEVEL_COLUMNS if any(key in level for level in levels.values())]
    rows = [[name, *(str(level.get(key, "")) for key in columns)] for name, level in levels.items()]
    return _table(["level", *(LEVEL_COLUMNS[key] for key in columns)], rows)


def curve_names(history: Sequence[Mapping[str, float]]) -> list[str]:
    """Columns worth showing: held-out figures where there are any, else those of training; bits last."""
    seen = dict.fromkeys(key for row in history for key in row)
    prefix = "valid_" if any(key.startswith("valid_") for key in seen) else "train_"
    names = [key for key in seen if key.startswith(prefix)]
    return sorted(names, key=lambda key: "_bits_per_" in key)


def _curve(history: Sequence[Mapping[str, float]]) -> str:
    """At most so many rows, evenly, the last among them."""
    if not history:
        return "No step was measured."
    names = curve_names(history)
    every = -(-len(history) // CURVE_ROWS)
    rows = [[f"{row['step']:.0f}", *(_shown(row.get(name)) for name in names)] for row in history[::-1][::every][::-1]]
    return _table(["step", *(name.replace("_", " ") for name in names)], rows)


def _figures(table: Table) -> str:
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    return _table(
        ["", *columns], [[name, *(_shown(row.get(column)) for column in columns)] for name, row in table.items()]
    )


def _shown(value: Figure) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
