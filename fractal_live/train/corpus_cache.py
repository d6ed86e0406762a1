"""Songs as they were read, in one file beside the run, so that a run that goes on need not read again.

An entry holds for a file of the same name, size and time of change, read by the same code; a file that
could not be read is remembered with the reason, so that it is named each time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

log = logging.getLogger(__name__)

Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Entry:
    """What came of a file: the arrays of its song, or why there is none."""

    arrays: Arrays
    failure: str = ""


def file_key(path: Path, folder: Path) -> str:
    """Name below the folder, size in bytes, time of change in ns."""
    found = path.stat()
    return f"{path.relative_to(folder).as_posix()}|{found.st_size}|{found.st_mtime_ns}"


def code_digest(modules: tuple[ModuleType, ...]) -> str:
    """Changes when the source of one of the modules does."""
    digest = hashlib.sha256()
    for module in modules:
        assert module.__file__ is not None, "a module of ours is a file"
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()


def read_cache(path: Path, digest: str) -> dict[str, Entry]:
    """The entries by key; none if there is no such file, or it is damaged or of other code."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            index = json.loads(str(kept["index"]))
            columns = {name: kept[name] for name in kept.files if name != "index"}
        if index["digest"] != digest:
            return {}
        return {key: _entry(row, columns) for key, row in index["entries"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        log.warning("%s: damaged (%s); the songs are read again", path, error)
        return {}


def write_cache(path: Path, digest: str, entries: Mapping[str, Entry]) -> None:
    """All songs end to end, one array for each kind of column, and an index of who lies where."""
    names = sorted({name for entry in entries.values() for name in entry.arrays})
    columns = {name: [entry.arrays[name] for entry in entries.values() if entry.arrays] for name in names}
    ends = dict.fromkeys(names, 0)
    index: dict[str, dict[str, object]] = {}
    for key, entry in entries.items():
        spans = {}
        for name, value in entry.arrays.items():
            spans[name] = [ends[name], ends[name] + len(value)]
            ends[name] += len(value)
        index[key] = {"failure": entry.failure, "spans": spans}
    stacked = {name: np.concatenate(parts) for name, parts in columns.items()}
    header = json.dumps({"digest": digest, "entries": index})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")  # several ranks may write at once
    with temporary.open("wb") as file:
        np.savez_compressed(file, index=np.array(header), **stacked)  # type: ignore[arg-type]
    os.replace(temporary, path)


def _entry(row: dict[str, object], columns: Arrays) -> Entry:
    spans = row["spans"]
    assert isinstance(spans, dict), "written by write_cache"
    return Entry({name: columns[name][low:high].copy() for name, (low, high) in spans.items()}, str(row["failure"]))
