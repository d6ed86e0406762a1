"""`replay` as a user types it: a set of the real program played again, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import mido
import pytest

from fractal_live.encore import pages_of
from fractal_live.live.provenance import ModelBegan, Opening, packed
from fractal_live.live.reenactment import Again, SetNote
from fractal_live.music.meter import FOUR_FOUR
from fractal_live.music.notes import Bar, Note
from fractal_live.recorded_set import read_set
from tests.baselines.small import needs_miditok, small_checkpoint
from tests.instrument import free_udp_port
from tests.test_cli import complaint, program, typed

OPENING = Opening(1, "0", "set", "live", "midi", (4, 4), 3)


def recording(folder: Path, *entries: bytes) -> Path:
    """A file with these sequencer-specific events."""
    track = mido.MidiTrack([mido.MetaMessage("sequencer_specific", data=tuple(entry), time=0) for entry in entries])
    path = folder / "set.mid"
    mido.MidiFile(type=1, tracks=[track]).save(path)
    return path


@pytest.mark.slow
def test_a_set_is_played_again_note_for_note_into_a_file_and_into_the_port(tmp_path: Path) -> None:
    options = ("--sync", "internal", "--midi-api", "none", "--no-dashboard", "--tempo", "300", "--seed", "11")
    played = program(
        "run", "--bars", "6", *options, "--record", "set.mid", "--osc-port", str(free_udp_port()), folder=tmp_path
    )
    assert played.returncode == 0, played.stderr
    again = typed("replay", str(tmp_path / "set.mid"), "--out", str(tmp_path / "again.mid"), "--json")
    assert again.exit_code == 0, again.stderr
    said = json.loads(again.stdout)
    assert (said["bars"], said["same"], said["first_other"], said["others"]) == (6, 6, None, [])
    first, second = read_set(tmp_path / "set.mid"), read_set(tmp_path / "again.mid")
    assert (first.notes, first.tempos, first.end_tick) == (second.notes, second.tempos, second.end_tick)
    assert len(first.notes) > 6 and first.end_tick == FOUR_FOUR.tick_of_bar(6)
    heard = typed("replay", str(tmp_path / "set.mid"), "--midi-api", "none")
    assert heard.exit_code == 0 and "6 bars; other than recorded 0" in heard.stderr


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    assert "not a readable MIDI file" in complaint("replay", str(tmp_path / "nowhere.mid"))
    path = recording(tmp_path)
    assert complaint("replay", str(path)) == (
        f"{path}: cannot be played again: nothing in it tells how its bars were made"
    )


def test_a_recording_of_another_format_or_of_an_unknown_checkpoint_is_refused(tmp_path: Path) -> None:
    path = recording(tmp_path, packed(replace(OPENING, format=7)))
    assert "it has format 7; this version plays format 1" in complaint("replay", str(path))
    path = recording(tmp_path, packed(OPENING))
    assert "it does not say which checkpoint played it" in complaint("replay", str(path))
    gone = replace(OPENING, checkpoint="/nowhere/gone.safetensors")
    path = recording(tmp_path, packed(gone), packed(ModelBegan("abc", "cpu", 1, "2.0")))
    assert complaint("replay", str(path)).startswith("gone: neither a file nor shipped with the program")


def test_another_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    needs_miditok()
    checkpoint = small_checkpoint(tmp_path)
    path = recording(
        tmp_path, packed(replace(OPENING, checkpoint=str(checkpoint))), packed(ModelBegan("other", "cpu", 1, "2.0"))
    )
    assert f"{path} was played by the checkpoint other; {checkpoint} is " in complaint("replay", str(path))


def test_what_was_made_again_is_played_bar_by_bar_of_the_recording_silent_bars_included() -> None:
    made = [
        Again(0, (SetNote(10, 0, 60, 64, 5),), True, False, False),
        Again(1920, (), True, False, True),
        Again(1920, (SetNote(1930, 0, 62, 64, 5), SetNote(1920, 0, 61, 64, 0)), True, False, True),
        Again(5760, (SetNote(5760, 0, 60, 64, 5),), True, False, False),
    ]
    assert list(pages_of(iter(made), FOUR_FOUR, 5)) == [
        Bar(0, (Note(10, 60, 5, 64),)),
        Bar(1, (Note(10, 62, 5, 64),)),
        Bar(2),
        Bar(3, (Note(0, 60, 5, 64),)),
        Bar(4),
    ]
