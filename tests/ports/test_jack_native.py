"""JACK's own ports on a real server: every message at its frame, and the server's death survived."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fractal_live.ports import jack_client
from fractal_live.ports.jack_client import CycleClock
from fractal_live.ports.midi_in import open_input
from fractal_live.ports.midi_out import open_output
from fractal_live.ports.midi_system import JACK_NATIVE, PortError, choose_api, input_ports, output_ports
from tests import jack

if jack_client.is_installed():
    from tests.ports.frames import FrameListener, FrameSender

needs_package = pytest.mark.skipif(not jack_client.is_installed(), reason="JACK-Client is not installed")
MS = 1_000_000
RATE = 48_000
PERIOD_FRAMES = 1024
TRIES = 5  # runs until one without an xrun


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with jack.mortal_server("fractal-test-native", PERIOD_FRAMES) as running:
        yield running.name


def await_that(claim: Callable[[], object], limit_s: float = 5.0) -> bool:
    deadline_s = time.monotonic() + limit_s
    while not claim():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.005)
    return True


class Frames:
    """A JACK client's clocks: frames count steadily, reading the present one is up to a frame off."""

    samplerate = RATE

    def __init__(self) -> None:
        self.last_frame_time = 0
        self.origin_ns = time.monotonic_ns()

    @property
    def frame_time(self) -> int:
        return (time.monotonic_ns() - self.origin_ns) * RATE // 10**9 % (1 << 32)


def test_a_cycle_begins_when_its_first_frame_does_and_an_xrun_is_followed_at_once() -> None:
    frames = Frames()
    clock = CycleClock(frames)
    for cycle in range(20):
        frames.last_frame_time = cycle * 1024
        assert abs(clock.start_ns(1024) - (frames.origin_ns + cycle * 1024 * 10**9 // RATE)) < 100_000
    frames.origin_ns += 50 * MS
    assert abs(clock.start_ns(1024) - (frames.origin_ns + 19 * 1024 * 10**9 // RATE)) < 100_000


def test_the_frame_counter_may_wrap() -> None:
    """It does after a day at 48 kHz."""
    frames = Frames()
    clock = CycleClock(frames)
    frames.origin_ns -= ((1 << 32) - 100) * 10**9 // RATE
    frames.last_frame_time = (1 << 32) - 1000
    before_ns = clock.start_ns(1024)
    frames.last_frame_time = 24
    after_ns = clock.start_ns(1024)
    assert abs(after_ns - before_ns - 1024 * 10**9 / RATE) < 100_000


@pytest.mark.ports
@needs_package
@pytest.mark.skipif(bool(jack.missing()), reason=jack.missing() or "JACK is there")
def test_a_server_that_does_not_run_is_a_quick_quiet_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "fractal-test-nowhere")
    begun_s = time.monotonic()
    with pytest.raises(PortError, match=r"jack-native.*does not answer"):
        open_output("fractal-live", "jack-native")
    assert time.monotonic() - begun_s < 3
    assert capfd.readouterr().err == ""


def test_without_the_package_the_answer_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jack_client, "jack", None)
    with pytest.raises(PortError, match=r"fractal-live\[jack\]"):
        choose_api("jack-native")


@pytest.mark.ports
@needs_package
def test_auto_takes_jacks_own_ports_where_there_is_nothing_better(server: str) -> None:
    assert choose_api("jack-native") == JACK_NATIVE
    output, midi_in = open_output("fractal-live"), open_input("fractal-live", lambda: None)
    try:
        assert (output.name, midi_in.name) == ("fractal-live:output", "fractal-live-in:input")
        assert "fractal-live:output" in input_ports(JACK_NATIVE)
        assert "fractal-live-in:input" in output_ports(JACK_NATIVE)
        assert output.ahead_ns == 2 * round(PERIOD_FRAMES * 1e9 / RATE) + 5 * MS
    finally:
        output.close()
        midi_in.close()


def heard_at_frames(gap_ns: int, count: int) -> tuple[list[tuple[int, bytes]], list[tuple[int, int]], int]:
    """Notes every `gap_ns` as the listener heard them, what was said to have been sent (due, sent), and the xruns."""
    output = open_output("fractal-live", "jack-native")
    listener = FrameListener(output.name)
    time.sleep(0.2)
    first_ns = time.monotonic_ns() + 100 * MS
    events = [(first_ns + number * gap_ns, number, bytes((0x90, number % 128, 64))) for number in range(count)]
    assert output.play(events) == count
    listener.await_that(lambda messages: len(messages) >= count, 5 + gap_ns * count * 1e-9)
    said = [(event[0], sent_ns) for event, sent_ns in output.take_sent()]
    output.close()
    listener.close()
    return listener.heard, said, listener.xruns + output.xruns


@pytest.mark.ports
@pytest.mark.slow
@needs_package
def test_events_arrive_exactly_as_many_frames_apart_as_they_are_due(server: str) -> None:
    for _ in range(TRIES):
        heard, said, xruns = heard_at_frames(5 * MS, 200)
        if not xruns:
            break
    else:
        pytest.skip(f"no run out of {TRIES} was without an xrun")
    assert [message[1] for _, message in heard] == [number % 128 for number in range(200)]
    gaps = [after - before for (before, _), (after, _) in itertools.pairwise(heard)]
    assert max(abs(gap - 240) for gap in gaps) <= 2  # frames of 21 µs; a period is 1024
    assert sum(gap == 240 for gap in gaps) > 0.75 * len(gaps)
    assert max(abs(sent_ns - due_ns) for due_ns, sent_ns in said) <= 21_000


@pytest.mark.ports
@pytest.mark.slow
@needs_package
def test_what_is_sent_arrives_whole_and_in_order_even_just_before_closing(server: str) -> None:
    output = open_output("fractal-live", "jack-native")
    listener = FrameListener(output.name)
    sent = [bytes((0x90 if number % 2 == 0 else 0x80, 60 + number // 2, 80)) for number in range(40)]
    output.send(sent)
    output.close()
    output.close()
    assert listener.await_that(lambda messages: len(messages) >= len(sent))
    time.sleep(0.1)
    assert listener.messages == sent
    listener.close()


@pytest.mark.ports
@pytest.mark.slow
@needs_package
def test_what_is_late_leaves_at_once_in_its_order_after_what_is_sent_at_once(server: str) -> None:
    output = open_output("fractal-live", "jack-native")
    listener = FrameListener(output.name)
    time.sleep(0.1)
    now_ns = time.monotonic_ns()
    with output._lock:  # no cycle comes between
        output._waiting.extend((now_ns - 10**9, 0, bytes((0x90, pitch, 64))) for pitch in range(60, 70))
        output._at_once.append(b"\x80\x01\x00")
    assert listener.await_that(lambda messages: len(messages) == 11)
    assert [message[1] for message in listener.messages] == [1, *range(60, 70)]
    assert all(sent_ns - due_ns >= 10**9 for (due_ns, _, _), sent_ns in output.take_sent())
    output.close()
    listener.close()


@pytest.mark.ports
@pytest.mark.slow
@needs_package
def test_what_is_taken_back_does_not_arrive_and_all_else_does(server: str) -> None:
    """Sent and taken back together are everything, whenever in a cycle it happens."""
    output = open_output("fractal-live", "jack-native")
    listener = FrameListener(output.name)
    time.sleep(0.1)
    left = []
    for turn in range(20):
        first_ns = time.monotonic_ns() + 10 * MS
        events = [(first_ns + number * 2 * MS, number, bytes((0x90, number, 1 + turn))) for number in range(60)]
        assert output.play(events) == 60
        time.sleep(0.013 + turn * 0.0023)
        taken = output.take_back()
        sent = [event for event, _ in output.take_sent()]
        assert sent == events[: 60 - taken]
        left += [message for _, _, message in sent]
    assert 0 < len(left) < 20 * 60
    assert listener.await_that(lambda messages: len(messages) >= len(left))
    output.close()
    assert listener.messages == left
    listener.close()


@pytest.mark.ports
@pytest.mark.slow
@needs_package
def test_a_full_queue_takes_no_more_and_says_so(server: str) -> None:
    output = open_output("fractal-live", "jack-native")
    events = [(time.monotonic_ns() + 10**12, 0, b"\x90\x3c\x40")] * 3000
    assert output.play(events) == 2048
    assert output.play(events) == 0
    assert output.take_back() == 2048
    output.close()


@pytest.mark.ports
@pytest.mark.slow
@needs_package
def test_what_waits_for_a_connection_is_the_first_thing_that_it_carries(server: str) -> None:
    output = open_output("fractal-live", "jack-native")
    output.send_once_connected([b"\x80\x3c\x00", b"\xb0\x7b\x00"])
    time.sleep(0.1)
    listener = FrameListener(output.name)
    assert listener.await_that(lambda messages: len(messages) >= 2)
    assert listener.messages == [b"\x80\x3c\x00", b"\xb0\x7b\x00"]
    output.close()
    listener.close()


@pytest.mark.ports
@pytest.mark.slow
@needs_package
def test_clocks_are_stamped_with_the_time_of_their_frame(server: str) -> None:
    """RtMidi stamps a whole period of 21 ms alike: more than one clock at 120 bpm."""
    pokes: list[int] = []
    midi_in = open_input("fractal-live", lambda: pokes.append(1), "jack-native")
    for _ in range(TRIES):
        midi_in.received.clear()
        xruns = midi_in.xruns
        sender = FrameSender(midi_in.name, [b"\xf8"] * 96, 1000)
        await_that(lambda: len(midi_in.received) >= 96)
        sender.close()
        if midi_in.xruns == xruns:
            break
    else:
        pytest.skip(f"no run out of {TRIES} was without an xrun")
    midi_in.close()
    frame, at_ns = sender.anchor
    expected = [at_ns + (sent - frame) * 10**9 // RATE for sent in sender.sent]
    stamps = [stamp_ns for stamp_ns, _ in midi_in.received]
    assert len(stamps) == len(expected) == 96
    errors_ns = sorted(stamp - wanted for stamp, wanted in zip(stamps, expected, strict=True))
    assert errors_ns[-1] - errors_ns[0] < 1 * MS
    assert max(abs(error) for error in errors_ns) < 1 * MS
    assert pokes


@pytest.mark.ports
@pytest.mark.slow
@needs_package
def test_the_input_drops_active_sensing_and_sysex(server: str) -> None:
    midi_in = open_input("fractal-live", lambda: None, "jack-native")
    sent = [b"\xfe", b"\xf0\x01\x02\xf7", b"\xfa", b"\xf8", b"\xb0\x01\x40", b"\xf2\x05\x01"]
    sender = FrameSender(midi_in.name, sent, 100)
    await_that(lambda: len(midi_in.received) >= 4)
    sender.close()
    midi_in.close()
    assert [message for _, message in midi_in.received] == [b"\xfa", b"\xf8", b"\xb0\x01\x40", b"\xf2\x05\x01"]


@pytest.mark.ports
@pytest.mark.slow
@needs_package
@pytest.mark.parametrize("midi_api", ["jack-native", "jack"])
def test_an_existing_port_that_went_away_is_plugged_in_again_when_it_is_back(server: str, midi_api: str) -> None:
    synth = open_input("Soft Synth", lambda: None, midi_api)
    output = open_output("fractal-live", midi_api, connect="soft synth")
    assert output.name == "Soft Synth-in:input"
    assert not output.reconnect()
    synth.close()
    assert not output.reconnect()
    output.send([b"\x90\x3c\x40"])  # into the void
    time.sleep(0.05)
    synth = open_input("Soft Synth", lambda: None, midi_api)
    assert output.reconnect()
    assert not output.reconnect()
    output.send([b"\x90\x3e\x40"])
    assert await_that(lambda: synth.received)
    output.close()
    synth.close()
    assert [message for _, message in synth.received] == [b"\x90\x3e\x40"]


@pytest.mark.ports
@pytest.mark.slow
@needs_package
def test_a_named_port_that_is_not_there_is_answered_with_those_there_are(server: str) -> None:
    with pytest.raises(PortError, match=r"piano.*is not there"):
        open_output("fractal-live", "jack-native", connect="piano")
    with pytest.raises(PortError, match=r"piano.*is not there"):
        open_input("fractal-live", lambda: None, "jack-native", clock_port="piano")


@pytest.mark.ports
@pytest.mark.slow
@needs_package
def test_a_killed_server_is_noticed_at_once_and_what_did_not_leave_is_known() -> None:
    lost = threading.Event()
    with jack.mortal_server("fractal-test-mortal") as server:
        output = open_output("fractal-live", "jack-native", on_lost=lost.set)
        midi_in = open_input("fractal-live", lambda: None, "jack-native")
        assert not output.is_lost
        server.kill()
        assert lost.wait(2)
        assert await_that(lambda: output.is_lost and midi_in.is_lost, 2)
        output.play([(time.monotonic_ns(), 0, b"\x90\x3c\x40")] * 5000)
        output.send([b"\x80\x3c\x00"])
        assert output.take_sent() == []
        assert output.take_unsent() == [b"\x80\x3c\x00"]
        assert not output.reconnect()
        begun_s = time.monotonic()
        output.close()
        midi_in.close()
        assert time.monotonic() - begun_s < 1
        server.start()
        output = open_output("fractal-live", "jack-native")
        listener = FrameListener(output.name)
        output.send([b"\x90\x40\x40"])
        assert listener.await_that(lambda messages: messages == [b"\x90\x40\x40"])
        output.close()
        listener.close()


@pytest.mark.ports
@pytest.mark.slow
@needs_package
def test_rtmidi_learns_of_a_killed_server_and_sends_nothing_more() -> None:
    """It would freeze the whole process after some 2300 messages."""
    with jack.mortal_server("fractal-test-mortal-rt") as server:
        output = open_output("fractal-live", "jack")
        server.kill()
        assert await_that(lambda: output.is_lost, 2)
        output.send([b"\x90\x3c\x40"] * 10_000)
        output.close()
