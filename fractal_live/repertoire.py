"""What else can be played from the next bar on: another patch, the plan of a score, the last bars going round."""

from __future__ import annotations

import asyncio

from fractal_live.live.midi_map import MidiHands
from fractal_live.live_set import LiveSet
from fractal_live.music.harmony import Chroma
from fractal_live.music.plan import PlanTable
from fractal_live.patch_rack import PatchRack
from fractal_live.settings import Patch
from fractal_live.stage_side import StageSide
from fractal_live.toml_values import SettingsError


class Repertoire:
    """For the event loop. What cannot be had is reported, and what plays goes on."""

    def __init__(self, live_set: LiveSet, stage: StageSide) -> None:
        self._set = live_set
        self._stage = stage
        self._rack = PatchRack(live_set.settings.patch, live_set.settings.patch_folder)
        self._fetching: set[asyncio.Task[None]] = set()

    def fetch(self, kind: str, name: str) -> None:
        """The "patch" or the "score" of that name, as soon as the disk has given it."""
        fetching = self._patch(name) if kind == "patch" else self._score(name)
        task = asyncio.get_running_loop().create_task(fetching)
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)

    def wear(self, patch: Patch) -> None:
        """Another patch from the next bar line on: its controls, parts and channels; tempo and position stay."""
        live = self._set
        live.status.title = patch.title
        live.hands = MidiHands(patch.midi_map)
        live.listening.change(patch.follow, patch.respond, patch.listen_channel)
        live.controls.take_patch(patch.controls, patch.plan, patch.points)
        self._stage.offer(live.planner.outfit_changed(patch.outfit))
        self._stage.controls_moved()
        for host, port in patch.osc_out:
            live.osc_out.add_resident(host, port)
        if live.osc_in is not None:
            live.osc_in.obeys_time_tags = patch.osc_time_tags
        live.mark(f"patch {patch.title}")
        live.osc_out.send("/fractal/out/patch", patch.title)
        live.wakes.set()

    def follow(self, name: str, plan: PlanTable, chroma: Chroma) -> None:
        """The plan and the harmony of a piece that is written already, from the next bar on."""
        self._set.controls.follow(plan, chroma)
        self._stage.controls_moved()
        self._set.mark(f"score {name}, {len(plan)} bars")
        self._set.wakes.set()

    def go_round(self, action: str, numbers: tuple[float, ...]) -> None:
        """Freeze the last bars, or make some of them anew."""
        planner = self._set.planner
        try:
            if action == "freeze":
                offers = planner.freeze(int(numbers[0]))
            else:
                offers = planner.mend(int(numbers[0]), int(numbers[1]))
        except ValueError as error:
            self._set.reporter.tell(f"/fractal/{action}: {error}")
            return
        self._stage.offer(offers)
        self._set.mark(" ".join([action, *(f"{number:g}" for number in numbers)]))
        self._set.wakes.set()

    async def _patch(self, name: str) -> None:
        try:
            self.wear(await self._rack.change_to(name))
        except SettingsError as error:
            self._set.reporter.tell(str(error))

    async def _score(self, name: str) -> None:
        try:
            self.follow(name, *await self._rack.score(name))
        except SettingsError as error:
            self._set.reporter.tell(str(error))
