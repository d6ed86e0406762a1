"""What is heard through FluidSynth: the pitch that was sent, for as long as it was, and nothing after it."""

from __future__ import annotations

import time
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fractal_live.music.notes import Bar, Note
from fractal_live.ports import listening, pipes
from fractal_live.ports.listening import Listening, Synth, check_listening, find_soundfont
from fractal_live.ports.midi_system import PortError
from tests.instrument import wait_for
from tests.scenarios.test_stage import Daemon
from tests.test_cli import complaint

RATE = 44100
Sound = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def soundfont() -> Path:
    """An installed one; skips where there is none, or no FluidSynth."""
    try:
        return check_listening()
    except PortError as missing:
        pytest.skip(str(missing))


def rendered(synth: Synth, seconds: float) -> Sound:
    """What it sounds like, both channels together."""
    samples = synth.synth.get_samples(round(seconds * RATE))
    return np.asarray(samples, dtype=np.float64).reshape(-1, 2).sum(axis=1)


def level(sound: Sound) -> float:
    return float(np.sqrt(np.mean(sound**2)))


def pitch_of(sound: Sound) -> float:
    """The MIDI pitch of the lowest partial that is nearly as strong as the strongest."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 4 * len(sound)))
    begins = int(np.argmax(spectrum > 0.3 * spectrum.max()))
    peak = begins + int(np.argmax(spectrum[begins : begins + begins // 16]))
    peak_hz = peak * RATE / (4 * len(sound))
    return 69 + 12 * float(np.log2(peak_hz / 440))


@pytest.mark.parametrize("pitch", [60, 69, 84])
def test_what_sounds_is_the_pitch_that_was_sent_and_silence_follows_its_end(soundfont: Path, pitch: int) -> None:
    synth = Synth(soundfont)
    try:
        assert level(rendered(synth, 0.1)) < 2  # of 32768: dither
        synth.take(bytes((0x90, pitch, 100)))
        sound = rendered(synth, 0.5)
        assert level(sound) > 100
        assert pitch_of(sound) == pytest.approx(pitch, abs=0.5)
        synth.take(bytes((0x80, pitch, 0)))
        rendered(synth, 3.0)
        assert level(rendered(synth, 0.2)) < 0.01 * level(sound)
    finally:
        synth.close()


def test_all_notes_off_and_all_sound_off_end_what_sounds(soundfont: Path) -> None:
    synth = Synth(soundfont)
    try:
        for pitch in (60, 64, 67):
            synth.take(bytes((0x90, pitch, 100)))
        assert level(rendered(synth, 0.2)) > 100
        for controller in (64, 123, 120):
            synth.take(bytes((0xB0, controller, 0)))
        rendered(synth, 2.0)
        assert level(rendered(synth, 0.2)) < 1
    finally:
        synth.close()


def test_another_program_sounds_otherwise_and_a_bend_moves_the_pitch(soundfont: Path) -> None:
    synth = Synth(soundfont)
    try:
        synth.take(bytes((0xC0, 73)))  # a flute
        synth.take(bytes((0x90, 69, 100)))
        rendered(synth, 0.2)
        assert pitch_of(rendered(synth, 0.4)) == pytest.approx(69, abs=0.4)
        synth.take(bytes((0xE0, 0x7F, 0x7F)))  # two semitones up
        rendered(synth, 0.2)
        assert pitch_of(rendered(synth, 0.4)) == pytest.approx(71, abs=0.4)
    finally:
        synth.close()


def test_a_file_that_is_no_soundfont_is_refused(soundfont: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.sf2").write_bytes(b"RIFF")
    with pytest.raises(PortError, match="cannot read this SoundFont"):
        Synth(tmp_path / "broken.sf2")


def test_a_sound_card_that_is_not_there_is_an_error_that_says_what_to_try(soundfont: Path) -> None:
    synth = Synth(soundfont)
    try:
        with pytest.raises(PortError, match="finds no sound card with the driver 'theremin'; try audio_driver"):
            synth.start("theremin")
    finally:
        synth.close()


def test_the_soundfont_that_is_named_counts_else_the_usual_one_else_there_is_advice(tmp_path: Path) -> None:
    folders = (str(tmp_path / "nowhere"), str(tmp_path))
    with pytest.raises(PortError, match=r"no SoundFont is installed: .*; or name one with --soundfont"):
        find_soundfont("", folders)
    for name in ("Aaa.sf2", "TimGM6mb.sf2", "FluidR3_GM.sf3", "notes.txt"):
        (tmp_path / name).touch()
    assert find_soundfont("", folders) == tmp_path / "FluidR3_GM.sf3"
    assert find_soundfont(str(tmp_path / "Aaa.sf2"), folders) == tmp_path / "Aaa.sf2"
    with pytest.raises(PortError, match="is not there"):
        find_soundfont(str(tmp_path / "gone.sf2"), folders)


def test_a_soundfont_that_is_not_there_is_refused_before_the_show(soundfont: Path) -> None:
    for command in (("run",), ("replay", "set.mid")):
        assert complaint(*command, "--soundfont", "gone.sf2") == "the SoundFont gone.sf2 is not there"


def test_without_the_package_or_the_library_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(error: Exception) -> None:
        def fail(name: str) -> None:
            raise error

        monkeypatch.setattr(listening.importlib, "import_module", fail)

    missing(ModuleNotFoundError("No module named 'fluidsynth'"))
    with pytest.raises(PortError, match=r"pip install 'fractal-live\[listen\]'"):
        check_listening()
    missing(ImportError("Couldn't find the FluidSynth library."))
    monkeypatch.setattr(listening.sys, "platform", "darwin")
    with pytest.raises(PortError, match="brew install fluid-synth"):
        check_listening()


class Out:
    """An output from which everything leaves when it is told to."""

    ahead_ns = 7

    def __init__(self) -> None:
        self.waiting: list[tuple[int, int, bytes]] = []
        self.sent: list[bytes] = []
        self.told: list[tuple[tuple[int, int, bytes], int]] = []

    def play(self, events: Sequence[tuple[int, int, bytes]]) -> int:
        self.waiting += events
        return len(events)

    def take_back(self) -> int:
        count, self.waiting = len(self.waiting), []
        return count

    def send(self, messages: Sequence[bytes]) -> None:
        self.sent += messages

    def leave(self) -> None:
        now_ns = time.monotonic_ns()
        self.told += [(event, now_ns) for event in self.waiting]
        self.waiting = []

    def take_sent(self) -> list[tuple[tuple[int, int, bytes], int]]:
        told, self.told = self.told, []
        return told


class Ear(Synth):
    """Keeps what it is to play."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def take(self, message: bytes) -> None:
        self.heard.append(message)

    def close(self) -> None:
        self.heard.append(b"closed")


def test_what_has_left_is_heard_in_its_order_and_what_was_taken_back_is_not() -> None:
    out, ear = Out(), Ear()
    heard = Listening(ear, out)
    first, second, off = b"\x90\x3c\x40", b"\x90\x40\x40", b"\x80\x3c\x00"
    assert heard.ahead_ns == 7 and heard.play([(1, 0, first)]) == 1
    out.leave()
    assert [event for event, _ in heard.take_sent()] == [(1, 0, first)]
    heard.play([(2, 0, second)])
    assert heard.take_back() == 1
    assert heard.take_sent() == []
    heard.send([off])
    assert out.sent == [off]
    heard.close()
    assert ear.heard == [first, off, b"closed"]


@pytest.mark.ports
@pytest.mark.slow
def test_the_stage_is_heard_while_it_plays(soundfont: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FluidSynth writes into a file, in real time."""
    monkeypatch.chdir(tmp_path)
    setup = pipes.StageSetup(
        "internal", midi_api="none", tempo_bpm=240, end_bar=1, soundfont=str(soundfont), audio_driver="file"
    )
    daemon = Daemon(setup)
    try:
        daemon.hear(pipes.StageReady)
        silence = Bar(1)
        daemon.send(pipes.PlayBar(Bar(0, (Note(0, 69, 960, 100),)), 1, silence), pipes.TransportCommand("start"))
        daemon.hear(pipes.TransportState, claim=lambda state: state.is_rolling)
        daemon.hear(pipes.Sounded, claim=lambda sounded: sounded.message[0] == 0x80)
    finally:
        daemon.leave()
    wait_for(lambda: (tmp_path / "fluidsynth.wav").stat().st_size > RATE, 5, "the sound")
    with wave.open(str(tmp_path / "fluidsynth.wav")) as file:
        assert (file.getframerate(), file.getnchannels()) == (RATE, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
    sound = samples.astype(np.float64).reshape(-1, 2).sum(axis=1)
    begins = int(np.argmax(np.abs(sound) > 0.05 * np.abs(sound).max()))
    assert pitch_of(sound[begins : begins + round(0.4 * RATE)]) == pytest.approx(69, abs=0.5)
