"""Real music as the judges read it: excerpts of songs, as arrays or as bars, and the controls made of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fractal_live.music.excerpt import BAR_STEPS, Excerpt, cut, in_order
from fractal_live.music.meter import TICKS_PER_STEP
from fractal_live.music.notes import Bar, Note
from fractal_live.music.plan import COLUMN
from fractal_live.train.corpus import Song


def whole(song: Song) -> Excerpt:
    """The song, every bar given sixteen steps, whatever its own meter."""
    bar = np.searchsorted(song.bar_start, song.notes[:, 0], side="right") - 1
    notes = song.notes.copy()
    notes[:, 0] = np.minimum(song.notes[:, 0] - song.bar_start[bar], BAR_STEPS - 1) + bar * BAR_STEPS
    return Excerpt(notes, song.bars)


def places(song: Song, bars: int) -> list[int]:
    """First bars of stretches of so many full 4/4 bars, side by side."""
    found, first = [], 0
    while first + bars <= song.bars:
        full = song.bar_steps[first : first + bars] == BAR_STEPS
        if full.all():
            found.append(first)
            first += bars
        else:
            first += 1
    return found


def excerpts(songs: Sequence[Song], bars: int) -> list[tuple[int, Excerpt]]:
    """All stretches of so many full 4/4 bars that hold a note, each with the place of its song."""
    found = []
    for place, song in enumerate(songs):
        music = whole(song)
        found += [(place, cut(music, first, bars)) for first in places(song, bars)]
    return [(place, excerpt) for place, excerpt in found if len(excerpt.notes)]


def pieces(songs: Sequence[Song], bars: int, count: int) -> list[tuple[Bar, ...]]:
    """Up to `count` stretches as bars: the middle one of every song first, then those beside it."""
    lists = []
    for song in songs:
        firsts = places(song, bars)
        middle = len(firsts) // 2
        lists.append([(song, first) for first in sorted(firsts, key=lambda first: abs(firsts.index(first) - middle))])
    rounds = [
        stretches[turn]
        for turn in range(max(map(len, lists), default=0))
        for stretches in lists
        if turn < len(stretches)
    ]
    return [bars_of(song, first, bars) for song, first in rounds[:count]]


def bars_of(song: Song, first: int, count: int) -> tuple[Bar, ...]:
    """Bars of a song, numbered from 0, with its tempo."""
    result = []
    for index in range(first, first + count):
        start = song.bar_start[index]
        inside = song.notes[(song.notes[:, 0] >= start) & (song.notes[:, 0] < start + BAR_STEPS)]
        notes = [
            Note(int(step - start) * TICKS_PER_STEP, int(pitch), int(steps) * TICKS_PER_STEP, int(velocity))
            for step, pitch, velocity, steps in inside
        ]
        result.append(Bar(index - first, tuple(sorted(notes)), tempo_bpm=float(song.plan[index, COLUMN["tempo"]])))
    return tuple(result)


def shuffled(excerpt: Excerpt, rng: np.random.Generator) -> Excerpt:
    """Its bars in another order: every bar real, nothing of how they follow."""
    return in_order(excerpt, rng.permutation(excerpt.bars).tolist())


def noise(bars: int, onsets_per_bar: float, rng: np.random.Generator) -> Excerpt:
    """Notes drawn evenly from everything: what no figure should like."""
    count = round(bars * onsets_per_bar)
    cells = rng.choice(bars * BAR_STEPS * 54, count, replace=False)
    notes = np.stack([cells // 54, cells % 54 + 36, np.full(count, 80), rng.integers(1, 8, count)], axis=1)
    return Excerpt(notes[np.lexsort((notes[:, 1], notes[:, 0]))], bars)
