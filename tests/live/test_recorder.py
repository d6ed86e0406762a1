import io
import os
import random
from datetime import datetime
from pathlib import Path

import mido
import pytest

from fractal_live.live.recorder import Recorder, recording_path
from fractal_live.music.meter import FOUR_FOUR, PPQN

BAR = FOUR_FOUR.ticks_per_bar
Event = tuple[int, str, int]


def on(pitch: int, velocity: int = 64, channel: int = 0) -> bytes:
    return bytes((0x90 | channel, pitch, velocity))


def off(pitch: int, channel: int = 0) -> bytes:
    return bytes((0x80 | channel, pitch, 0))


def read(recorder: Recorder) -> mido.MidiFile:
    return mido.MidiFile(file=io.BytesIO(recorder.midi_bytes()), charset="utf-8")


def timed(track: mido.MidiTrack) -> list[tuple[int, mido.Message]]:
    now, events = 0, []
    for message in track:
        now += message.time
        events.append((now, message))
    return events


def notes(recorder: Recorder) -> list[Event]:
    found = timed(read(recorder).tracks[1])
    return [(tick, m.type, m.note) for tick, m in found if m.type in ("note_on", "note_off")]


def tempo_map(recorder: Recorder) -> list[tuple[int, float]]:
    found = timed(read(recorder).tracks[0])
    return [(tick, round(mido.tempo2bpm(m.tempo), 2)) for tick, m in found if m.type == "set_tempo"]


def meters(recorder: Recorder) -> list[tuple[int, int, int]]:
    found = timed(read(recorder).tracks[0])
    return [(tick, m.numerator, m.denominator) for tick, m in found if m.type == "time_signature"]


def ends(recorder: Recorder) -> list[int]:
    return [timed(track)[-1][0] for track in read(recorder).tracks]


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / "recordings" / "set.mid")


def test_an_empty_recording_is_a_valid_file_with_tempo_and_time_signature_at_zero(recorder: Recorder) -> None:
    assert (tempo_map(recorder), meters(recorder), ends(recorder)) == ([(0, 120.0)], [(0, 4, 4)], [0, 0])
    assert read(recorder).ticks_per_beat == PPQN


def test_notes_stand_where_they_sounded_and_the_end_is_a_bar_line(recorder: Recorder) -> None:
    recorder.sounded(0, on(60))
    recorder.sounded(480, off(60))
    recorder.sounded(BAR, on(62))
    recorder.sounded(BAR + 10, off(62))
    assert notes(recorder) == [
        (0, "note_on", 60),
        (480, "note_off", 60),
        (BAR, "note_on", 62),
        (BAR + 10, "note_off", 62),
    ]
    assert ends(recorder) == [2 * BAR, 2 * BAR]


def test_the_file_may_be_made_at_any_time_and_closes_what_sounds_without_closing_it_for_good(
    recorder: Recorder,
) -> None:
    recorder.sounded(100, on(60))
    assert notes(recorder) == [(100, "note_on", 60), (BAR, "note_off", 60)]
    recorder.sounded(200, off(60))
    assert notes(recorder) == [(100, "note_on", 60), (200, "note_off", 60)]


def test_a_restruck_pitch_is_closed_before_it_is_opened_and_a_stray_off_is_left_out(recorder: Recorder) -> None:
    recorder.sounded(0, off(60))
    recorder.sounded(0, on(60))
    recorder.sounded(50, on(60))
    recorder.sounded(60, on(60, velocity=0))
    recorder.sounded(70, off(60))
    assert notes(recorder) == [
        (0, "note_on", 60),
        (50, "note_off", 60),
        (50, "note_on", 60),
        (60, "note_off", 60),
    ]


def test_tempo_changes_stand_at_their_ticks_and_the_last_of_one_tick_counts(recorder: Recorder) -> None:
    recorder.tempo_at(0, 96)
    recorder.tempo_at(0, 100)
    recorder.tempo_at(BAR, 100.001)
    recorder.tempo_at(BAR, 110)
    recorder.tempo_at(BAR, 112)
    recorder.tempo_at(2 * BAR, 120)
    assert tempo_map(recorder) == [(0, 100.0), (BAR, 112.0), (2 * BAR, 120.0)]


@pytest.mark.parametrize(("said", "kept"), [(0.001, 4.0), (1e9, 1000.0), (-5.0, 4.0)])
def test_an_impossible_tempo_is_brought_to_what_a_file_can_hold(recorder: Recorder, said: float, kept: float) -> None:
    recorder.tempo_at(0, said)
    assert tempo_map(recorder) == [(0, kept)]


def test_a_tempo_that_is_no_number_is_left_out(recorder: Recorder) -> None:
    recorder.tempo_at(0, float("nan"))
    assert tempo_map(recorder) == [(0, 120.0)]


def test_marks_keep_their_text_and_place(recorder: Recorder) -> None:
    recorder.mark(0, "nocturne")
    recorder.tempo_at(240, 90)
    recorder.mark(480, "étude \udcff " + "x" * 1000)
    found = [(tick, m.text[:8]) for tick, m in timed(read(recorder).tracks[0]) if m.type == "marker"]
    assert found == [(0, "nocturne"), (480, "étude ? ")]
    assert tempo_map(recorder) == [(0, 120.0), (240, 90.0)]


def test_a_new_start_goes_on_at_the_next_bar_line_and_closes_what_sounded(recorder: Recorder) -> None:
    recorder.sounded(BAR + 100, on(60))
    recorder.jumped_to(0)
    recorder.sounded(0, on(62))
    recorder.sounded(10, off(62))
    assert notes(recorder) == [
        (BAR + 100, "note_on", 60),
        (BAR + 100, "note_off", 60),
        (2 * BAR, "note_on", 62),
        (2 * BAR + 10, "note_off", 62),
    ]


def test_a_new_start_that_nobody_told_is_noticed(recorder: Recorder) -> None:
    recorder.sounded(5 * BAR + 7, on(60))
    recorder.sounded(5 * BAR + 8, off(60))
    recorder.tempo_at(0, 90)
    recorder.sounded(0, on(62))
    assert notes(recorder)[2] == (6 * BAR, "note_on", 62)
    assert tempo_map(recorder) == [(0, 120.0), (6 * BAR, 90.0)]


def test_starting_again_and_again_adds_no_empty_bars(recorder: Recorder) -> None:
    recorder.sounded(0, on(60))
    recorder.sounded(BAR - 1, off(60))
    for _ in range(10):
        recorder.jumped_to(0)
    recorder.sounded(0, on(60))
    assert notes(recorder)[-2] == (BAR, "note_on", 60)


def test_continuing_inside_a_far_bar_keeps_the_place_in_the_bar(recorder: Recorder) -> None:
    recorder.sounded(10, on(60))
    recorder.sounded(20, off(60))
    recorder.jumped_to(500 * BAR + 240)
    recorder.sounded(500 * BAR + 240, on(60))
    assert notes(recorder)[2] == (BAR + 240, "note_on", 60)


def test_a_message_that_is_a_little_late_is_kept_in_order(recorder: Recorder) -> None:
    recorder.sounded(480, on(60))
    recorder.sounded(400, off(60))
    assert notes(recorder) == [(480, "note_on", 60), (480, "note_off", 60)]


def test_notes_sent_with_latency_stand_at_their_own_ticks_behind_the_transport(recorder: Recorder) -> None:
    for step in range(4):
        recorder.tempo_at(step * 120 + 96, 120)
        recorder.sounded(step * 120, on(60 + step))
    assert [tick for tick, kind, _ in notes(recorder) if kind == "note_on"] == [0, 120, 240, 360]


def test_messages_that_are_no_part_of_a_recording_are_counted(recorder: Recorder) -> None:
    for message in (b"", b"\xf8", b"\x90\x3c", bytes((0x90, 200, 1)), bytes((0xC0, 1, 0)), bytes((0xF2, 0, 0))):
        recorder.sounded(0, message)
    assert recorder.ignored == 6 and recorder.notes == 0


def something_happens(rng: random.Random, recorder: Recorder, tick: int) -> None:
    happenings = (
        lambda: recorder.sounded(tick, on(rng.randint(58, 62), rng.randint(0, 127), rng.randint(0, 2))),
        lambda: recorder.sounded(tick, off(rng.randint(58, 62), rng.randint(0, 2))),
        lambda: recorder.sounded(tick, bytes((0xB0, 64, rng.randint(0, 127)))),
        lambda: recorder.tempo_at(tick, rng.uniform(-10, 400)),
        lambda: recorder.mark(tick, "here"),
        lambda: recorder.jumped_to(tick),
    )
    rng.choice(happenings)()


def test_every_on_has_one_off_and_time_never_goes_back_whatever_comes(tmp_path: Path) -> None:
    rng = random.Random(5)
    for case in range(40):
        recorder, tick = Recorder(tmp_path / f"{case}.mid"), 0
        for _ in range(200):
            tick += rng.choice((0, 0, 1, 60, 480, -30, -10_000, 1 << 30)) if rng.random() < 0.3 else 5
            something_happens(rng, recorder, tick)
        open_voices: set[tuple[int, int]] = set()
        for message in read(recorder).tracks[1]:
            assert message.time >= 0
            if message.type == "note_on":
                assert (message.channel, message.note) not in open_voices
                open_voices.add((message.channel, message.note))
            elif message.type == "note_off":
                open_voices.remove((message.channel, message.note))
        assert not open_voices
        assert len(set(ends(recorder))) == 1
        assert tempo_map(recorder)[0][0] == 0 and meters(recorder)[0][0] == 0


def save_if_due(recorder: Recorder) -> bool:
    data = recorder.due()
    return data is not None and recorder.write(data)


def test_it_is_saved_at_most_once_a_bar_and_loses_at_most_a_bar(recorder: Recorder) -> None:
    saved = []
    for step in range(64):
        recorder.sounded(step * 120, on(60))
        recorder.sounded(step * 120 + 60, off(60))
        if save_if_due(recorder):
            saved.append(step)
            assert recorder.path.read_bytes() == recorder.midi_bytes()
    assert saved == [0, 16, 32, 48]
    assert [path.name for path in recorder.path.parent.iterdir()] == ["set.mid"]


def test_a_recording_without_notes_leaves_no_file(recorder: Recorder) -> None:
    recorder.tempo_at(10 * BAR, 90)
    assert not save_if_due(recorder) and not recorder.close()
    assert not recorder.path.exists()


def test_closing_saves_everything(recorder: Recorder) -> None:
    recorder.sounded(0, on(60))
    save_if_due(recorder)
    recorder.sounded(5, off(60))
    assert recorder.close()
    assert recorder.path.read_bytes() == recorder.midi_bytes()


def test_a_disk_that_refuses_is_counted_and_the_old_file_stays(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.sounded(0, on(60))
    assert save_if_due(recorder)
    before = recorder.path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    recorder.sounded(BAR, on(62))
    assert save_if_due(recorder) is False
    assert (recorder.write_errors, recorder.last_error) == (1, "recording set.mid not saved: No space left on device")
    assert recorder.path.read_bytes() == before
    assert os.listdir(recorder.path.parent) == ["set.mid"]
    monkeypatch.undo()
    recorder.sounded(2 * BAR, on(64))
    assert save_if_due(recorder)


def test_a_folder_that_cannot_be_made_is_an_error_told_not_raised(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    recorder = Recorder(tmp_path / "file" / "set.mid")
    recorder.sounded(0, on(60))
    assert recorder.close() is False
    assert recorder.write_errors == 1


def test_recordings_of_one_second_do_not_overwrite_each_other(tmp_path: Path) -> None:
    started = datetime(2024, 5, 6, 21, 30, 0)
    first = recording_path(tmp_path, "Nocturne / op. 9!", started)
    first.touch()
    assert first.name == "2024-05-06_21-30-00_Nocturne-op-9.mid"
    assert recording_path(tmp_path, "Nocturne / op. 9!", started).name == "2024-05-06_21-30-00_Nocturne-op-9_2.mid"
