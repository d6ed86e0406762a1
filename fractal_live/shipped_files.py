"""Where the files lie that come with the program: patches, config, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fractal_live.toml_values import SettingsError, nearest

ShippedKind = Literal["patches", "config", "checkpoints"]
SUFFIX: dict[ShippedKind, str] = {"patches": ".toml", "config": ".toml", "checkpoints": ".safetensors"}


def find_shipped(kind: ShippedKind, name: str) -> Path:
    """The file that is meant by `name`: a path of the user's if there is a file, else the shipped one of
    that name (the suffix may be left out). Raises SettingsError with the names there are."""
    own = Path(name).expanduser()
    if own.is_file():
        return own
    folder = shipped_folder(kind)
    for candidate in (folder / name, folder / f"{name}{SUFFIX[kind]}"):
        if candidate.is_file():
            return candidate
    there = shipped_names(kind)
    raise SettingsError(
        f"{name}: neither a file nor shipped with the program{nearest(name, there)}; "
        f"shipped {kind}: {', '.join(there) or 'none'}"
    )


def shipped_names(kind: ShippedKind) -> tuple[str, ...]:
    """The shipped files of a kind, without suffix, sorted."""
    folder = shipped_folder(kind)
    found = folder.rglob(f"*{SUFFIX[kind]}") if folder.is_dir() else ()
    return tuple(sorted(path.relative_to(folder).with_suffix("").as_posix() for path in found))


def shipped_folder(kind: ShippedKind, package: Path = Path(__file__).parent) -> Path:
    """Beside the package in a clone, inside it (`shipped/`) once installed. The clone is known by its
    pyproject.toml: a folder called config beside an installed package is somebody else's."""
    clone = package.parent
    return clone / kind if (clone / "pyproject.toml").is_file() else package / "shipped" / kind
