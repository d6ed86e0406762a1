"""Songs to windows of note-event tokens for the event transformer: random bar lines, transposition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fractal_live.baselines.event_checkpoint import save
from fractal_live.baselines.event_transformer import EventBatch, EventConfig, EventTransformer
from fractal_live.baselines.events import PITCHES, quantised, tokens_from_notes, vocabulary
from fractal_live.model.config import BAR_STEPS
from fractal_live.model.grid import IntArray
from fractal_live.train.corpus import Song
from fractal_live.train.dataset import ENDING_BARS, TRANSPOSE, long_enough
from fractal_live.train.objective import Objective
from fractal_live.train.task import Task

LOSSES = ("pitch", "velocity", "duration", "position")
# Four tokens to a note, near enough: a nat of any token weighs the same.
EVENT_OBJECTIVE = Objective(dict.fromkeys(LOSSES, 0.25), LOSSES, ())


@dataclass(frozen=True, slots=True)
class EventSong:
    """A song's tokens (n,), where in them each REMI bar begins and the last ends (bars + 1,), and how far it may be
    transposed down and up."""

    tokens: IntArray
    bars: IntArray
    room: tuple[int, int]


def song_tokens(song: Song, first: int = 0, bars: int | None = None) -> IntArray:
    """The tokens of some of a song's bars, all but its ending without `bars`, and the Bar behind them."""
    last = max(1, song.bars - ENDING_BARS) if bars is None else first + bars
    starts: list[int] = []
    for bar in range(first, last):
        low = int(song.bar_start[bar])
        starts.extend(range(low, low + int(song.bar_steps[bar]), BAR_STEPS))
    end = int(song.bar_start[last - 1] + song.bar_steps[last - 1])
    inside = (song.notes[:, 0] >= starts[0]) & (song.notes[:, 0] < end)
    return tokens_from_notes(quantised(song.notes[inside]), starts)


def transposed(tokens: IntArray, shift: int) -> IntArray:
    """The tokens with every pitch moved by semitones; all must stay in 0 to 127."""
    first = vocabulary().pitch
    is_pitch = (tokens >= first) & (tokens < first + PITCHES)
    return np.where(is_pitch, tokens + shift, tokens)


def window(tokens: IntArray, length: int) -> IntArray:
    """The beginning, then the tokens, cut or padded to the length: (length,)."""
    words = vocabulary()
    found = np.full(length, words.pad, dtype=np.int64)
    found[0] = words.begin
    kept = tokens[: length - 1]
    found[1 : 1 + len(kept)] = kept
    return found


class EventDataset:
    """Windows of a context and the token behind it. `draw(rng)` is a function of the generator's state alone."""

    def __init__(self, songs: list[Song], config: EventConfig) -> None:
        self.config = config
        self.songs = [_event_song(song) for song in long_enough(songs)]
        lengths = np.array([len(song.tokens) for song in self.songs], dtype=np.float64)
        self.weights = lengths / lengths.sum()

    def draw(self, rng: np.random.Generator) -> IntArray:
        """The tokens (context + 1,) from a random bar line of a random song on, transposed. The song's last window
        is the last that it fills."""
        song = self.songs[rng.choice(len(self.songs), p=self.weights)]
        shift = int(np.clip(rng.integers(TRANSPOSE[0], TRANSPOSE[1] + 1), *song.room))
        last = int(np.searchsorted(song.bars, len(song.tokens) - self.config.context, side="right")) - 1
        first = int(rng.integers(max(0, last) + 1))
        return self.sample(song, first, shift)

    def sample(self, song: EventSong, first_bar: int, shift: int) -> IntArray:
        return window(transposed(song.tokens[song.bars[first_bar] :], shift), self.config.context + 1)


def _event_song(song: Song) -> EventSong:
    words = vocabulary()
    tokens = song_tokens(song)
    pitches = tokens[(tokens >= words.pitch) & (tokens < words.pitch + PITCHES)] - words.pitch
    low, high = (int(pitches.min()), int(pitches.max())) if len(pitches) else (0, PITCHES - 1)
    return EventSong(tokens, np.flatnonzero(tokens == words.bar), (-low, PITCHES - 1 - high))


def collate_events(samples: list[IntArray]) -> EventBatch:
    return EventBatch(torch.from_numpy(np.stack(samples)))


def event_task(config: EventConfig, dataset: EventDataset, seed: int) -> Task:
    """An event transformer with fresh weights, as the training loop takes it."""
    torch.manual_seed(seed)
    model = EventTransformer(config)
    return Task(model, dataset, collate_events, save, len(dataset.songs), objective=EVENT_OBJECTIVE)


def event_validation(dataset: EventDataset, count: int = 16, batch_size: int = 4) -> list[Any]:
    """A fixed set of windows, untransposed, spread over the songs, each from its song's fifth bar on."""
    picked = [dataset.songs[place * len(dataset.songs) // count] for place in range(count)]
    samples = [dataset.sample(song, min(4, len(song.bars) - 2), 0) for song in picked]
    return [collate_events(samples[low : low + batch_size]) for low in range(0, count, batch_size)]


@dataclass(frozen=True, slots=True)
class Crop:
    """So many full bars of a song from one on, untransposed: what two systems are compared on."""

    song: Song
    first_bar: int
    bars: int


def comparable_crops(songs: list[Song], bars: int = 32, count: int | None = None) -> list[Crop]:
    """Runs of full 4/4 bars side by side, song after song, none in a song's ending; with a count so many of them,
    spread evenly."""
    crops: list[Crop] = []
    for song in songs:
        first = 0
        while first + bars <= song.bars - ENDING_BARS:
            broken = np.flatnonzero(song.bar_steps[first : first + bars] != BAR_STEPS)
            if len(broken):
                first += int(broken[-1]) + 1
                continue
            crops.append(Crop(song, first, bars))
            first += bars
    if count is None or count >= len(crops):
        return crops
    return [crops[place * len(crops) // count] for place in range(count)]


def crop_tokens(crop: Crop) -> IntArray:
    return song_tokens(crop.song, crop.first_bar, crop.bars)
