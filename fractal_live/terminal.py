"""What all commands say and refuse alike: tables on stdout, errors on stderr, one status for a wrong request."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console

from fractal_live.shipped_files import find_shipped
from fractal_live.toml_values import SettingsError

out = Console()
err = Console(stderr=True)

HIGHEST_SEED = 2**31 - 1


def fail(text: str, status: int = 2) -> NoReturn:
    err.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(status)


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        fail(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
    return value


def checkpoint_path(name: str) -> Path:
    try:
        return find_shipped("checkpoints", name)
    except SettingsError as error:
        fail(str(error))
