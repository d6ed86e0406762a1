"""Bars in, note messages out; whole lists compared, laws over many seeded performances."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fractal_live.live.scheduler import BegunBar, Due, Scheduler
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar, Note

EMPTY = Bar(0)


def on(tick: int, pitch: int, velocity: int = 80, channel: int = 0) -> Due:
    return tick, bytes((0x90 | channel, pitch, velocity))


def off(tick: int, pitch: int, channel: int = 0) -> Due:
    return tick, bytes((0x80 | channel, pitch, 0))


def bar_of(index: int, *notes: tuple[int, int, int]) -> Bar:
    """A bar of (onset, pitch, duration) at velocity 80."""
    return Bar(index, tuple(sorted(Note(onset, pitch, duration, 80) for onset, pitch, duration in notes)))


def random_bar(index: int, rng: random.Random, meter: Meter = FOUR_FOUR) -> Bar:
    notes = {
        Note(
            rng.randrange(meter.ticks_per_bar),
            rng.randrange(58, 66),
            rng.randrange(1, 3000),
            rng.randrange(1, 128),
            rng.choice((0, 0, 9)),
        )
        for _ in range(rng.randrange(24))
    }
    return Bar(index, tuple(sorted(notes)), meter)


def assert_every_on_has_one_off(messages: list[bytes]) -> None:
    sounding: set[tuple[int, int]] = set()
    for message in messages:
        key = (message[0] & 0x0F, message[1])
        if message[0] & 0xF0 == 0x90:
            assert key not in sounding, "struck again before it was closed"
            sounding.add(key)
        elif message[0] & 0xF0 == 0x80:
            assert key in sounding, "a note-off for a note that does not sound"
            sounding.remove(key)
    assert not sounding


def test_events_come_in_tick_order_offs_before_ons_and_notes_cross_bar_lines() -> None:
    scheduler = Scheduler(late_limit_ticks=10**9)
    scheduler.offer(bar_of(0, (0, 60, 120), (120, 62, 60), (120, 64, 120), (1800, 70, 300)), 1, EMPTY)
    scheduler.offer(bar_of(1, (180, 50, 10)), 1, EMPTY)
    assert scheduler.due(2500) == [
        on(0, 60),
        off(120, 60),
        on(120, 62),
        on(120, 64),
        off(180, 62),
        off(240, 64),
        on(1800, 70),
        off(2100, 70),
        on(2100, 50),
        off(2110, 50),
    ]


def test_a_restruck_pitch_is_closed_before_it_is_opened_and_closed_once() -> None:
    scheduler = Scheduler(late_limit_ticks=10**9)
    scheduler.offer(bar_of(0, (0, 60, 1000), (480, 60, 100), (480, 55, 100)), 1, EMPTY)
    assert scheduler.due(1900) == [on(0, 60), off(480, 60), on(480, 55), on(480, 60), off(580, 55), off(580, 60)]


def test_two_notes_of_one_pitch_at_one_tick_are_one_note() -> None:
    scheduler = Scheduler()
    notes = (Note(0, 60, 100, 90), Note(0, 60, 200, 30))
    scheduler.offer(Bar(0, notes), 1, EMPTY)
    assert scheduler.due(300) == [on(0, 60, 90), off(200, 60)]


def test_a_newer_version_replaces_a_bar_that_has_not_begun_and_never_one_that_has() -> None:
    scheduler = Scheduler(late_limit_ticks=10**9)
    for index in range(4):
        assert scheduler.offer(bar_of(index, (0, 60 + index, 100), (960, 60, 10)), 1, EMPTY)
    assert scheduler.due(2 * 1920)[-1] == on(3840, 62)
    assert not scheduler.offer(bar_of(2, (960, 99, 10)), 2, EMPTY)
    assert scheduler.offer(bar_of(3, (0, 98, 10)), 2, EMPTY)
    assert scheduler.due(4 * 1920 - 1) == [
        off(3940, 62),
        on(4800, 60),
        off(4810, 60),
        on(5760, 98),
        off(5770, 98),
    ]
    assert [(begun.bar.index, begun.version) for begun in scheduler.take_begun()] == [(0, 1), (1, 1), (2, 1), (3, 2)]


def test_a_late_bar_is_replaced_by_the_fallback_that_came_before_and_counted_once() -> None:
    scheduler = Scheduler(late_limit_ticks=10**9)
    stand_in = bar_of(1, (0, 48, 100))
    first = bar_of(0, (0, 60, 100))
    scheduler.offer(first, 3, stand_in)
    assert scheduler.due(3 * 1920 - 1) == [
        on(0, 60),
        off(100, 60),
        on(1920, 48),
        off(2020, 48),
        on(3840, 48),
        off(3940, 48),
    ]
    assert scheduler.take_begun() == [
        BegunBar(first, 3, False),
        BegunBar(stand_in, 0, True),
        BegunBar(stand_in.moved_to(2), 0, True),
    ]
    assert scheduler.underruns == 2
    assert not scheduler.offer(bar_of(2, (0, 99, 100)), 1, EMPTY), "its fallback has begun"


def test_without_any_bar_there_is_silence_and_underruns() -> None:
    scheduler = Scheduler()
    assert scheduler.due(1920) == []
    assert scheduler.underruns == 2


def test_bars_0_and_1_stay_for_a_new_start_and_others_behind_the_playhead_go() -> None:
    scheduler = Scheduler(late_limit_ticks=10**9)
    for index in range(6):
        scheduler.offer(bar_of(index, (0, 60 + index, 100)), 1, EMPTY)
    scheduler.due(4 * 1920)
    assert [index for index in range(6) if scheduler.has_bar(index)] == [0, 1, 4, 5]
    assert scheduler.locate(0) == [off(0, 64)[1]]
    assert scheduler.due(1920) == [on(0, 60), off(100, 60), on(1920, 61)]


def test_a_jump_into_a_bar_plays_from_there_and_not_what_began_before() -> None:
    scheduler = Scheduler()
    scheduler.offer(bar_of(2, (0, 60, 1900), (960, 62, 100), (1000, 64, 100)), 1, EMPTY)
    assert scheduler.locate(2 * 1920 + 960) == []
    assert scheduler.next_tick() == 4800
    assert scheduler.due(4840) == [on(4800, 62), on(4840, 64)]


def test_next_tick_is_when_something_happens() -> None:
    scheduler = Scheduler()
    scheduler.offer(bar_of(0, (120, 60, 300)), 1, EMPTY)
    seen = []
    while (tick := scheduler.next_tick()) < 1921:
        seen.append(tick)
        scheduler.due(tick)
    assert seen == [0, 120, 420, 1920]


def test_silence_closes_what_sounds_then_every_channel_used() -> None:
    scheduler = Scheduler(channels=(3,))
    assert scheduler.silence() == []
    bar = bar_of(0, (0, 64, 500), (0, 60, 500), (240, 67, 10))
    scheduler.offer(replace(bar, notes=tuple(replace(note, channel=3) for note in bar.notes)), 1, EMPTY)
    scheduler.due(100)
    assert scheduler.silence() == [
        off(0, 60, 3)[1],
        off(0, 64, 3)[1],
        bytes((0xB3, 64, 0)),
        bytes((0xB3, 123, 0)),
    ]
    assert scheduler.due(600) == [on(240, 67, channel=3), off(250, 67, 3)], "the position stays"


def test_panic_ends_all_sound_even_where_nothing_was_played() -> None:
    assert Scheduler(channels=(5,)).panic() == [bytes((0xB5, 120, 0))]


def test_one_pitch_on_two_channels_is_two_notes() -> None:
    scheduler = Scheduler()
    scheduler.offer(Bar(0, (Note(0, 60, 100, 90, channel=4), Note(0, 60, 200, 80))), 1, EMPTY)
    assert scheduler.due(300) == [on(0, 60), on(0, 60, 90, 4), off(100, 60, 4), off(200, 60)]


def test_a_program_is_sent_at_the_line_before_its_notes_and_once() -> None:
    scheduler = Scheduler(late_limit_ticks=10**9)
    for index, program in enumerate((7, 7, 8)):
        scheduler.offer(bar_of(index, (0, 60, 10)), 1, EMPTY, ((0, program),))
    assert scheduler.due(3 * 1920 - 1) == [
        (0, bytes((0xC0, 7))),
        on(0, 60),
        off(10, 60),
        on(1920, 60),
        off(1930, 60),
        (3840, bytes((0xC0, 8))),
        on(3840, 60),
        off(3850, 60),
    ]


def test_a_program_that_was_taken_back_comes_again() -> None:
    scheduler = Scheduler(late_limit_ticks=10**9)
    scheduler.offer(bar_of(0, (0, 60, 10)), 1, EMPTY, ((0, 5),))
    assert scheduler.due(0) == [(0, bytes((0xC0, 5))), on(0, 60)]
    scheduler.take_back(2)
    assert scheduler.next_tick() == 0
    assert scheduler.due(0) == [(0, bytes((0xC0, 5))), on(0, 60)]


def test_who_listens_anew_is_told_the_programs_again() -> None:
    scheduler = Scheduler()
    for index in range(2):
        scheduler.offer(bar_of(index), 1, EMPTY, ((2, 9),))
    assert scheduler.due(0) == [(0, bytes((0xC2, 9)))]
    scheduler.forget_programs()
    assert scheduler.due(1920) == [(1920, bytes((0xC2, 9)))]


def test_after_a_stall_late_note_ons_are_left_out_and_note_offs_are_not() -> None:
    scheduler = Scheduler(late_limit_ticks=480)
    notes = [(0, 60, 700), (120, 61, 10), (240, 62, 10), (1500, 63, 10), (1700, 64, 400)]
    scheduler.offer(bar_of(0, *notes), 1, EMPTY)
    assert scheduler.due(0) == [on(0, 60)]
    assert scheduler.due(1800) == [off(700, 60), on(1500, 63), off(1510, 63), on(1700, 64)]
    assert scheduler.skipped_notes == 2


def test_the_store_is_bounded() -> None:
    scheduler = Scheduler()
    accepted = [scheduler.offer(Bar(index), 1, EMPTY) for index in range(600)]
    assert accepted == [True] * 512 + [False] * 88


@pytest.mark.parametrize("seed", range(200))
def test_every_note_on_has_exactly_one_later_note_off_in_any_performance(seed: int) -> None:
    """Random bars, versions, holes, stalls, jumps, stops and starts."""
    rng = random.Random(seed)
    meter = rng.choice([FOUR_FOUR, Meter(3, 4), Meter(7, 8)])
    scheduler = Scheduler(meter)
    messages: list[bytes] = []
    tick = 0
    for _ in range(300):
        action = rng.random()
        bar_index = meter.bar_at(tick)[0] + rng.randrange(-1, 4)
        if action < 0.4 and bar_index >= 0:
            programs = ((0, rng.randrange(3)),)
            scheduler.offer(random_bar(bar_index, rng, meter), 1, random_bar(bar_index + 1, rng, meter), programs)
        elif action < 0.95:
            tick += rng.choice([1, 20, 119, 480, 5000])
            due = scheduler.due(tick)
            assert [at for at, _ in due] == sorted(at for at, _ in due)
            assert all(at <= tick for at, _ in due)
            messages += [message for _, message in due]
        elif action < 0.98:
            tick = rng.randrange(20000)
            messages += scheduler.locate(tick)
        else:
            messages += scheduler.silence()
            assert scheduler.sounding == 0
    messages += scheduler.silence()
    assert_every_on_has_one_off(messages)
    assert any(message[0] & 0xF0 == 0x90 for message in messages)


def test_a_note_that_was_closed_early_by_what_is_taken_back_still_ends_at_its_end() -> None:
    scheduler = Scheduler(late_limit_ticks=480)
    scheduler.offer(bar_of(0, (0, 60, 485), (480, 60, 1000)), 1, EMPTY)
    assert scheduler.due(0) == [on(0, 60)]
    scheduler.left(1)
    assert scheduler.due(480) == [off(480, 60), on(480, 60)]
    assert scheduler.next_tick() == 1480  # and what ended at 485 is no more looked for
    scheduler.take_back(2)
    assert scheduler.due(1900) == [off(485, 60)], "a beat later its second note is left out"


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_taken_back_every_note_on_has_one_note_off(seed: int) -> None:
    """Of what is handed out some leaves, the rest is taken back; stalls, too."""
    rng = random.Random(seed)
    scheduler, tick, sent = Scheduler(), 0, list[bytes]()
    for index in range(12):
        scheduler.offer(random_bar(index, rng), 1, EMPTY)
    while tick < 11 * 1920:
        tick += rng.choice([1, 20, 119, 480, 1500])
        due = [message for _, message in scheduler.due(tick)]
        count = rng.randrange(len(due) + 1) if rng.random() < 0.5 else len(due)
        scheduler.left(count)
        scheduler.take_back(len(due) - count)
        sent += due[:count]
    for _ in range(50):  # what began ends by itself
        tick += 120
        due = [message for _, message in scheduler.due(tick)]
        scheduler.left(len(due))
        sent += due
    assert_every_on_has_one_off(sent)
    assert any(message[0] & 0xF0 == 0x90 for message in sent)


@pytest.mark.parametrize("seed", range(30))
def test_how_often_it_is_asked_does_not_change_what_it_plays(seed: int) -> None:
    def played(pieces: random.Random) -> list[Due]:
        rng = random.Random(seed)
        scheduler = Scheduler(late_limit_ticks=10**9)
        for index in range(6):
            scheduler.offer(random_bar(index, rng), 1, EMPTY)
        tick, due = 0, []
        while tick < 6 * 1920 - 1:
            tick = min(tick + pieces.randrange(1, 4000), 6 * 1920 - 1)
            due += scheduler.due(tick)
        return due

    assert played(random.Random(1)) == played(random.Random(2))
