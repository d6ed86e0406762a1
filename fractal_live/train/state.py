"""The state file of a run: all that a killed run needs to go on as if it had never stopped.

Written under a temporary name and renamed, so that a reader finds the last state or the one before it,
never half of one.
"""

from __future__ import annotations

import os
import pickle
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

FORMAT = 2
REMEDY = "give another --out, or delete it to begin again (--start model.safetensors keeps what was learned)"
KEYS = {
    "format",
    "step",
    "seconds",
    "history",
    "since",
    "origin",
    "settings",
    "ranks",
    "model",
    "average",
    "optimiser",
}


class StateError(ValueError):
    """A state file that cannot be gone on from; the message says what to do."""


def write_state(state: dict[str, Any], path: Path) -> None:
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        torch.save({"format": FORMAT, **state}, file)
        file.flush()
        os.fsync(file.fileno())  # the name must not reach the disk before the content
    os.replace(temporary, path)


def read_state(path: Path, device: str) -> dict[str, Any]:
    """Raises StateError for a file that is damaged, of another version, or no state."""
    if broken := _damage(path):
        raise StateError(f"{path}: damaged ({broken}); {REMEDY}")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, ValueError, TypeError, KeyError, pickle.UnpicklingError) as error:
        raise StateError(f"{path}: damaged, or not the state of a run; {REMEDY}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT or set(state) != KEYS:
        raise StateError(f"{path}: not the state of a run of this version; {REMEDY}")
    return state


def _damage(path: Path) -> str:
    """What is wrong with the file as such. It is a zip archive whose parts carry checksums, which torch
    writes but does not compare.

    What zipfile lets through besides its own BadZipFile depends on the bytes that are hurt. Flipping every bit of a
    state gave: RuntimeError (a part is said to be encrypted, or packed in a way it does not know), EOFError and
    zlib.error (a part is said to be packed), ValueError (names that are no UTF-8), OSError (places before the file)."""
    try:
        with ZipFile(path) as archive:
            part = archive.testzip()
    except (BadZipFile, RuntimeError, EOFError, zlib.error, ValueError, OSError) as error:
        return str(error) or "it ends too soon"
    return "" if part is None else f"part {part} is not what was written"
