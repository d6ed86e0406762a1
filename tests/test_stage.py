"""The stage's loop, step by step, with a pipe and a port of ours."""

from __future__ import annotations

import time

from fractal_live.music.notes import Bar, Note
from fractal_live.ports import pipes
from fractal_live.ports.midi_in import MidiIn
from fractal_live.ports.midi_out import NoPort
from fractal_live.ports.pipe_ends import WakeUp
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
    """Keeps when the first message left; ends the loop at the second note message."""

    def __init__(self) -> None:
        super().__init__()
        self.first_ns = 0
        self.stage: Stage | None = None

    def send(self, message: bytes) -> None:
        self.first_ns = self.first_ns or time.monotonic_ns()
        if self.stage is not None:
            self.stage.leave()


def played(sync: str, latency_ms: float, *incoming: object, stops_after_ns: int | None = None) -> tuple[Ends, Output]:
    """A stage that ends with its first note or, if that is given, after a Stop; in midi mode Start and a first
    clock wait at the port."""
    wake, ends, output = WakeUp(), Ends(pipes.PlayBar(BAR, 1, BAR.moved_to(1)), *incoming), Output()
    midi_in = MidiIn(wake.poke)
    setup = pipes.StageSetup(sync=sync, latency_ms=latency_ms)
    stage = Stage(setup, ends, wake, output, midi_in, is_realtime=False)  # type: ignore[arg-type]
    output.stage = stage
    if sync == "midi":
        stage._take_commands()
        midi_in.on_message(([0xFA], 0.0))
        midi_in.on_message(([0xF8], 0.0))
    if stops_after_ns is not None:
        stage._take_midi()
        stage._play()
        midi_in.received.append((time.monotonic_ns() + stops_after_ns, b"\xfc"))
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


def test_a_positive_latency_is_later() -> None:
    began_ns = time.monotonic_ns()
    _, output = played("internal", 60.0, pipes.TransportCommand("start"))
    assert output.first_ns - began_ns >= 60_000_000


def test_what_stop_closes_is_said_to_end_at_stop() -> None:
    """A chord that Stop cut was once recorded without any length."""
    ends, _ = played("midi", 0.0, stops_after_ns=250_000_000)
    off = next(message for message in ends.sent if isinstance(message, pipes.Sounded) and message.message[0] == 0x80)
    assert 230 <= off.tick <= 300  # a quarter second at 120 bpm is 240 ticks
