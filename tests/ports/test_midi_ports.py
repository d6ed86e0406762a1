"""Real ports on a JACK server of our own, and the clear answers where there is none."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator

import pytest
import rtmidi

from fractal_live.ports import jack_client, midi_system
from fractal_live.ports.midi_in import MidiIn, open_input, set_lasting_callback
from fractal_live.ports.midi_out import NoPort, open_output
from fractal_live.ports.midi_system import PortError, choose_api, find_port
from tests import jack

needs_jack = pytest.mark.skipif(bool(jack.missing()), reason=jack.missing() or "JACK is there")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with jack.jack_server("fractal-test-ports") as name:
        yield name


def test_a_port_is_found_by_its_name_or_the_only_part_that_fits() -> None:
    ports = ["synth:in", "synth:in 2", "Drum Rack:midi"]
    assert [find_port(ports, wanted) for wanted in ("synth:in", "in 2", "drum")] == [0, 1, 2]


@pytest.mark.parametrize(("wanted", "trouble"), [("piano", "is not there"), ("synth", "fits several")])
def test_a_wrong_port_name_is_answered_with_the_ports_there_are(wanted: str, trouble: str) -> None:
    with pytest.raises(PortError, match=f"{wanted}.*{trouble}.*synth:in, synth:in 2"):
        find_port(["synth:in", "synth:in 2"], wanted)


def test_an_unknown_midi_api_is_answered_with_the_known_ones() -> None:
    with pytest.raises(PortError, match="auto, alsa, core, jack-native, jack, winmm, none"):
        choose_api("oss")


def test_without_a_midi_system_messages_are_counted_and_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtmidi, "get_compiled_api", lambda: [])
    monkeypatch.setattr(jack_client, "answers", lambda: False)
    output = open_output("fractal-live")
    assert isinstance(output, NoPort)
    output.send([b"\x90\x3c\x40"])
    output.close()
    assert (output.name, output.sent) == ("", 1)
    assert midi_system.REMEDY in output.advice
    assert "\n" not in output.advice
    assert open_input("fractal-live", lambda: None).name == ""


def test_none_opens_nothing_and_advises_nothing() -> None:
    output = open_output("fractal-live", "none")
    assert (output.name, output.advice) == ("", "")
    output.close()


@needs_jack
def test_what_holds_a_callback_outlives_its_cancelling_because_the_driver_may_still_read_it() -> None:
    """RtMidi frees it, and the driver's thread, waiting for the interpreter lock, once crashed the process with it."""

    def heard(message: object, data: object = None) -> None: ...

    def holders() -> int:
        return sum(isinstance(held, tuple) for held in gc.get_referrers(heard))

    with jack.jack_server(f"fractal-lasting-{os.getpid()}"):
        client = rtmidi.MidiIn(rtmidi.API_UNIX_JACK, name="lasting")
        set_lasting_callback(client, heard)
        assert holders() == 1
        client.cancel_callback()
        assert holders() == 1
        client.delete()


@pytest.mark.parametrize("system", ["output", "input"])
def test_a_port_asked_for_by_name_without_a_midi_system_is_an_error(system: str) -> None:
    with pytest.raises(PortError, match="synth"):
        if system == "output":
            open_output("fractal-live", "none", connect="synth")
        else:
            open_input("fractal-live", lambda: None, "none", clock_port="synth")


@needs_jack
@pytest.mark.ports
def test_a_jack_server_that_does_not_run_is_a_quick_quiet_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "fractal-test-nowhere")
    begun_s = time.monotonic()
    with pytest.raises(PortError, match=r"jack.*does not answer"):
        open_output("fractal-live", "jack")
    assert time.monotonic() - begun_s < 3
    assert capfd.readouterr().err == ""


@pytest.mark.ports
@pytest.mark.slow
def test_what_is_sent_arrives_whole_and_in_order_even_just_before_closing(server: str) -> None:
    output = open_output("fractal-live", "jack")
    assert output.name == "fractal-live:output"
    listener = jack.Listener(output.name)
    sent = [bytes((0x90 if number % 2 == 0 else 0x80, 60 + number // 2, 80)) for number in range(40)]
    output.send(sent)
    output.close()
    assert listener.await_that(lambda messages: len(messages) >= len(sent))
    assert listener.messages == sent
    listener.close()


@pytest.mark.ports
@pytest.mark.slow
def test_an_existing_port_is_opened_by_part_of_its_name(server: str) -> None:
    synth = MidiIn(lambda: None)
    client = rtmidi.MidiIn(rtmidi.API_UNIX_JACK, name="Soft Synth")
    set_lasting_callback(client, synth.on_message)
    client.open_virtual_port("midi")
    synth.listen(client, "Soft Synth:midi")
    output = open_output("fractal-live", "jack", connect="soft")
    assert output.name == "Soft Synth:midi"
    output.send([b"\x90\x3c\x40"])
    output.close()
    deadline_s = time.monotonic() + 5
    while not synth.received and time.monotonic() < deadline_s:
        time.sleep(0.01)
    synth.close()
    assert [message for _, message in synth.received] == [b"\x90\x3c\x40"]


@pytest.mark.ports
@pytest.mark.slow
def test_a_name_that_is_taken_still_opens_and_tells_its_real_name(server: str) -> None:
    first, second = open_output("fractal-live", "jack"), open_output("fractal-live", "jack")
    assert first.name == "fractal-live:output"
    assert second.name != first.name
    assert second.name.startswith("fractal-live")
    first.close()
    second.close()


@pytest.mark.ports
@pytest.mark.slow
def test_the_input_stamps_clocks_and_keys_and_drops_active_sensing_and_sysex(server: str) -> None:
    pokes: list[int] = []
    midi_in = open_input("fractal-live", lambda: pokes.append(1), "jack")
    assert midi_in.name == "fractal-live-in:input"
    leader = jack.Leader(midi_in.name)
    before_ns = time.monotonic_ns()
    for message in ((0xFE,), (0xF0, 1, 2, 0xF7), (0xFA,), (0xF8,), (0xB0, 1, 64), (0xF2, 5, 1)):
        leader.send(*message)
    deadline_s = time.monotonic() + 5
    while len(midi_in.received) < 4 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    leader.close()
    midi_in.close()
    assert [message for _, message in midi_in.received] == [b"\xfa", b"\xf8", b"\xb0\x01\x40", b"\xf2\x05\x01"]
    stamps = [arrived_ns for arrived_ns, _ in midi_in.received]
    assert stamps == sorted(stamps)
    assert before_ns < stamps[0]
    assert len(pokes) == 4


@pytest.mark.ports
@pytest.mark.slow
def test_closing_the_input_while_clocks_pour_in_neither_hangs_nor_fails(server: str) -> None:
    """JACK cancels its thread on closing; cancelled inside our callback it once took the interpreter
    lock's mutex with it, and every thread of the process froze."""
    for _ in range(5):
        midi_in = open_input("fractal-live", lambda: None, "jack")
        leader = jack.Leader(midi_in.name)
        for _ in range(200):
            leader.send(0xF8)
        midi_in.close()
        midi_in.close()
        leader.close()
