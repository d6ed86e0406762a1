"""Where a bar came from, written and read again; and recordings that cannot be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fractal_live.live.dressing import Dress, Outfit, Split
from fractal_live.live.provenance import (
    MAGIC,
    Began,
    Chain,
    Entry,
    Given,
    Interrupted,
    Made,
    Mended,
    ModelBegan,
    Moved,
    Opening,
    ProvenanceError,
    Varied,
    Worn,
    digest_of,
    entry_of,
    numbers_of,
    packed,
    runs_of,
    unpacked,
)
from fractal_live.live.reenactment import SetNote, script_of, struck_again
from fractal_live.music.meter import Meter
from fractal_live.music.notes import Bar, Note
from fractal_live.music.plan import unknown_plan
from fractal_live.music.request import BarRequest, Sampling
from tests.live.evening import imagined, same

OPENING = Opening(1, "0", "set", "live", "midi", (4, 4), 3)

WILD = Dress(-3, 1.25, muted=frozenset({0, 2}), soloed=frozenset({1}), levels=(0.5,) * 8)


def random_request(rng: np.random.Generator, before: BarRequest) -> BarRequest:
    """Often nearly the one before, as in a set; now and then everything else."""
    plan = unknown_plan()
    plan[: rng.integers(33), rng.integers(6)] = rng.uniform(0, 100)
    asked = np.where(rng.random(plan.shape) < 0.3, plan, np.float32(np.nan))
    choices = rng.random(4) < 0.3
    return BarRequest(
        max(0, before.index + int(rng.integers(-3, 5))),
        (),
        plan if choices[0] else before.plan,
        rng.random((2, 12)).astype(np.float32) if choices[1] else before.chroma,
        tuple(rng.normal(size=16).tolist()) if choices[2] else before.latent,
        float(rng.random()) if choices[3] else before.latent_gain,
        Meter(3, 4) if rng.random() < 0.1 else before.meter,
        Sampling(
            temperature=float(rng.choice([1.0, 0.1, 1.3])), top_k=int(rng.integers(2)), cfg_levels=(1.0, 0.5, 0.0)
        ),
        int(rng.integers(2**50)),
        asked=None if rng.random() < 0.2 else asked,
    )


def test_every_request_comes_back_bit_for_bit_whatever_was_before_it() -> None:
    rng = np.random.default_rng(4)
    writing, reading = Chain(), Chain()
    request = BarRequest(0)
    for number in range(300):
        request = random_request(rng, request)
        made = Made(number, request, ((number, 1),), "00")
        kind, head, arrays = unpacked(writing.packed(made))
        found = reading.made(head, arrays)
        chroma, found_chroma = request.chroma, found.request.chroma
        assert kind == "made" and (found.number, found.past, found.digest) == (number, ((number, 1),), "00")
        assert (chroma is None) == (found_chroma is None)
        if chroma is not None:
            np.testing.assert_array_equal(chroma, found_chroma)
        assert same_or_both_free(request, found.request)
        assert repr(request.sampling) == repr(found.request.sampling)
        for chain in (writing, reading):
            chain.answered(request, imagined(request))


def same_or_both_free(a: BarRequest, b: BarRequest) -> bool:
    """Equal, harmonies aside."""
    assert (a.asked is None) == (b.asked is None)
    blank = unknown_plan()
    a, b = (replace(one, chroma=None, asked=blank if one.asked is None else one.asked) for one in (a, b))
    return same(a, b)


def test_what_an_earlier_bar_imagined_is_not_written_again() -> None:
    chain = Chain()
    first = BarRequest(0, asked=unknown_plan())
    plan = imagined(first)
    chain.answered(first, plan)
    known = np.concatenate([plan[1:], unknown_plan(1)])
    entry = chain.packed(Made(1, BarRequest(1, plan=known, asked=unknown_plan()), ((0, 1),), "00" * 8))
    everything = Chain().packed(Made(1, BarRequest(1, plan=known, asked=unknown_plan()), ((0, 1),), "00" * 8))
    assert len(entry) < 200 and len(everything) > 700


@pytest.mark.parametrize(
    "entry",
    [
        OPENING,
        ModelBegan("abc", "cpu", 2, "2.0"),
        Varied(3, 7, 2, 5),
        Given(4, Bar(5, (Note(0, 60, 7, 1), Note(3, 61, 8, 127)), Meter(7, 8), 91.5, (1.5, 2.0), ((0.25,) * 12,), 9)),
        Mended(5, ((0, 4),), (1, 3), Sampling(temperature=0.5), 77, ("00", "11")),
        Moved(6, 9, 2),
        Worn(0, Dress(), Outfit()),
        Worn(1, WILD, Outfit(3, (Split("bass", 2, "lowest", program=33), Split("rest", 4, curve=0.5)), 7)),
        Began(3, 1920, 2),
        Began(3, 0, None, (Note(0, 60, 7, 1, 5),), True),
        Interrupted(2, ((0, -1), (4, 60)), ((10, 0, 60, 64, 5),)),
    ],
    ids=lambda entry: type(entry).__name__,
)
def test_every_entry_comes_back(entry: Entry) -> None:
    assert not isinstance(entry, Made)
    kind, head, _ = unpacked(packed(entry))
    assert entry_of(kind, head) == entry


def test_runs_of_numbers_come_back() -> None:
    numbers = [0, 1, 2, 5, 6, 4, 9]
    assert runs_of(numbers) == ((0, 3), (5, 2), (4, 1), (9, 1))
    assert numbers_of(runs_of(numbers)) == numbers


def test_a_digest_tells_notes_plan_and_harmony_apart() -> None:
    bar = Bar(1, (Note(0, 60, 120, 64),), plan=(1.0,), chroma=((0.5,) * 12,))
    others = [
        replace(bar, notes=(Note(0, 60, 120, 65),)),
        replace(bar, plan=(1.0000001,)),
        replace(bar, chroma=((0.25,) * 12,)),
    ]
    assert len({digest_of(one) for one in (bar, *others)}) == 4


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([], "nothing in it tells how its bars were made"),
        ([b"\x00\x00\x41other"], "nothing in it tells how its bars were made"),
        ([packed(Varied(0, 0, 0, 0))], "its beginning is missing"),
        ([packed(replace(OPENING, format=2))], "it has format 2; this version plays format 1"),
        ([MAGIC + b"rubbish"], "an entry of the recording is damaged"),
        ([packed(OPENING)[:-9]], "an entry of the recording is damaged"),
    ],
)
def test_what_cannot_be_played_again_is_refused_with_the_reason(events: list[bytes], said: str) -> None:
    with pytest.raises(ProvenanceError, match=said):
        script_of(events)


def test_a_pitch_that_is_struck_while_it_sounds_ends_there() -> None:
    long, again, other = SetNote(0, 0, 60, 64, 960), SetNote(480, 0, 60, 64, 100), SetNote(480, 1, 60, 64, 100)
    assert struck_again([again, other, long]) == [replace(long, duration_ticks=480), again, other]
