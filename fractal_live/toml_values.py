"""TOML files to checked values: what is there is read, everything else is refused. Every error names the file, the key
and what is allowed. Knows nothing of what the values are for.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Reader = Callable[[Any], Any]
"""From what TOML holds to what is meant; raises WrongValue."""


class SettingsError(ValueError):
    """A settings file that cannot be used; the message names the file, the key and what is allowed."""


class WrongValue(Exception):
    """A value a key cannot have; `key` is where inside a table, the text says what is allowed."""

    def __init__(self, text: str, key: str = "") -> None:
        super().__init__(text)
        self.key = key


def read_table(path: Path) -> dict[str, Any]:
    """A TOML file as it is, for whoever checks it (a model's shape). Raises SettingsError."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{path}: not valid TOML ({error})") from error


def read_values(path: Path, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """What a file says, each key read by its reader. Raises SettingsError."""
    values = {}
    for key, value in read_table(path).items():
        if key not in readers:
            raise SettingsError(
                f"{path}: unknown key {key!r}{nearest(key, readers)}; allowed: {', '.join(sorted(readers))}"
            )
        try:
            values[key] = readers[key](value)
        except WrongValue as wrong:
            raise SettingsError(f"{path}: {key}{wrong.key}: {wrong}") from wrong
    return values


def table(value: Any) -> dict[str, Any]:
    """A table, by its keys."""
    if not isinstance(value, dict):
        raise WrongValue(f"is {value!r}; allowed: a table")
    return value


def text(value: Any) -> str:
    """A text that says something."""
    if not isinstance(value, str) or not value.strip():
        raise WrongValue(f"is {value!r}; allowed: a text in quotes")
    return value


def text_or_empty(value: Any) -> str:
    """A text, or none."""
    return "" if value == "" else text(value)


def yes_or_no(value: Any) -> bool:
    """A truth; no number stands for one."""
    if not isinstance(value, bool):
        raise WrongValue(f"is {value!r}; allowed: true, false")
    return value


def one_of(choices: tuple[str, ...]) -> Reader:
    """Reads one of the texts."""

    def read(value: Any) -> Any:
        if value not in choices:
            raise WrongValue(f"is {value!r}{nearest(str(value), choices)}; allowed: {', '.join(choices)}")
        return value

    return read


def number(low: float, high: float) -> Reader:
    """Reads a number within these bounds."""

    def read(value: Any) -> float:
        # The comparison is written so that NaN, which TOML can spell, fails it.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise WrongValue(f"is {value!r}; allowed: a number from {low:g} to {high:g}")
        return float(value)

    return read


def whole(low: int, high: int) -> Reader:
    """Reads a whole number within these bounds."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise WrongValue(f"is {value!r}; allowed: a whole number from {low} to {high}")
        return value

    return read


def nearest(name: str, names: Iterable[str]) -> str:
    """A question to append to an error: which of the names was meant; empty where none is near."""
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
