"""What real music scores, kept in one small file, so that a checkpoint is judged beside it without the songs.

The file holds features, plans and hashes, from which no piece can be made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fractal_live.music.distances import Space, space_of
from fractal_live.music.excerpt import Excerpt
from fractal_live.music.features import FEATURES
from fractal_live.music.structure import STRUCTURE_BARS, long_term, structure_names
from fractal_live.train.corpus import Song, read_corpus
from fractal_live.train.judges.portrait import Portrait, portrait_of
from fractal_live.train.judges.real import excerpts, noise, places, shuffled, whole
from fractal_live.train.judges.remembered import Remembered, memory_figures
from fractal_live.train.judges.trial import JudgeError

TRAIN_STRUCTURES = 400
PLANS = 400
SONG_BARS, SONG_MEMORY_BARS = 56, 40
HELD_OUT_EVERY = 6
FORMAT = 1


@dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """`train` is what everything is compared with; `controls` are the rows beside the model: real songs held out,
    their bars shuffled, noise. `known` tells what training songs hold, `memory` what the real held-out songs score
    on it. plans (P, 32, 6) of training songs; songs (S, 6) what whole training songs do, in the order of
    `long_names`."""

    train: Portrait
    controls: dict[str, Portrait]
    known: Remembered
    memory: dict[str, dict[str, float]]
    plans: npt.NDArray[np.float16]
    songs: npt.NDArray[np.float16]
    long_names: tuple[str, ...]

    def space(self) -> Space:
        return space_of(self.train.windows.astype(np.float64))


def splits_of(data: Path, on_file: Callable[[Path], None] | None = None) -> dict[str, list[Song]]:
    """The songs of a folder with train/ and valid/ (and test/) in it; one without is split, every sixth song being
    held out. Raises CorpusError."""
    if (data / "train").is_dir() and (data / "valid").is_dir():
        names = [name for name in ("train", "valid", "test") if (data / name).is_dir()]
        return {name: read_corpus(data / name, on_file) for name in names}
    songs = read_corpus(data, on_file)
    return {
        "train": [song for place, song in enumerate(songs) if place % HELD_OUT_EVERY],
        "valid": songs[::HELD_OUT_EVERY],
    }


def held_out(data: Path, on_file: Callable[[Path], None] | None = None) -> list[Song]:
    """The songs of a folder that were not trained on: valid/ where there is one. Raises CorpusError."""
    if (data / "train").is_dir() and (data / "valid").is_dir():
        return read_corpus(data / "valid", on_file)
    return splits_of(data, on_file)["valid"]


def build(splits: dict[str, list[Song]], seed: int = 0) -> Anchors:
    """The anchors of songs by split: `train`, `valid` and, if there is one, `test`."""
    rng = np.random.default_rng(seed)
    stretches = {name: excerpts(songs, STRUCTURE_BARS) for name, songs in splits.items()}
    for name in ("train", "valid"):
        if len(stretches[name]) < 2:
            raise JudgeError(f"the {name} songs have fewer than two runs of {STRUCTURE_BARS} full 4/4 bars; give more")
    train = _portrait(stretches["train"], TRAIN_STRUCTURES)
    held_out = stretches["valid"]
    controls = {f"real {name}": _portrait(found) for name, found in stretches.items() if name != "train"}
    controls["shuffled"] = _portrait([(place, shuffled(excerpt, rng)) for place, excerpt in held_out])
    per_bar = float(np.mean([len(excerpt.notes) / excerpt.bars for _, excerpt in held_out]))
    controls["noise"] = _portrait([(place, noise(excerpt.bars, per_bar, rng)) for place, excerpt in held_out])
    music = [whole(song) for song in splits["train"]]
    known = Remembered.of(music)
    memory = {
        f"real {name}": memory_figures([excerpt for _, excerpt in found], [place for place, _ in found], known)
        for name, found in stretches.items()
        if name != "train"
    }
    long = [long_term(song, SONG_MEMORY_BARS) for song in music if song.bars >= SONG_BARS]
    names = tuple(long_term(music[0]))
    songs = np.array([[found[name] for name in names] for found in long], dtype=np.float16).reshape(-1, len(names))
    return Anchors(train, controls, known, memory, _plans(splits["train"]), songs, names)


def _portrait(stretches: Sequence[tuple[int, Excerpt]], structures: int | None = None) -> Portrait:
    return portrait_of([excerpt for _, excerpt in stretches], [place for place, _ in stretches], structures)


def _plans(songs: Sequence[Song]) -> npt.NDArray[np.float16]:
    """Plans of stretches of 32 bars, spread over the songs: (P, 32, 6)."""
    found = [song.plan[first : first + STRUCTURE_BARS] for song in songs for first in places(song, STRUCTURE_BARS)]
    chosen = np.linspace(0, len(found) - 1, min(PLANS, len(found))).astype(int)
    return np.array([found[place] for place in chosen], dtype=np.float16)


def save(anchors: Anchors, path: Path) -> None:
    """Writes the file under a temporary name first, so that there is never half of one."""
    arrays: dict[str, Any] = {}
    for name, portrait in {"train": anchors.train, **anchors.controls}.items():
        arrays |= {f"{name}/{field}": values for field, values in portrait.as_arrays().items()}
    arrays |= {f"known/{name}": values for name, values in anchors.known.as_arrays().items()}
    about = {
        "format": FORMAT,
        "features": FEATURES,
        "structure": structure_names(),
        "controls": list(anchors.controls),
        "memory": anchors.memory,
        "long_names": anchors.long_names,
    }
    text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".part")
    with half.open("wb") as file:
        np.savez_compressed(file, about=text, plans=anchors.plans, songs=anchors.songs, **arrays)
    half.replace(path)


def load(path: Path) -> Anchors:
    """Raises JudgeError for a file that is not there or not one of ours."""
    if not path.is_file():
        raise JudgeError(f"{path}: no such file; give --data DIR with songs, or anchors written from such a folder")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, Any] = dict(file)
        about = json.loads(bytes(arrays["about"]).decode())
    except (OSError, ValueError, KeyError) as error:
        raise JudgeError(f"{path}: not a file of anchors ({error})") from error
    if (about["format"], about["features"], tuple(about["structure"])) != (FORMAT, FEATURES, structure_names()):
        raise JudgeError(f"{path}: anchors of another version of these features; write them again from songs")
    portraits = {name: _loaded(arrays, name) for name in ("train", *about["controls"])}
    known = Remembered.from_arrays({name[6:]: values for name, values in arrays.items() if name.startswith("known/")})
    train = portraits.pop("train")
    return Anchors(
        train, portraits, known, about["memory"], arrays["plans"], arrays["songs"], tuple(about["long_names"])
    )


def _loaded(arrays: dict[str, Any], name: str) -> Portrait:
    return Portrait(**{field.name: arrays[f"{name}/{field.name}"] for field in fields(Portrait)})
