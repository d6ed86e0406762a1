"""Another patch, or the plan of a written piece, in the middle of a set: what sounds from the next line on."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import numpy as np
import pytest

from fractal_live.music.meter import Meter
from fractal_live.music.midifile import write_score
from fractal_live.music.notes import Bar, Note, Score
from fractal_live.patch_rack import PatchRack
from fractal_live.settings import Patch, read_patch
from fractal_live.toml_values import SettingsError
from tests.live.simulated_port import MS
from tests.live.simulation import Evening, simulated

NOTE_ON, PROGRAM_CHANGE = 0x90, 0xC0
BASS = """
title = "Other"
program = 9
[controls]
transpose = 12
[plan]
density = 3
[[splits]]
name = "low"
channel = 4
role = "lowest"
program = 33
"""


def channels_struck(messages: list[bytes]) -> set[int]:
    return {message[0] & 0x0F for message in messages if message[0] & 0xF0 == NOTE_ON}


def playing(evening: Evening, bars: float) -> None:
    evening.osc("plan/density", 8.0)
    evening.seconds(12)
    while evening.position < bars * 1920:
        evening.advance(20 * MS)


def test_at_the_next_line_the_other_patch_sounds_on_its_channels_with_its_programs(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(BASS, encoding="utf-8")
    with simulated(tmp_path, sync="internal") as evening:
        playing(evening, 6.5)
        daemon = evening.daemon
        daemon.repertoire.wear(read_patch(tmp_path / "other.toml"))
        evening.seconds(8)
        heard = [message for _, message in evening.ear.heard]
        line = next(place for place, message in enumerate(heard) if message[0] & 0xF0 == PROGRAM_CHANGE)
        assert channels_struck(heard[:line]) == {0}
        assert 3 in channels_struck(heard[line:]) <= {0, 3}
        programs = [message for message in heard if message[0] & 0xF0 == PROGRAM_CHANGE]
        assert programs == [bytes((PROGRAM_CHANGE, 8)), bytes((PROGRAM_CHANGE | 3, 32))]
        assert [len(bar.notes) for bar in daemon.planner.bars_from(daemon.planner.position, 2)] == [3, 3]
        assert daemon.status.title == "Other"
        evening.osc("transport/stop")
        evening.seconds(1)
        assert evening.ear.sounding == set()


def test_a_score_is_followed_bar_by_bar_and_then_let_go(tmp_path: Path) -> None:
    counts = [2, 9, 4, 12]
    bars = tuple(
        Bar(index, tuple(Note(120 * step, 60 + step, 100, 70) for step in range(count)))
        for index, count in enumerate(counts)
    )
    write_score(Score(bars), tmp_path / "song.mid")
    with simulated(tmp_path, sync="internal") as evening:
        playing(evening, 6.2)
        rack = PatchRack(Patch(), tmp_path)
        evening.daemon.repertoire.follow("song", *asyncio.run(rack.score("song")))
        first = evening.daemon.planner.position + 1
        evening.seconds(12)
        sounded = [len(bar.notes) for bar in evening.daemon.planner.bars_from(first, 4)]
        assert sounded == counts
        assert np.isnan(evening.daemon.controls.snapshot.plan_from(first + 4)).all()


@pytest.mark.parametrize("name", ["../secret", "", "a/b", "..", "/etc/passwd"])
def test_what_the_network_names_stays_in_the_folder(tmp_path: Path, name: str) -> None:
    rack = PatchRack(Patch(), tmp_path)
    for read in (rack.change_to, rack.score):
        with pytest.raises(SettingsError, match=r"a name without a folder|no such file|neither a file"):
            asyncio.run(read(name))


def test_what_a_set_cannot_change_is_refused_and_the_patch_that_plays_stays(tmp_path: Path) -> None:
    (tmp_path / "waltz.toml").write_text('meter = "3/4"', encoding="utf-8")
    (tmp_path / "wrong.toml").write_text("colour = 1", encoding="utf-8")
    write_score(Score((Bar(0, (Note(0, 60, 100, 70),), Meter(3, 4)),)), tmp_path / "waltz.mid")
    rack = PatchRack(Patch(), tmp_path)
    for read, name, why in (
        (rack.change_to, "waltz", "its meter is 3/4"),
        (rack.change_to, "wrong.toml", "unknown key 'colour'"),
        (rack.change_to, "nocturn", "did you mean 'nocturne'"),
        (rack.score, "waltz", "is in 3/4; the set is in 4/4"),
        (rack.score, "nothing", "no such file"),
    ):
        with pytest.raises(SettingsError, match=re.escape(why)):
            asyncio.run(read(name))
    assert rack.patch == Patch()
    assert asyncio.run(rack.change_to("glass")).title == "Glass"
    assert rack.patch.title == "Glass"
