"""Messages sent later than the music is: nothing of it is lost."""

from __future__ import annotations

import pytest

from tests.live.player_show import MS, S, Show, assert_every_on_has_one_off


def struck(show: Show) -> list[tuple[int, int]]:
    """(tick, pitch) of every note that was heard to begin."""
    return [(tick, message[1]) for tick, message in show.timed if message[0] & 0xF0 == 0x90]


@pytest.mark.parametrize("latency_ns", [-150 * MS, 0, 40 * MS, 500 * MS])
def test_the_last_bar_is_heard_to_its_end(latency_ns: int) -> None:
    """Sent later, its last milliseconds were still under way when rolling ended, and were taken back."""
    show = Show(latency_ns=latency_ns, end_bar=3, sends_clock=False)
    show.command("start")
    show.turns(8 * S)
    made = {
        (1920 * bar.index + note.onset_tick, note.pitch)
        for bar in show._bars[:3]
        for note in bar.notes
        if latency_ns >= 0 or bar.index or note.onset_tick > 480
    }
    assert made <= set(struck(show)) and max(struck(show)) < (3 * 1920, 0)
    assert not show.transport.is_rolling and show.transport.position(show.now_ns) == 3 * 1920
    assert_every_on_has_one_off(show.messages)


@pytest.mark.parametrize("latency_ns", [40 * MS, 500 * MS, 1000 * MS])
def test_a_tempo_that_drops_skips_nothing_and_bunches_nothing(latency_ns: int) -> None:
    """What had been played by the music but not sent yet was suddenly long past: it left in one burst, or not at
    all."""
    show = Show(latency_ns=latency_ns, sends_clock=False)
    show.command("tempo", 240)
    show.command("start")
    show.turns(3 * S + 123 * MS)
    show.command("tempo", 40)
    show.turns(4 * S)
    show.command("tempo", 300)
    show.turns(3 * S)
    assert show.player.scheduler.skipped_notes == 0
    assert all(at_ns - due_ns < 5 * MS for at_ns, due_ns, _, _ in show.port.log if due_ns is not None)
    due = [due_ns for _, due_ns, _, _ in show.port.log if due_ns is not None]
    assert due == sorted(due)
    heard, last = struck(show), max(tick for tick, _ in show.timed)
    made = {(1920 * bar.index + note.onset_tick, note.pitch) for bar in show._bars for note in bar.notes}
    assert {on for on in made if on[0] < last} <= set(heard)


def test_a_bang_while_the_end_of_the_bar_before_is_still_to_leave_plays_one_bar_more() -> None:
    show = Show(sync="osc", latency_ns=300 * MS, sends_clock=False)
    show.command("trigger_bar")
    show.turns(2 * S + 100 * MS)
    show.command("trigger_bar")
    show.turns(5 * S)
    assert not show.transport.is_rolling and show.transport.position(show.now_ns) == 2 * 1920
    made = {(1920 * bar.index + note.onset_tick, note.pitch) for bar in show._bars[:2] for note in bar.notes}
    assert set(struck(show)) == made
