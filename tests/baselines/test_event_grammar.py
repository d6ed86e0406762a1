"""What may follow is what a sorted score could go on with, and nothing else."""

from __future__ import annotations

import torch

from fractal_live.baselines.event_grammar import Grammar, places
from fractal_live.baselines.events import PITCHES, tokens_from_bars, vocabulary
from fractal_live.model.config import BAR_STEPS
from tests.baselines.small import needs_miditok, random_bars

needs_miditok()


def rows(seeds: range) -> torch.Tensor:
    """Windows of music, padded to the longest: (B, L)."""
    words = vocabulary()
    found = [[words.begin, *tokens_from_bars(random_bars(seed, 6)).tolist()] for seed in seeds]
    length = max(len(row) for row in found)
    return torch.tensor([row + [words.pad] * (length - len(row)) for row in found])


def told(tokens: list[int]) -> tuple[tuple[int, int, int], set[int]]:
    """Place and possible followers of the last token, read one by one."""
    words = vocabulary()
    bar, step, pitch = -1, -1, -1
    for token in tokens:
        if token == words.bar:
            bar, step, pitch = bar + 1, -1, -1
        elif token >= words.position:
            step, pitch = token - words.position, -1
        elif words.pitch <= token < words.velocity:
            pitch = token - words.pitch
    positions = set(range(words.position, words.position + BAR_STEPS))
    pitches = set(range(words.pitch, words.pitch + PITCHES))
    last = tokens[-1]
    if last == words.begin:
        followers = {words.bar}
    elif last == words.bar:
        followers = positions | {words.bar}
    elif last in positions:
        followers = pitches
    elif last in pitches:
        followers = set(range(words.velocity, words.duration))
    elif last < words.duration:
        followers = set(range(words.duration, words.position))
    else:
        later = {token for token in positions if token > words.position + step}
        followers = later | {token for token in pitches if token > words.pitch + pitch} | {words.bar}
    return (bar, step, pitch), followers


def test_places_and_followers_are_those_that_reading_one_by_one_tells() -> None:
    tokens = rows(range(3))
    at = places(tokens)
    allowed = Grammar().allowed(tokens, at)
    for row in range(len(tokens)):
        known = [token for token in tokens[row].tolist() if token != vocabulary().pad]
        for place in range(len(known)):
            wanted_place, followers = told(known[: place + 1])
            assert (int(at.bar[row, place]), int(at.step[row, place]), int(at.pitch[row, place])) == wanted_place
            assert set(torch.nonzero(allowed[row, place])[:, 0].tolist()) == followers


def test_music_keeps_to_the_grammar() -> None:
    tokens = rows(range(10, 20))
    allowed = Grammar().allowed(tokens, places(tokens))[:, :-1]
    followers = tokens[:, 1:]
    is_music = followers != vocabulary().pad
    assert allowed.gather(2, followers[..., None])[..., 0][is_music].all()
