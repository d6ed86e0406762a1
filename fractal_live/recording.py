"""The set being written while it plays: at most once a bar, the disk waited for in another thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fractal_live.live.recorder import Recorder
from fractal_live.ports.pipes import TransportState
from fractal_live.settings import RunSettings

TEMPO_STEP_BPM = 0.25  # what a listener would notice; a follower's tempo trembles with the leader's clocks


class Recording:
    """For the event loop. `tell` hears what the disk refuses."""

    def __init__(self, settings: RunSettings, tell: Callable[[str], None]) -> None:
        patch = settings.patch
        self.recorder = Recorder(settings.record, patch.meter, patch.tempo_bpm, patch.title)
        self._has_own_tempo = settings.sync == "internal"
        self._tell = tell
        self._tempo_bpm = patch.tempo_bpm
        self._saving: asyncio.Future[bool] | None = None

    def tempo_of(self, state: TransportState) -> None:
        """Notes the tempo of a rolling transport, where it is known and has changed."""
        is_true = state.is_locked or self._has_own_tempo
        if is_true and abs(state.tempo_bpm - self._tempo_bpm) >= TEMPO_STEP_BPM:
            self._tempo_bpm = state.tempo_bpm
            self.recorder.tempo_at(state.tick, state.tempo_bpm)

    def save(self) -> None:
        """What is new, unless the disk is still busy with what was."""
        if self._saving is not None and not self._saving.done():
            return
        if self._saving is not None and not self._saving.result():
            self._tell(self.recorder.last_error)
            self._saving = None
        data = self.recorder.due()
        if data is not None:
            self._saving = asyncio.get_running_loop().run_in_executor(None, self.recorder.write, data)

    async def saved(self) -> None:
        """Waits for the disk."""
        if self._saving is not None:
            await self._saving

    async def close(self) -> bool:
        """The last save. False if the disk refused and there was something to keep."""
        await self.saved()
        return self.recorder.close() or not self.recorder.notes
