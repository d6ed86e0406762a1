"""The stage's loop, step by step, with a pipe and a port of ours."""

from __future__ import annotations

import time

from fractal_live.music.notes import Bar, Note
from fractal_live.ports import pipes
from fractal_live.ports.midi_in import MidiIn
from fractal_live.ports.midi_out import NoPort
from fractal_live.ports.port_keeper import MidiPorts, PortKeeper
from fractal_live.ports.wake_up import WakeUp
from fractal_live.stage import Stage

BAR = Bar(0, (Note(0, 60, 480, 90),))


class Ends:
    """A pipe: what lies in `incoming` is taken, `sent` is what the stage said."""

    is_closed = False

    def __init__(self, *incoming: object) -> None:
        self.incoming = list(incoming)
        self.sent: list[object] = []

    def send(self, message: object) -> None:
        self.sent.append(message)

    def send_all(self, messages: list[object]) -> None:
        self.sent += messages

    def take(self) -> list[object]:
        taken, self.incoming = self.incoming, []
        return taken

    def close(self) -> None:
        """Nothing to do."""


class Output(NoPort):
    """Keeps when the first message left; ends the loop then."""

    def __init__(self) -> None:
        self.first_ns = 0
        self.stage: Stage | None = None
        super().__init__()

    def _count(self, message: bytes) -> None:
        self.first_ns = self.first_ns or time.monotonic_ns()
        if self.stage is not None:
            self.stage.leave()


def played(sync: str, latency_ms: float, *incoming: object, stops_after_ns: int | None = None) -> tuple[Ends, Output]:
    """A stage that ends with its first note or, if that is given, after a Stop; in midi mode Start and a first
    clock wait at the port, for as long as it takes from there to the Stop."""
    wake, ends, output = WakeUp(), Ends(pipes.PlayBar(BAR, 1, BAR.moved_to(1)), *incoming), Output()
    midi_in = MidiIn(wake.poke)
    setup = pipes.StageSetup(sync=sync, latency_ms=latency_ms)
    ports = MidiPorts(output, midi_in)
    keeper = PortKeeper(lambda: ports, wake.poke)
    stage = Stage(setup, ends, wake, ports, keeper)  # type: ignore[arg-type]
    output.stage = stage
    if sync == "midi":
        stage._take_commands()
        started_ns = time.monotonic_ns() - (stops_after_ns or 0)
        midi_in.received.extend([(started_ns, b"\xfa"), (started_ns, b"\xf8")])
    if stops_after_ns is not None:
        stage._take_midi()
        stage._play()
        while output.first_ns == 0:  # another thread sends it
            time.sleep(0.001)
        midi_in.received.append((time.monotonic_ns(), b"\xfc"))
        stage._take_midi()
    stage.run()
    wake.close()
    return ends, output


def test_that_it_rolls_is_said_before_what_is_played() -> None:
    """Said after it, the recording took the Start for a jump and closed the first chord at once."""
    ends, _ = played("midi", 0.0)
    kinds = [type(message) for message in ends.sent]
    first_note = kinds.index(pipes.Sounded)
    rolling = [message for message in ends.sent[:first_note] if isinstance(message, pipes.TransportState)]
    assert any(state.is_rolling for state in rolling)


def test_a_message_is_not_heard_before_its_time() -> None:
    """JACK tells of a whole cycle when it begins; taken at once, tick 0 lay in the future and the bar before it
    began."""
    ends, output, midi_in, wake = Ends(), Output(), MidiIn(lambda: None), WakeUp()
    ports = MidiPorts(output, midi_in)
    stage = Stage(pipes.StageSetup(), ends, wake, ports, PortKeeper(lambda: ports, wake.poke))  # type: ignore[arg-type]
    now_ns = time.monotonic_ns()
    midi_in.received.extend([(now_ns, b"\xb0\x01\x02"), (now_ns + 10**12, b"\xb0\x01\x03")])
    stage._take_midi()
    output.close()
    wake.close()
    assert [message.message for message in ends.sent if isinstance(message, pipes.ControlInput)] == [b"\xb0\x01\x02"]
    assert len(midi_in.received) == 1


def test_a_positive_latency_is_later() -> None:
    began_ns = time.monotonic_ns()
    _, output = played("internal", 60.0, pipes.TransportCommand("start"))
    assert output.first_ns - began_ns >= 60_000_000


def test_what_stop_closes_is_said_to_end_at_stop() -> None:
    """A chord that Stop cut was once recorded without any length."""
    ends, _ = played("midi", 0.0, stops_after_ns=250_000_000)
    off = next(message for message in ends.sent if isinstance(message, pipes.Sounded) and message.message[0] == 0x80)
    assert 230 <= off.tick <= 300  # a quarter second at 120 bpm is 240 ticks
