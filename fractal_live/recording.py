"""The set being written while it plays: what sounded, what was done, and where every bar came from, so that it can be
played again. At most once a bar, the disk waited for in another thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

from fractal_live import __version__
from fractal_live.live.dressing import Dress, Outfit
from fractal_live.live.lineage import Lineage
from fractal_live.live.provenance import FORMAT, ModelBegan, Opening, packed
from fractal_live.live.recorder import Recorder
from fractal_live.live.timeline import NS_PER_MINUTE
from fractal_live.music.meter import PPQN
from fractal_live.music.notes import Bar
from fractal_live.music.request import BarReply, BarRequest, InfillReply, InfillRequest, ModelReady
from fractal_live.ports.pipes import BarStarted, TransportState
from fractal_live.settings import RunSettings

TEMPO_STEP_BPM = 0.25  # what a listener would notice; a follower's tempo trembles with the leader's clocks


class Recording:
    """For the event loop. `tell` hears what the disk refuses."""

    def __init__(self, settings: RunSettings, tell: Callable[[str], None]) -> None:
        patch = settings.patch
        self.recorder = Recorder(settings.record, patch.meter, patch.tempo_bpm, patch.title)
        self._lineage = Lineage()
        self._threads = settings.machine.threads
        self._ticks_per_bar = patch.meter.ticks_per_bar
        self._checkpoint_id = ""
        self._last_begun: tuple[Bar, BarStarted] | None = None  # as it was made and as it sounds
        self._goes_on_in: tuple[int, int] | None = None  # bar and where its line is in the recording
        self.recorder.note(0, "patch", f"patch {patch.title}; seed {settings.seed}; sync {settings.sync}")
        checkpoint, meter = str(settings.checkpoint), (patch.meter.numerator, patch.meter.denominator)
        opening = Opening(FORMAT, __version__, patch.title, checkpoint, settings.sync, meter, settings.seed)
        self.recorder.log(packed(opening))
        self._has_own_tempo = settings.sync == "internal"
        self._tell = tell
        self._tempo_bpm = patch.tempo_bpm
        self._saving: asyncio.Future[bool] | None = None

    def model_began(self, model: ModelReady) -> None:
        """From now on the bars come from this one."""
        self.recorder.log(packed(ModelBegan(model.checkpoint_id, model.device, self._threads, _torch_version())))
        if model.checkpoint_id != self._checkpoint_id:
            self._checkpoint_id = model.checkpoint_id
            self.recorder.note(None, "checkpoint", f"checkpoint {model.checkpoint_id} on {model.device}")

    def made(self, request: BarRequest, reply: BarReply) -> None:
        """An answer of the model's that is of use."""
        self._lineage.made(request, reply)

    def mended(self, request: InfillRequest, reply: InfillReply) -> None:
        """Bars of a loop that were made anew."""
        self._lineage.mended(request, reply)

    def dresses(self, dress: Dress, outfit: Outfit) -> None:
        """What bars that are offered from now on wear."""
        self._lineage.dresses(dress, outfit)

    def bar_began(self, message: BarStarted, raw: Bar) -> None:
        """A bar began to sound; `raw` is what it was before it was dressed."""
        bar = message.bar
        if self._goes_on_in is not None and self._goes_on_in[0] == bar.index:
            self._goes_on_in = None  # it does not only go on, it begins once more
        self._go_on()
        self._last_begun = (raw, message)
        line = self.recorder.bar_line(bar.index)
        self._tell_of(raw, message, line)
        if message.is_fallback:
            self.recorder.note(bar.meter.tick_of_bar(bar.index), f"fallback {line}", f"fallback in bar {bar.index + 1}")

    def moved(self, address: str, values: Sequence[object], state: TransportState, now_ns: int) -> None:
        """The performer has moved a control or pressed a button. Of many moves in a bar the last is kept."""
        shown = " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
        tick = round(state.tick + (now_ns - state.at_ns) * state.tempo_bpm * PPQN / NS_PER_MINUTE)
        self.recorder.note(tick if state.is_rolling else None, address, f"{address} {shown}".strip())

    def went_on_at(self, state: TransportState) -> None:
        """The transport begins to roll, or has jumped."""
        self._go_on()
        self.recorder.jumped_to(state.tick)
        bar, tick = divmod(state.tick, self._ticks_per_bar)
        place = f"goes on in bar {bar + 1}" + (f", beat {tick / PPQN + 1:.4g}" if tick else "")
        self.recorder.note(state.tick, "position", place)
        self._goes_on_in = (bar, self.recorder.line_before(state.tick))

    def _go_on(self) -> None:
        """What the transport went on in, if that was not told as a bar that begins, was the rest of the last bar."""
        if self._goes_on_in is not None and self._last_begun is not None:
            (index, line), (raw, message) = self._goes_on_in, self._last_begun
            if message.bar.index == index:
                self._tell_of(raw, message, line)
        self._goes_on_in = None

    def _tell_of(self, raw: Bar, message: BarStarted, line: int) -> None:
        for entry in self._lineage.began(raw, message.bar, line, message.is_fallback):
            self.recorder.log(entry)
        self.recorder.expect(line, message.bar.notes)

    def tempo_of(self, state: TransportState) -> None:
        """Notes the tempo of a rolling transport, where it is known and has changed."""
        is_true = state.is_locked or self._has_own_tempo
        if is_true and abs(state.tempo_bpm - self._tempo_bpm) >= TEMPO_STEP_BPM:
            self._tempo_bpm = state.tempo_bpm
            self.recorder.tempo_at(state.tick, state.tempo_bpm)

    def save(self) -> None:
        """What is new, unless the disk is still busy with what was."""
        self._go_on()
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
        self._go_on()
        return self.recorder.close() or not self.recorder.notes


def _torch_version() -> str:
    """Of the torch that is installed; asked of its files, since nothing here may load it."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""
