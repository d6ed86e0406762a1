"""What is played becomes bars on the grid; a bar that is over stays as it was; what it means for a request."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fractal_live.live.listening import ANSWER_ECHO, MOST_NOTES_IN_A_BAR, Hearing, Listening
from fractal_live.music.harmony import chroma_of_bar
from fractal_live.music.meter import FOUR_FOUR, Meter
from fractal_live.music.notes import Bar, Note
from fractal_live.music.plan import COLUMN, unknown_plan
from fractal_live.music.request import Sampling

BAR = FOUR_FOUR.ticks_per_bar
DENSITY = COLUMN["density"]


def on(pitch: int, velocity: int = 80, channel: int = 0) -> bytes:
    return bytes((0x90 | channel, pitch, velocity))


def off(pitch: int, channel: int = 0) -> bytes:
    return bytes((0x80 | channel, pitch, 0))


def played(listening: Listening, *notes: tuple[int, int, int]) -> None:
    """Notes (first tick, last tick, pitch) as messages in order of time."""
    messages = [(first, 1, on(pitch)) for first, _, pitch in notes] + [
        (last, 0, off(pitch)) for _, last, pitch in notes
    ]
    for tick, _, message in sorted(messages):
        listening.hear(message, tick)


def heard(listening: Listening, tick: int) -> dict[int, tuple[Note, ...]]:
    return {index: bar.notes for index, bar in listening.at(tick).bars.items()}


# Notes to bars.


def test_played_notes_are_bars_on_the_grid() -> None:
    listening = Listening()
    played(listening, (7, 470, 60), (BAR // 2 - 13, BAR // 2 + 230, 64), (BAR + 245, BAR + 301, 67))
    assert heard(listening, 2 * BAR) == {
        0: (Note(0, 60, 480, 80), Note(960, 64, 240, 80)),
        1: (Note(240, 67, 120, 80),),
    }


def test_a_downbeat_a_little_early_is_the_next_bars() -> None:
    listening = Listening()
    played(listening, (BAR - 30, BAR + 200, 60))
    assert heard(listening, 2 * BAR) == {1: (Note(0, 60, 240, 80),)}


def test_a_held_note_grows_within_its_bar_and_colours_the_next() -> None:
    listening = Listening()
    listening.hear(on(60), 0)
    assert heard(listening, 480) == {0: (Note(0, 60, 480, 80),)}
    first = listening.at(BAR + 480)
    assert first.bars[0].notes == (Note(0, 60, BAR, 80),)
    assert first.bars[1].notes == () and np.array(first.bars[1].chroma)[0, 0] == 1
    listening.hear(off(60), BAR + 960)
    last = listening.at(3 * BAR)
    assert sorted(last.bars) == [0, 1]
    assert last.bars[0] == first.bars[0], "a bar that is over does not change"


def test_every_cut_of_a_performance_in_time_hears_the_same_bars() -> None:
    """How often it is asked for changes nothing of bars that are over."""
    rng = np.random.default_rng(4)
    for meter in (FOUR_FOUR, Meter(3, 4), Meter(7, 8)):
        starts = np.sort(rng.integers(0, 6 * meter.ticks_per_bar, 60)).tolist()
        notes = [(start, start + int(rng.integers(1, 900)), 40 + place) for place, start in enumerate(starts)]
        once = Listening(meter)
        played(once, *notes)
        often = Listening(meter)
        messages = [(first, 1, on(pitch)) for first, _, pitch in notes] + [
            (last, 0, off(pitch)) for _, last, pitch in notes
        ]
        for tick, _, message in sorted(messages):
            often.at(tick)
            often.hear(message, tick)
        end = 8 * meter.ticks_per_bar
        assert often.at(end).bars == once.at(end).bars
        assert sum(len(bar.notes) for bar in once.hearing.bars.values()) == len(notes)


def test_what_is_heard_is_told_by_slices_of_time_and_not_at_every_note() -> None:
    listening = Listening()
    before = listening.at(0)
    played(listening, (10, 100, 60))
    assert listening.at(239) is before
    assert 0 in listening.at(240).bars


def test_other_channels_and_other_messages_are_not_listened_to() -> None:
    listening = Listening(channel=3)
    for message in (on(60), on(60, channel=3), bytes((0xB2, 1, 2)), bytes((0xC2, 1)), b"\x92\x3c", b"\xf3\x01"):
        listening.hear(message, 10)
    listening.hear(on(64, channel=2), 10)
    assert heard(listening, 960) == {0: (Note(0, 64, 960, 80),)}


def test_notes_that_begin_while_nothing_rolls_are_not_heard_but_their_ends_are() -> None:
    listening = Listening()
    listening.hear(on(60), 0)
    listening.hear(off(60), 480, is_rolling=False)
    listening.hear(on(64), 480, is_rolling=False)
    assert heard(listening, BAR) == {0: (Note(0, 60, 480, 80),)}


def test_after_a_jump_back_what_was_heard_from_there_on_is_forgotten() -> None:
    listening = Listening()
    played(listening, (0, 100, 60), (BAR, BAR + 100, 62), (2 * BAR, 2 * BAR + 100, 64))
    listening.at(3 * BAR)
    assert sorted(listening.at(BAR + 5).bars) == [0]
    assert listening.at(0).bars == {}


def test_a_flood_of_notes_is_bounded() -> None:
    listening = Listening()
    for index in range(80):
        for count in range(2 if index % 20 else 300):
            listening.hear(on(count % 128), index * BAR + count)
        listening.at(index * BAR + BAR - 1)
    hearing = listening.at(80 * BAR)
    assert len(hearing.bars) <= 65
    assert max(len(bar.notes) for bar in hearing.bars.values()) <= MOST_NOTES_IN_A_BAR


# What it means.


def bar_of(index: int, *pitches: int, onset: int = 0) -> Bar:
    bar = Bar(index, tuple(Note(onset, pitch, 480, 80) for pitch in pitches))
    return replace(bar, chroma=tuple(tuple(float(x) for x in half) for half in chroma_of_bar(bar)))


def test_without_listening_nothing_changes() -> None:
    """Whatever is heard."""
    hearing = Hearing(bars={0: bar_of(0, 60), 1: bar_of(1, 62)}, running=1)
    past = (bar_of(0, 70), bar_of(1, 71))
    plan, sampling = unknown_plan(), Sampling(echo=1)
    assert hearing.past_of(past) == past
    assert hearing.chroma_of(2) is None and hearing.influence_on(2) is None
    assert hearing.plan_of(2, plan) is plan and hearing.sampling_of(2, sampling) is sampling
    assert not any(hearing.is_call(index) for index in range(20))


def test_in_context_the_past_has_what_was_heard_beside_what_was_played() -> None:
    hearing = Hearing("context", bars={0: bar_of(0, 60), 1: bar_of(1, 62)}, running=1)
    past = (bar_of(0, 70), bar_of(1, 71))
    assert [[note.pitch for note in bar.notes] for bar in hearing.past_of(past)] == [[60, 70], [62, 71]]
    assert hearing.influence_on(2) == (hearing.bars[0],), "the bar that runs is not over"
    assert hearing.chroma_of(2) is None


def test_what_was_heard_is_moved_against_the_transposition_of_what_is_sent() -> None:
    context = Hearing("context", bars={0: bar_of(0, 1, 60)}, running=1)
    assert [note.pitch for note in context.past_of((Bar(0),), transpose=5)[0].notes] == [55]
    harmony = Hearing("harmony", bars={0: bar_of(0, 60)}, running=1)
    chroma = harmony.chroma_of(1, transpose=5)
    assert chroma is not None and chroma[0].tolist() == np.eye(12)[7].tolist()


def test_the_harmony_of_the_last_bar_is_that_of_the_coming_ones() -> None:
    hearing = Hearing("harmony", bars={0: bar_of(0, 60), 1: bar_of(1, 62, 65, onset=960)}, running=2)
    for index in (3, 4):
        chroma = hearing.chroma_of(index)
        assert chroma is not None
        assert np.flatnonzero(chroma[0]).tolist() == np.flatnonzero(chroma[1]).tolist() == [2, 5], (
            "silent: its neighbour"
        )
    assert replace(hearing, running=3).chroma_of(4) is None, "who stopped playing lets go"
    assert replace(hearing, running=1).influence_on(2) == (hearing.bars[0].chroma[0],) * 2
    half_over = replace(hearing, running=1, is_half_over=True)
    assert half_over.influence_on(2) == (hearing.bars[1].chroma[1],) * 2, "what sounds now, once there is enough of it"


def test_bars_alternate_between_call_and_answer() -> None:
    assert [Hearing(respond=1).is_call(index) for index in range(4)] == [True, False] * 2
    assert [Hearing(respond=3).is_call(index) for index in range(12)] == ([True] * 3 + [False] * 3) * 2


def test_an_answer_bar_takes_harmony_and_number_of_notes_from_its_own_bar_of_the_call() -> None:
    hearing = Hearing(respond=2, bars={0: bar_of(0, 60, 64), 1: bar_of(1, 62)}, running=2)
    for index, pitch_classes, density in ((2, [0, 4], 2), (3, [2], 1)):
        chroma = hearing.chroma_of(index)
        assert chroma is not None and np.flatnonzero(chroma[0]).tolist() == pitch_classes
        assert hearing.plan_of(index, unknown_plan())[0, DENSITY] == density
        assert np.isnan(hearing.plan_of(index, unknown_plan())[1:]).all()
        assert hearing.sampling_of(index, Sampling(echo=1)).echo == 1 + ANSWER_ECHO
    held = unknown_plan()
    held[:, DENSITY] = 20
    assert hearing.plan_of(2, held) is held, "the performer's own wish stands"
    assert hearing.sampling_of(4, Sampling()) == Sampling(), "the next call is not an answer"


def test_a_call_is_heard_as_it_was_played_and_one_in_which_nobody_played_is_left_out() -> None:
    answer = bar_of(1, 72)
    hearing = Hearing(respond=1, bars={2: bar_of(2, 60), 3: bar_of(3, 61)}, running=3)
    past = hearing.past_of((Bar(0), answer, Bar(2), bar_of(3, 74)))
    assert [bar.index for bar in past] == [1, 2, 3]
    assert [[note.pitch for note in bar.notes] for bar in past] == [[72], [60], [74]]


def test_an_unheard_call_asks_for_nothing() -> None:
    hearing = Hearing(respond=2, bars={2: bar_of(2, 60)}, running=4)
    assert hearing.influence_on(2) is None and hearing.chroma_of(2) is None
    assert hearing.sampling_of(2, Sampling()) == Sampling()
    assert hearing.influence_on(6) is None
    assert [bar.index for bar in hearing.past_of((Bar(0), Bar(1), bar_of(2, 70), bar_of(3, 71)))] == [2, 3]
