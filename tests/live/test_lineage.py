"""Bars that go round in a loop, and gaps in it that were filled, are traced back to what the model was asked."""

from __future__ import annotations

from fractal_live.live.dressing import Dress, Outfit, Split, dressed
from fractal_live.live.lineage import BEHIND, Lineage
from fractal_live.live.loop import Loop
from fractal_live.live.provenance import Opening, packed, unpacked
from fractal_live.live.reenactment import SetNote, reenacted, script_of
from fractal_live.music.notes import Bar
from fractal_live.music.request import BarRequest, Sampling
from tests.live.evening import Fake, answer, mended

OPENING = packed(Opening(1, "0", "set", "live", "midi", (4, 4), 3))


def made(lineage: Lineage, count: int) -> list[Bar]:
    """So many bars, each asked for with all before it as its past."""
    bars: list[Bar] = []
    for index in range(count):
        request = BarRequest(index, tuple(bars), seed=5)
        reply = answer(request)
        lineage.made(request, reply)
        bars.append(reply.bar)
    return bars


def kinds(entries: list[bytes]) -> list[str]:
    return [unpacked(entry)[0] for entry in entries]


def heard(bar: Bar, line_tick: int) -> tuple[SetNote, ...]:
    return tuple(
        SetNote(line_tick + note.onset_tick, note.channel, note.pitch, note.velocity, note.duration_ticks)
        for note in bar.notes
    )


def test_a_loop_with_a_gap_that_was_filled_is_made_again() -> None:
    lineage = Lineage()
    bars = made(lineage, 4)
    entries = [entry for index, bar in enumerate(bars) for entry in lineage.began(bar, bar, 1920 * index)]
    loop = Loop(tuple(bars), 4)
    request = loop.mending(2, 3, Sampling(temperature=0.3), 11, 1)
    reply = mended(request)
    lineage.mended(request, reply)
    loop = loop.mended(reply.bars)
    played = [loop.bar_at(index) for index in range(4, 12)]
    for bar in played:
        entries += lineage.began(bar, bar, 1920 * bar.index, is_fallback=bar.index == 6)
    assert set(kinds(entries)) == {"made", "began", "mended", "moved"} and kinds(entries).count("mended") == 1
    again = list(reenacted(script_of([OPENING, *entries]), Fake()))
    assert [bar.notes for bar in again] == [heard(bar, 1920 * bar.index) for bar in (*bars, *played)]
    assert [bar.is_fallback for bar in again] == [index == 6 for index in range(12)]
    assert all(bar.is_same for bar in again)


def test_a_bar_that_was_still_dressed_as_before_is_dressed_as_before_again() -> None:
    lineage = Lineage()
    bars = made(lineage, 2)
    outfit = Outfit(3, (Split("bass", 2, "lowest", program=33),))
    old, new = (Dress(transpose=2, swing=0.5, humanize=1.0), outfit), (Dress(transpose=-5), outfit)
    lineage.dresses(*old)
    lineage.dresses(*new)
    sounding = [dressed(bars[0], *old), dressed(bars[1], *new)]
    entries = [
        entry
        for index, (bar, worn) in enumerate(zip(bars, sounding, strict=True))
        for entry in lineage.began(bar, worn, 1920 * index)
    ]
    assert kinds(entries) == ["made", "worn", "began", "made", "worn", "began"]
    again = list(reenacted(script_of([OPENING, *entries]), Fake()))
    assert [bar.notes for bar in again] == [heard(bar, 1920 * index) for index, bar in enumerate(sounding)]


def test_what_nobody_knows_any_more_is_written_note_by_note() -> None:
    lineage = Lineage()
    (bar,) = made(Lineage(), 1)
    entries = lineage.began(bar, bar, 0)
    assert kinds(entries) == ["given", "began"]
    assert [again.notes for again in reenacted(script_of([OPENING, *entries]), Fake())] == [heard(bar, 0)]


def test_what_was_made_for_bars_that_are_long_over_is_not_kept() -> None:
    lineage = Lineage()
    replies = [answer(BarRequest(index, (), seed=5)) for index in (0, 1, BEHIND + 1)]
    for reply in replies:
        lineage.made(BarRequest(reply.bar.index, (), seed=5), reply)
    over, late, now = (reply.bar for reply in replies)
    assert kinds(lineage.began(now, now, 0)) == ["made", "began"]
    assert kinds(lineage.began(late, late, 1920)) == ["made", "began"]
    assert kinds(lineage.began(over, over, 3840)) == ["given", "began"]
