import io
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mido
import pytest

from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.midifile import MidiFileError, notes_of_score, read_score, write_score
from fractal_live.music.notes import Bar, Note, Score, without_overlaps

METERS = (Meter(4, 4), Meter(3, 4), Meter(6, 8), Meter(7, 8), Meter(2, 2), Meter(5, 16), Meter(1, 4))


def random_score(seed: int) -> Score:
    """Bars of changing meter and tempo (whole microseconds per quarter), notes anywhere in them and past their ends;
    the last bar is not empty, as a file does not say how many silent bars follow its last note."""
    rng = random.Random(seed)
    count = rng.randint(1, 12)
    meters, tempos = [], []
    for index in range(count):
        is_new = index == 0 or rng.random() < 0.3
        meters.append(rng.choice(METERS) if is_new else meters[-1])
        tempos.append(60e6 / rng.randint(300_000, 1_500_000) if is_new or rng.random() < 0.3 else tempos[-1])
    starts = [sum(meter.ticks_per_bar for meter in meters[:index]) for index in range(count + 1)]
    placed = [
        Note(rng.randrange(starts[-1]), rng.randint(20, 100), rng.randint(1, 3000), rng.randint(1, 127))
        for _ in range(rng.randint(0, 80))
    ]
    notes = without_overlaps([*placed, Note(starts[-2], rng.randint(20, 100), 100, 64)])
    return Score(
        tuple(
            Bar(
                index,
                tuple(
                    replace(note, onset_tick=note.onset_tick - starts[index])
                    for note in notes
                    if starts[index] <= note.onset_tick < starts[index + 1]
                ),
                meters[index],
                tempos[index],
            )
            for index in range(count)
        )
    )


def saved(folder: Path, *tracks: list[mido.Message], ticks_per_beat: int = 480) -> Path:
    path = folder / "made.mid"
    mido.MidiFile(type=1, ticks_per_beat=ticks_per_beat, tracks=[mido.MidiTrack(track) for track in tracks]).save(path)
    return path


def on(pitch: int, time: int, velocity: int = 80, channel: int = 0) -> mido.Message:
    return mido.Message("note_on", note=pitch, velocity=velocity, time=time, channel=channel)


def off(pitch: int, time: int, channel: int = 0) -> mido.Message:
    return mido.Message("note_off", note=pitch, velocity=0, time=time, channel=channel)


def signature(numerator: int, denominator: int, time: int = 0) -> mido.MetaMessage:
    return mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator, time=time)


@pytest.mark.parametrize("seed", range(60))
def test_a_score_comes_back_from_its_file_as_it_was(seed: int, tmp_path: Path) -> None:
    score = random_score(seed)
    write_score(score, tmp_path / "score.mid")
    assert read_score(tmp_path / "score.mid") == score


@pytest.mark.parametrize("seed", range(10))
def test_writing_what_was_read_writes_the_same_bytes(seed: int, tmp_path: Path) -> None:
    write_score(random_score(seed), tmp_path / "first.mid")
    write_score(read_score(tmp_path / "first.mid"), tmp_path / "second.mid")
    assert (tmp_path / "second.mid").read_bytes() == (tmp_path / "first.mid").read_bytes()


@pytest.mark.parametrize("ticks_per_beat", [24, 96, 120, 384, 960, 1024])
def test_ticks_of_another_resolution_are_converted(ticks_per_beat: int, tmp_path: Path) -> None:
    beat = ticks_per_beat
    path = saved(
        tmp_path,
        [on(60, 0), off(60, beat // 4), on(64, beat * 4 - beat // 4), off(64, beat * 2)],
        ticks_per_beat=ticks_per_beat,
    )
    assert read_score(path) == Score((Bar(0, (Note(0, 60, 120, 80),)), Bar(1, (Note(0, 64, 960, 80),))))


def test_onsets_are_rounded_from_the_start_of_the_file_so_that_they_never_drift(tmp_path: Path) -> None:
    """At 7 ticks per quarter a tick is 68.57 of ours: a thousand notes later the onset is still the nearest."""
    track = [message for index in range(1000) for message in (on(60, 1 if index else 0), off(60, 1))]
    onsets = [note.onset_tick for note in notes_of_score(read_score(saved(tmp_path, track, ticks_per_beat=7)))]
    assert onsets == [round(2 * index * 480 / 7) for index in range(1000)]


def test_a_pickup_bar_is_a_bar_of_its_own(tmp_path: Path) -> None:
    conductor = [signature(1, 4), signature(3, 4, 480)]
    path = saved(tmp_path, conductor, [on(67, 0), off(67, 480), on(72, 0), off(72, 1440), on(74, 0), off(74, 480)])
    assert read_score(path).bars == (
        Bar(0, (Note(0, 67, 480, 80),), Meter(1, 4)),
        Bar(1, (Note(0, 72, 1440, 80),), Meter(3, 4)),
        Bar(2, (Note(0, 74, 480, 80),), Meter(3, 4)),
    )


def test_a_change_inside_a_bar_holds_from_the_next_bar_line(tmp_path: Path) -> None:
    conductor = [mido.MetaMessage("set_tempo", tempo=1_000_000, time=100), signature(3, 4, 100)]
    path = saved(tmp_path, conductor, [on(60, 0), off(60, 10), on(60, 1910), off(60, 10)])
    found = [(bar.meter, bar.tempo_bpm) for bar in read_score(path).bars]
    assert found == [(FOUR_FOUR, 120.0), (Meter(3, 4), 60.0)]


def test_of_several_changes_before_a_bar_line_the_last_one_holds(tmp_path: Path) -> None:
    conductor = [mido.MetaMessage("set_tempo", tempo=tempo, time=0) for tempo in (600_000, 400_000, 500_000)]
    conductor += [signature(5, 4), signature(2, 4)]
    bar = read_score(saved(tmp_path, conductor, [on(60, 0), off(60, 10)])).bars[0]
    assert bar.meter == Meter(2, 4)


def test_silence_before_the_first_note_is_kept_as_bars(tmp_path: Path) -> None:
    path = saved(tmp_path, [on(60, 2 * 1920 + 5), off(60, 10)])
    assert read_score(path).bars == (Bar(0), Bar(1), Bar(2, (Note(5, 60, 10, 80),)))


def test_tracks_and_channels_become_one_voice_and_drums_are_left_out(tmp_path: Path) -> None:
    path = saved(
        tmp_path,
        [on(60, 0), off(60, 960)],
        [on(60, 480, 90, channel=3), off(60, 960, channel=3)],
        [on(35, 0, channel=9), off(35, 10, channel=9)],
    )
    assert read_score(path).bars == (Bar(0, (Note(0, 60, 480, 80), Note(480, 60, 960, 90))),)


def test_a_note_of_no_length_lasts_one_tick(tmp_path: Path) -> None:
    assert read_score(saved(tmp_path, [on(60, 0), off(60, 0)])).bars[0].notes == (Note(0, 60, 1, 80),)


HEADER = """
    4D 54 68 64  00 00 00 06   # MThd, 6 bytes
    00 00 00 01  00 60         # format 0, one track, 96 ticks per quarter
"""
RUNNING_STATUS = """
    4D 54 72 6B  00 00 00 16   # MTrk, 22 bytes
    00 90 3C 50                # note on, C4, velocity 80
    00 40 5A                   # running status: E4, velocity 90
    60 3C 00                   # a quarter later: velocity 0, which is an off
    00 40 00                   # the same for E4
    81 20 43 64                # 160 ticks later (a two-byte length): G4, velocity 100
    20 43 00                   # 32 ticks later: off
    00                         # delta of the end of track
"""
END_OF_TRACK = "FF 2F 00"


def from_hex(text: str) -> bytes:
    return bytes.fromhex("".join(line.partition("#")[0] for line in text.splitlines()))


def with_length(header: str, track: str) -> bytes:
    """Header and track with the track's length put right, whatever stands there."""
    body = from_hex(track)[8:] + from_hex(END_OF_TRACK)
    return from_hex(header) + b"MTrk" + len(body).to_bytes(4, "big") + body


def test_running_status_and_velocity_zero_are_read_as_the_standard_has_them(tmp_path: Path) -> None:
    path = tmp_path / "running.mid"
    path.write_bytes(with_length(HEADER, RUNNING_STATUS))
    notes = (Note(0, 60, 480, 80), Note(0, 64, 480, 90), Note(1280, 67, 160, 100))
    assert read_score(path) == Score((Bar(0, notes),))


def test_a_written_file_begins_with_tempo_and_meter_and_ends_with_its_last_bar(tmp_path: Path) -> None:
    score = Score((Bar(0, (Note(0, 60, 480, 80),), Meter(3, 4), 90.0), Bar(1, (), Meter(3, 4), 90.0)))
    write_score(score, tmp_path / "score.mid", "strings")
    midi = mido.MidiFile(tmp_path / "score.mid")
    assert (midi.type, midi.ticks_per_beat) == (1, 480)
    assert [[(m.type, m.time) for m in track] for track in midi.tracks] == [
        [("time_signature", 0), ("set_tempo", 0), ("end_of_track", 2880)],
        [("track_name", 0), ("note_on", 0), ("note_off", 480), ("end_of_track", 2400)],
    ]
    assert (midi.tracks[0][0].numerator, midi.tracks[0][0].denominator) == (3, 4)
    assert midi.tracks[0][1].tempo == 666_667
    assert midi.tracks[1].name == "strings"


@pytest.mark.parametrize("seed", range(20))
def test_in_a_written_file_every_on_has_one_off_and_no_pitch_is_struck_while_open(seed: int, tmp_path: Path) -> None:
    write_score(random_score(seed), tmp_path / "score.mid")
    is_open: set[int] = set()
    for message in mido.MidiFile(tmp_path / "score.mid").tracks[1]:
        if message.type == "note_on":
            assert message.note not in is_open
            is_open.add(message.note)
        elif message.type == "note_off":
            is_open.remove(message.note)
    assert is_open == set()


def test_a_bar_whose_note_is_struck_again_in_the_next_one_is_cut_there() -> None:
    score = Score((Bar(0, (Note(1800, 60, 900, 80),)), Bar(1, (Note(0, 60, 100, 70),))))
    assert notes_of_score(score) == (Note(1800, 60, 120, 80), Note(1920, 60, 100, 70))


def whole_file() -> bytes:
    buffer = io.BytesIO()
    track = mido.MidiTrack([signature(3, 4), on(60, 0), off(60, 480), on(62, 0), off(62, 480)])
    mido.MidiFile(tracks=[track]).save(file=buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MThd",
        b"this is not music, it only ends in .mid\n" * 20,
        b"RIFF" + bytes(200),
        whole_file()[:20],
        whole_file()[:-6],
        with_length(HEADER.replace("00 60", "00 00"), RUNNING_STATUS),
    ],
    ids=["empty", "only the magic", "text", "another format", "no track", "cut off", "no ticks in a quarter"],
)
def test_what_is_no_midi_file_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.mid"
    path.write_bytes(content)
    with pytest.raises(MidiFileError, match=r"broken\.mid: not a readable MIDI file \("):
        read_score(path)


def test_a_file_that_is_not_there_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.mid", tmp_path):
        with pytest.raises(MidiFileError, match=path.name):
            read_score(path)


@pytest.mark.parametrize(
    "track",
    [[], [mido.MetaMessage("set_tempo", tempo=500_000)], [on(35, 0, channel=9), off(35, 10, channel=9)]],
    ids=["nothing", "only a tempo", "only drums"],
)
def test_a_file_without_notes_is_refused_by_name(track: list[mido.Message], tmp_path: Path) -> None:
    with pytest.raises(MidiFileError, match=r"made\.mid: no notes in this file"):
        read_score(saved(tmp_path, track))


def test_a_meter_we_cannot_play_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MidiFileError, match=r"made\.mid: .*denominator is 32; allowed: 1, 2, 4, 8, 16"):
        read_score(saved(tmp_path, [signature(9, 32), on(60, 0), off(60, 10)]))


def test_a_tempo_of_no_length_is_refused_by_name(tmp_path: Path) -> None:
    """Zero microseconds per quarter: no number of beats per minute."""
    path = saved(tmp_path, [mido.MetaMessage("set_tempo", tempo=0), on(60, 0), off(60, 10)])
    with pytest.raises(MidiFileError, match=r"made\.mid: "):
        read_score(path)


def changed(content: bytes, rng: random.Random) -> bytes:
    broken = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        broken[rng.randrange(len(broken))] = rng.randrange(256)
    return bytes(broken)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


@pytest.mark.parametrize("damage", [changed, cut])
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    damage: Callable[[bytes, random.Random], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "damaged.mid"
    rng = random.Random(11)
    for _ in range(400):
        path.write_bytes(damage(whole_file(), rng))
        try:
            assert read_score(path).bars
        except MidiFileError as refusal:
            assert "damaged.mid" in str(refusal)


def test_real_songs_come_back_from_our_own_files(pop909: Path, tmp_path: Path) -> None:
    songs = sorted(pop909.rglob("*.mid"))[::200][:4]
    assert songs
    for song in songs:
        score = read_score(song)
        write_score(score, tmp_path / song.name)
        again = read_score(tmp_path / song.name)
        assert [(bar.notes, bar.meter) for bar in again.bars] == [(bar.notes, bar.meter) for bar in score.bars]
        assert [bar.tempo_bpm for bar in again.bars] == pytest.approx([bar.tempo_bpm for bar in score.bars], abs=0.01)
