"""Which kind of model a checkpoint holds, told from the file's own header; no torch, nothing loaded."""

from __future__ import annotations

import json
from pathlib import Path

FRACTAL = "fractal"
ENGINES = {
    FRACTAL: ("fractal_live.model.engine", "Engine"),
    "event-transformer": ("fractal_live.baselines.event_engine", "EventEngine"),
}
"""The module and class that plays each kind: made with a path and a device, it is a `music.request.Generator`."""

HEADER_BYTES = 100_000_000


def peek_kind(path: Path) -> str:
    """The kind a safetensors file names (its header is JSON behind eight bytes of length). A file without a kind,
    or that is none of ours, counts as a fractal: the fractal's loader says what is wrong with it."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > HEADER_BYTES:
                return FRACTAL
            header = json.loads(file.read(length))
        kind = json.loads(header["__metadata__"]["fractal_live"]).get("kind", FRACTAL)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return FRACTAL
    return kind if isinstance(kind, str) else FRACTAL
