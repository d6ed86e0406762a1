"""The patches that can be changed to while it plays: those that lie beside the first one, and the shipped ones."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fractal_live.settings import Patch, SettingsError, find_shipped, read_patch


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

    def _read(self, name: str) -> Patch:
        """By name alone: what comes over the network does not choose folders."""
        if not name or Path(name).name != name:
            raise SettingsError(f"patch {name!r}: a name without a folder")
        if self._folder is not None:
            for own in (self._folder / name, self._folder / f"{name}.toml"):
                if own.is_file():
                    return read_patch(own)
        return read_patch(find_shipped("patches", name))
