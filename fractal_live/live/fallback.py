"""The bar that plays when the right one is late: a variation of what was played a phrase ago.

Deterministic and quick: it is made beside every bar, and hardly ever heard.
"""

from __future__ import annotations

from dataclasses import replace

from fractal_live.music.meter import TICKS_PER_STEP, Meter
from fractal_live.music.notes import Bar, Note, without_overlaps

PHRASE_BARS = 4


def fallback_for(index: int, meter: Meter, past: tuple[Bar, ...], density: float | None) -> Bar:
    """A bar for `index` from the past (oldest first, bar index - 1 last): the one a phrase back, or the oldest
    at hand, its onsets thinned or doubled to `density` (onsets per bar; None keeps them). Silent only if the
    density is below a half or nothing was ever played."""
    sources = [bar for bar in past if bar.notes and bar.notes[0].onset_tick < meter.ticks_per_bar]
    if not sources or (density is not None and density < 0.5):
        return Bar(index, (), meter, past[-1].tempo_bpm if past else 120.0)
    source = sources[-min(PHRASE_BARS, len(sources))]
    notes = tuple(note for note in source.notes if note.onset_tick < meter.ticks_per_bar)
    if density is not None:
        wanted = max(1, round(density))
        notes = _thinned(notes, wanted) if len(notes) > wanted else _doubled(notes, wanted, meter)
    return replace(source, index=index, meter=meter, notes=without_overlaps(notes))


def _thinned(notes: tuple[Note, ...], wanted: int) -> tuple[Note, ...]:
    """The notes that matter most: on strong places first, then the loud ones."""
    ranked = sorted(notes, key=lambda note: (-_strength(note.onset_tick), -note.velocity, note.onset_tick, note.pitch))
    return tuple(sorted(ranked[:wanted]))


def _doubled(notes: tuple[Note, ...], wanted: int, meter: Meter) -> tuple[Note, ...]:
    """Echoes, softer, two steps after each note where that place is free, until there are enough."""
    result = list(notes)
    taken = {(note.onset_tick, note.pitch) for note in notes}
    for distance in (2, 4, 1, 6, 3):
        for note in notes:
            onset = note.onset_tick + distance * TICKS_PER_STEP
            if len(result) >= wanted:
                return tuple(sorted(result))
            if onset < meter.ticks_per_bar and (onset, note.pitch) not in taken:
                taken.add((onset, note.pitch))
                result.append(
                    replace(
                        note, onset_tick=onset, duration_ticks=TICKS_PER_STEP, velocity=max(1, note.velocity * 3 // 4)
                    )
                )
    return tuple(sorted(result))


def _strength(onset_tick: int) -> int:
    """How strong a place of the bar is: the number of times its step can be halved, at most 4."""
    step = onset_tick // TICKS_PER_STEP
    if onset_tick % TICKS_PER_STEP:
        return -1
    return 4 if step == 0 else min(4, (step & -step).bit_length() - 1)
