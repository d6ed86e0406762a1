"""The studio's commands as a user types them: refusals before anything is loaded, files as they were asked for."""

from __future__ import annotations

import json
from pathlib import Path

import mido
import numpy as np
import pytest

from fractal_live.model.piece import drawn_latent
from fractal_live.music.midifile import read_score, write_infilled
from fractal_live.music.notes import Note
from fractal_live.studio import _given_plan, _marked
from tests.test_cli import complaint, typed
from tests.train.songs import write_folder


def two_tracks(path: Path, bars: int = 6) -> Path:
    """A melody and a bass in tracks of their own, with a controller and a programme, 96 ticks a quarter; every bar has
    a note that begins off the grid."""
    melody = mido.MidiTrack([mido.MetaMessage("track_name", name="melody"), mido.Message("program_change", program=40)])
    bass = mido.MidiTrack([mido.MetaMessage("track_name", name="bass")])
    for _ in range(bars):
        for pitch in (72, 74, 76, 77):
            melody.append(mido.Message("note_on", note=pitch, velocity=90, time=1))
            melody.append(mido.Message("control_change", control=64, value=127, time=2))
            melody.append(mido.Message("note_off", note=pitch, velocity=0, time=93))
        bass.append(mido.Message("note_on", note=40, velocity=70, time=0, channel=1))
        bass.append(mido.Message("note_off", note=40, velocity=0, time=384, channel=1))
    mido.MidiFile(type=1, ticks_per_beat=96, tracks=[melody, bass]).save(path)
    return path


def told(track: mido.MidiTrack) -> list[tuple[int, mido.Message]]:
    now, events = 0, []
    for message in track:
        now += message.time
        events.append((now, message.copy(time=0)))
    return events


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("generate", "--density", "48"), "--density is '48'; allowed: 0 to 47 onsets per bar"),
        (("generate", "--register", "low"), "--register is 'low'; give one number, or several with commas between"),
        (("generate", "--latent", ",".join(["0"] * 17)), "--latent has 17 numbers; allowed: 1 to 16"),
        (("generate", "--meter", "waltz"), "--meter is 'waltz'; give a time signature such as 4/4 or 7/8"),
        (("generate", "--meter", "4/3"), "meter denominator is 3; allowed: 1, 2, 4, 8, 16"),
        (("evaluate", "taste"), "what to evaluate is 'taste'; allowed: quality, plan, latent, infill, memory, live"),
        (("evaluate", "bits"), "evaluate bits needs songs: --data DIR"),
        (("train", "--data", "nowhere", "--model", "rnn"), "--model is 'rnn'; allowed: fractal, event-transformer"),
    ],
)
def test_a_wrong_wish_is_refused_before_a_model_is_loaded(arguments: tuple[str, ...], text: str) -> None:
    assert complaint(*arguments).startswith(text)


def test_several_numbers_are_a_curve_over_the_bars_and_one_is_held() -> None:
    plan = _given_plan(5, {"density": "0,40", "loudness": "64", "tempo": None})
    assert plan[:, 0].tolist() == [0, 10, 20, 30, 40]
    assert plan[:, 5].tolist() == [64] * 5
    assert np.isnan(plan[:, 1:5]).all()


def test_bars_are_counted_from_one_in_numbers_and_ranges() -> None:
    assert _marked("2,4-5", 6) == (False, True, False, True, True, False)


@pytest.mark.parametrize("bars", ["0", "5-4", "7", "1-", "all"])
def test_bars_that_are_not_there_are_refused(bars: str, tmp_path: Path) -> None:
    line = complaint("infill", str(two_tracks(tmp_path / "piece.mid")), "--bars", bars)
    assert line.startswith(f"--bars is {bars!r}; ")


def test_all_messages_but_the_replaced_notes_stay_in_their_tracks_at_their_ticks(tmp_path: Path) -> None:
    original = two_tracks(tmp_path / "piece.mid")
    score = read_score(original)
    is_new = (False, False, True, False, False, False)
    write_infilled(original, tmp_path / "new.mid", score, is_new, low=60)
    before, after = mido.MidiFile(original), mido.MidiFile(tmp_path / "new.mid")
    notes = [event for event in told(before.tracks[0]) if event[1].type.startswith("note")]
    gone = [event for place, event in enumerate(notes) if 16 <= place < 24]  # four notes a bar, on and off
    assert len(gone) == 8
    assert told(after.tracks[0]) == [event for event in told(before.tracks[0]) if event not in gone]
    assert told(after.tracks[1]) == told(before.tracks[1])
    replaced = [note for note in score.bars[2].notes if note.pitch >= 60]
    assert [bar.notes for bar in read_score(tmp_path / "new.mid").bars] == [bar.notes for bar in score.bars]
    assert len(after.tracks) == 3 and len(replaced) == 4


@pytest.mark.slow
def test_infilled_bars_are_new_and_all_others_as_they_were(live_checkpoint: Path, tmp_path: Path) -> None:
    original = two_tracks(tmp_path / "piece.mid")
    made = typed(
        "infill", str(original), "--bars", "3-4", "--out", str(tmp_path / "new.mid"), "--density", "7", "--json"
    )
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["notes_per_new_bar"] == [7, 7]
    before, after = read_score(original).bars, read_score(tmp_path / "new.mid").bars
    kept = [0, 1, 4, 5]
    assert [after[index].notes for index in kept] == [before[index].notes for index in kept]
    assert [after[index].notes for index in (2, 3)] != [before[index].notes for index in (2, 3)]


@pytest.mark.slow
def test_a_piece_made_at_once_obeys_its_wishes_and_follows_from_its_seed(live_checkpoint: Path, tmp_path: Path) -> None:
    """Without a latent the seed draws one, here as bar after bar."""
    common = (
        "generate",
        "--bars",
        "3",
        "--num",
        "2",
        "--at-once",
        "--rounds",
        "2",
        "--density",
        "9",
        "--device",
        "cpu",
    )
    for out, more in (("a", ()), ("b", ()), ("c", ("--latent", ",".join(str(v) for v in drawn_latent(5))))):
        made = typed(*common, "--seed", "5", "--out", str(tmp_path / out), "--json", *more)
        assert made.exit_code == 0, made.output
        assert [piece["onsets_per_bar"] for piece in json.loads(made.stdout)["pieces"]] == [9, 9]
    first, second = ("piece-000005.mid", "piece-000006.mid")
    bars = {(out, name): read_score(tmp_path / out / name).bars for out in "abc" for name in (first, second)}
    assert bars["a", first] == bars["b", first] == bars["c", first] != bars["a", second]
    assert bars["a", second] == bars["b", second] != bars["c", second]


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize("model", ["fractal", "event-transformer"])
def test_a_folder_of_nothing_but_scraps_is_refused_in_a_sentence(tmp_path: Path, split: str, model: str) -> None:
    """Four bars are no song; training ended in a traceback."""
    for name in ("train", "valid"):
        (tmp_path / name).mkdir()
        two_tracks(tmp_path / name / "piece.mid", 4 if name == split else 8)
    small = ("--config", str(tmp_path / "small.toml")) if model == "fractal" else ()
    (tmp_path / "small.toml").write_text(SMALL, encoding="utf-8")
    tried = typed("train", "--data", str(tmp_path), "--out", str(tmp_path / "a"), "--model", model, *small)
    assert tried.exit_code == 2, tried.output
    assert tried.stderr.strip().splitlines()[-1] == "no song of at least 7 bars among 1 (piece)"


@pytest.mark.slow
def test_a_run_is_trained_resumed_and_begun_from(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "songs")
    small = tmp_path / "small.toml"
    small.write_text(SMALL, encoding="utf-8")
    common = ("--data", str(data), "--config", str(small), "--batch-size", "1")
    first = typed("train", *common, "--out", str(tmp_path / "a"), "--steps", "2")
    assert first.exit_code == 0, first.output
    again = typed("train", *common, "--out", str(tmp_path / "a"), "--steps", "3")
    assert "going on from step 2" in again.stderr
    tuned = typed(
        "train", *common, "--out", str(tmp_path / "b"), "--steps", "1", "--start", str(tmp_path / "a/model.safetensors")
    )
    assert tuned.exit_code == 0, tuned.output
    assert "`model` (3 steps" in (tmp_path / "b/model.md").read_text(encoding="utf-8")


def test_a_note_that_sounds_into_a_new_bar_stays(tmp_path: Path) -> None:
    original = two_tracks(tmp_path / "piece.mid", bars=3)
    score = read_score(original)
    assert Note(0, 40, 1920, 70) in score.bars[0].notes
    write_infilled(original, tmp_path / "new.mid", score, (False, True, False), low=60)
    assert Note(0, 40, 1920, 70) in read_score(tmp_path / "new.mid").bars[0].notes


SMALL = """
step_dim = 16
conv_channels = 8
guide_dim = 16
recall_channels = 4
[[levels]]
seq_len = 8
embed_dim = 16
num_blocks = 1
num_heads = 2
generator = "mar"
[[levels]]
seq_len = 16
embed_dim = 16
num_blocks = 1
num_heads = 2
generator = "mar"
[[levels]]
seq_len = 128
embed_dim = 16
num_blocks = 1
num_heads = 2
generator = "ar"
[leaf]
embed_dim = 16
num_blocks = 1
num_heads = 2
"""
