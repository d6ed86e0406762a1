"""What can be taken up while it plays: shipped patches, and patches and scores that lie beside the first one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np

from fractal_live.music.harmony import Chroma, chroma_of_bar
from fractal_live.music.midifile import MidiFileError, read_score
from fractal_live.music.plan import PlanTable, measure
from fractal_live.settings import Patch, read_patch
from fractal_live.shipped_files import find_shipped
from fractal_live.toml_values import SettingsError


class PatchRack:
    """For the event loop. `patch` is the one that plays."""

    def __init__(self, patch: Patch, folder: Path | None) -> None:
        """`folder` is where the patch that was named at the start lies; None: a shipped one."""
        self.patch = patch
        self._folder = folder

    async def change_to(self, name: str) -> Patch:
        """The patch of that name, which plays from now on; the disk is waited for in a thread. Raises SettingsError:
        there is none, it is not right, or it differs in what a set cannot change while it plays."""
        patch = await asyncio.to_thread(self._read, name)
        for what, old, new in (
            ("checkpoint", self.patch.checkpoint, patch.checkpoint),
            ("meter", self.patch.meter, patch.meter),
        ):
            if old != new:
                raise SettingsError(
                    f"patch {name}: its {what} is {new}; a set that plays keeps its {what} ({old}); "
                    f"start with --patch {name} instead"
                )
        self.patch = patch
        return patch

    async def score(self, name: str) -> tuple[PlanTable, Chroma]:
        """The plan (n, 6) and the harmony (halves, 12) of the bars of a .mid file; NaN where a bar is empty. Raises
        SettingsError: there is none, it cannot be read, or its meter is another."""
        return await asyncio.to_thread(self._measured, name)

    def _measured(self, name: str) -> tuple[PlanTable, Chroma]:
        _refuse_folders("score", name)
        folder = self._folder if self._folder is not None else Path()
        path = next((own for own in (folder / name, folder / f"{name}.mid") if own.is_file()), None)
        if path is None:
            raise SettingsError(f"score {name}: no such file in {folder.resolve()}")
        try:
            bars = read_score(path).bars
        except MidiFileError as error:
            raise SettingsError(str(error)) from error
        strange = next((bar.meter for bar in bars if bar.meter != self.patch.meter), None)
        if strange is not None:
            raise SettingsError(f"score {name}: a bar of it is in {strange}; the set is in {self.patch.meter}")
        return np.stack([measure(bar) for bar in bars]), np.concatenate([chroma_of_bar(bar) for bar in bars])

    def _read(self, name: str) -> Patch:
        _refuse_folders("patch", name)
        if self._folder is not None:
            for own in (self._folder / name, self._folder / f"{name}.toml"):
                if own.is_file():
                    return read_patch(own)
        return read_patch(find_shipped("patches", name))


def _refuse_folders(what: str, name: str) -> None:
    """What comes over the network does not choose folders."""
    if not name or Path(name).name != name:
        raise SettingsError(f"{what} {name!r}: a name without a folder")
