"""The stage's music on a simulated clock and port: what leaves, when, and what those who follow make of it."""

from __future__ import annotations

import itertools
import random

import pytest

from fractal_live.live.player import CLOCK, CONTINUE, SONG_POSITION, START, STOP
from fractal_live.music.meter import FOUR_FOUR, TICKS_PER_CLOCK, TICKS_PER_STEP, Meter
from fractal_live.music.notes import Bar, Note
from tests.live.player_show import (
    MS,
    REALTIME,
    Port,
    S,
    Show,
    assert_every_on_has_one_off,
    clocks_due,
    followed,
)


@pytest.mark.parametrize("latency_ns", [0, 70 * MS, -70 * MS])
def test_24_clocks_a_beat_the_first_of_them_after_start_is_tick_0(latency_ns: int) -> None:
    show = Show(latency_ns=latency_ns)
    show.command("start")
    show.turns(10 * S)
    assert show.realtime == [bytes((START,))] + [bytes((CLOCK,))] * clocks_due(show, latency_ns)
    assert followed(show).tick == clocks_due(show, latency_ns) * TICKS_PER_CLOCK


def test_every_clock_leaves_at_its_time() -> None:
    show = Show(lead_in_ns=5 * MS)
    show.command("start")
    show.turns(5 * S)
    for at_ns, due_ns, tick, message in show.port.log:
        if message[0] == CLOCK:
            assert tick is not None
            assert at_ns == due_ns == show.transport.timeline.time_at(tick)


def test_start_comes_before_its_first_clock_by_the_lead_in() -> None:
    """MIDI 1.0 asks for a millisecond at least, so that who follows can get ready."""
    show = Show(lead_in_ns=5 * MS)
    show.command("start")
    show.turns(100 * MS)
    (start_ns, _, _, start), (clock_ns, _, _, clock) = [entry for entry in show.port.log if entry[3][0] in REALTIME][:2]
    assert (start[0], clock[0], clock_ns - start_ns) == (START, CLOCK, 5 * MS)


def test_a_lead_in_of_a_negative_latency_spares_the_burst_of_clocks() -> None:
    show = Show(latency_ns=-70 * MS, lead_in_ns=75 * MS)
    show.command("start")
    show.turns(2 * S)
    clocks = [at_ns for at_ns, _, _, message in show.port.log if message[0] == CLOCK]
    gaps = [late - early for early, late in itertools.pairwise(clocks)]
    assert min(gaps) == pytest.approx(max(gaps), abs=2)


def test_at_equal_ticks_the_clock_goes_first_and_note_offs_before_note_ons() -> None:
    show = Show()
    notes = (Note(0, 60, 480, 80), Note(480, 60, 100, 80), Note(480, 64, 100, 80))
    show.player.scheduler.offer(Bar(0, notes), 2, Bar(1))
    show.command("start")
    show.turns(700 * MS)
    at_480 = [message for tick, message in show.timed if tick == 480]
    assert at_480 == [bytes((CLOCK,)), b"\x80\x3c\x00", b"\x90\x3c\x50", b"\x90\x40\x50"]


def test_stop_is_said_and_continue_goes_on_with_the_next_clock() -> None:
    show = Show()
    show.command("start")
    show.turns(S)
    show.command("stop")
    before = len(show.realtime)
    show.turns(3 * S)
    assert len(show.realtime) == before
    assert show.realtime[-1] == bytes((STOP,))
    clocks = show.realtime.count(bytes((CLOCK,)))
    show.command("continue")
    show.turns(S)
    assert show.realtime[before] == bytes((CONTINUE,))
    assert followed(show).tick == clocks_due(show) * TICKS_PER_CLOCK > clocks * TICKS_PER_CLOCK


def test_leaving_while_it_rolls_stops_those_who_follow() -> None:
    show = Show()
    show.command("start")
    show.turns(S)
    show.player.silence()
    assert show.realtime[-1] == bytes((STOP,))
    show.player.silence()
    assert show.realtime.count(bytes((STOP,))) == 1


def test_those_who_follow_at_another_port_go_on_where_the_music_is() -> None:
    show = Show()
    show.command("start")
    show.turns(S)
    show.player.silence()
    gone, show.port = show.port, Port()
    show.port.now_ns = show.now_ns
    show.player.output = show.port
    show.turns(S)
    assert gone.log[-1][3] == bytes((STOP,))
    assert [message[0] for message in show.realtime[:3]] == [SONG_POSITION, CONTINUE, CLOCK]
    assert followed(show).tick == clocks_due(show) * TICKS_PER_CLOCK


def test_start_while_rolling_stops_and_starts_those_who_follow() -> None:
    show = Show()
    show.command("start")
    show.turns(S)
    show.command("start")
    show.turns(S)
    assert [message[0] for message in show.realtime if message[0] != CLOCK] == [START, STOP, START]
    assert followed(show).tick == clocks_due(show) * TICKS_PER_CLOCK


@pytest.mark.parametrize("tick", [1, 119, 120, 1921, 5000, 16383 * 120, 16384 * 120 + 7, 20000 * 120])
@pytest.mark.parametrize("meter", [FOUR_FOUR, Meter(7, 8)])
def test_a_stage_that_takes_up_the_set_puts_those_who_follow_where_it_is(tick: int, meter: Meter) -> None:
    """Song Position counts sixteenths and ends at 16383; beyond, the place in the bar is right."""
    show = Show(bars=0, meter=meter)
    show.player.take_up(tick, show.now_ns, show.now_ns)
    show.turns(2 * S)
    assert [message[0] for message in show.realtime[:4]] == [STOP, SONG_POSITION, CONTINUE, CLOCK]
    song_position = (show.realtime[1][1] | show.realtime[1][2] << 7) * TICKS_PER_STEP
    first_clock_tick = next(tick for tick, message in show.timed if message[0] == CLOCK)
    assert 0 <= first_clock_tick - tick < TICKS_PER_STEP
    assert song_position % meter.ticks_per_bar == first_clock_tick % meter.ticks_per_bar
    assert song_position == first_clock_tick or first_clock_tick > 16000 * TICKS_PER_STEP


def test_bangs_per_bar_are_a_start_and_then_continues() -> None:
    show = Show(sync="osc")
    for _ in range(3):
        show.command("trigger_bar")
        show.turns(3 * S)  # a bar lasts two
    assert [message[0] for message in show.realtime if message[0] != CLOCK] == [
        *(START, STOP),
        *(CONTINUE, STOP),
        *(CONTINUE, STOP),
    ]
    assert followed(show).tick == 3 * FOUR_FOUR.ticks_per_bar


def test_bangs_per_beat_are_led_on_as_clocks() -> None:
    show = Show(sync="osc")
    for _ in range(2):
        for _ in range(9):
            show.command("clock_beat")
            show.turns(500 * MS)
        show.command("start")  # armed: the next beat is tick 0, for those who follow too
    show.command("clock_beat")
    show.turns(10 * MS)
    assert [message[0] for message in show.realtime if message[0] != CLOCK] == [START, STOP] * 2 + [START]
    assert followed(show).tick == TICKS_PER_CLOCK


def disturbed(show: Show, rng: random.Random) -> None:
    """One turn of a performer who cannot let go."""
    chance = rng.random()
    if chance < 0.01:
        show.offer()
        show.command("start")
    elif chance < 0.02:
        show.command("stop")
    elif chance < 0.04:
        show.command("continue")
    elif chance < 0.09:
        show.command("tempo", rng.uniform(40, 250))
    elif chance < 0.10:
        show.command("panic")


@pytest.mark.parametrize("latency_ns", [0, 60 * MS, -60 * MS])
@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_performer_does_no_clock_is_lost_or_doubled_and_no_note_left_open(
    seed: int, latency_ns: int
) -> None:
    show = Show(seed, latency_ns=latency_ns, room=random.Random(seed).choice([5, 40, 2048]))
    rng = random.Random(1000 + seed)
    show.turns(12 * S, lambda: disturbed(show, rng))
    show.offer()
    show.command("start")
    show.turns(4 * S, lambda: show.command("tempo", rng.uniform(80, 200)) if rng.random() < 0.05 else None)
    show.turns(2 * S)
    assert followed(show).tick == clocks_due(show, latency_ns) * TICKS_PER_CLOCK
    assert show.port.taken_back > 0
    show.player.silence()
    assert_every_on_has_one_off(show.messages)
    assert not followed(show).is_rolling


@pytest.mark.parametrize("latency_ns", [0, 60 * MS, -60 * MS])
@pytest.mark.parametrize("seed", range(4))
def test_bangs_in_any_order_lose_no_clock_and_leave_no_note(seed: int, latency_ns: int) -> None:
    show = Show(seed, sync="osc", latency_ns=latency_ns)
    rng = random.Random(2000 + seed)

    def bang() -> None:
        chance = rng.random()
        if chance < 0.02:
            show.offer()
            show.command(rng.choice(["trigger_bar", "trigger_bar", "stop", "start", "continue", "tempo"]), 90.0)
        elif chance < 0.05:
            show.command("clock_beat")

    show.turns(15 * S, bang)
    show.player.silence()
    assert not followed(show).is_rolling
    assert_every_on_has_one_off(show.messages)


@pytest.mark.parametrize("room", [3, 2048])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_taken_back_comes_again_exactly_once(seed: int, room: int) -> None:
    """Tempo moves and a port without room change when things leave, not what leaves nor in which order."""
    calm, moved = Show(seed, end_bar=6), Show(seed, end_bar=6, room=room)
    rng = random.Random(3000 + seed)
    for show in (calm, moved):
        show.command("start")
    calm.turns(13 * S)
    moved.turns(40 * S, lambda: moved.command("tempo", rng.uniform(60, 240)) if rng.random() < 0.2 else None)
    assert moved.port.taken_back > 100
    assert moved.timed == calm.timed
    assert not calm.transport.is_rolling
    assert not moved.transport.is_rolling


@pytest.mark.parametrize("seed", range(4))
def test_messages_leave_in_the_order_of_their_ticks_and_never_before_their_time(seed: int) -> None:
    show = Show(seed)
    rng = random.Random(4000 + seed)
    show.command("start")
    show.turns(15 * S, lambda: show.command("tempo", rng.uniform(50, 300)) if rng.random() < 0.1 else None)
    ticks = [tick for tick, _ in show.timed]
    times = [at_ns for at_ns, _, _, _ in show.port.log]
    assert ticks == sorted(ticks)
    assert times == sorted(times)
    assert all(due_ns is None or at_ns >= due_ns for at_ns, due_ns, _, _ in show.port.log)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_told_to_have_sounded_is_what_has_left(seed: int) -> None:
    show = Show(seed, sends_clock=True)
    rng = random.Random(5000 + seed)
    show.turns(15 * S, lambda: disturbed(show, rng))
    show.player.silence()
    told = [sounded.message for sounded in show.player.take_sounded()]
    left = [message for message in show.messages if message[0] & 0xF0 in (0x80, 0x90)]
    assert told == left


def test_without_being_asked_to_lead_it_sends_notes_alone() -> None:
    show = Show(sends_clock=False)
    show.command("start")
    show.turns(3 * S)
    show.command("stop")
    assert show.realtime == []
    assert len(show.messages) > 10
