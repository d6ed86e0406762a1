"""The shipped patches on the shipped checkpoint: each sounds as it says, and none as another."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from fractal_live.baselines.door import open_engine
from fractal_live.live.controls import Controls
from fractal_live.live.planner import Planner
from fractal_live.music.notes import Bar
from fractal_live.music.plan import ATTRIBUTES, COLUMN, measure
from fractal_live.music.request import BarRequest
from fractal_live.music.scales import SCALE_NAMES, SCALES
from fractal_live.settings import Patch, read_patch
from fractal_live.shipped_files import find_shipped, shipped_names

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

NAMES = tuple(name for name in shipped_names("patches") if name != "plain")
BARS = 5
SPREAD = {"density": 8.0, "polyphony": 1.2, "duration": 1.7, "register": 5.0, "loudness": 12.0}
"""Standard deviations of these between the bars of songs, about."""


@pytest.fixture(scope="module")
def played(live_checkpoint: Path) -> dict[str, list[Bar]]:
    """The first bars of each patch, as they sound."""
    engine = open_engine(live_checkpoint)
    result = {}
    for name in NAMES:
        patch = read_patch(find_shipped("patches", name))
        planner = Planner(patch.meter, outfit=patch.outfit)
        planner.controls_changed(Controls(patch.controls, patch.plan, seed=5).snapshot)
        bars = []
        for _ in range(BARS):
            request = planner.next_request(None)
            assert isinstance(request, BarRequest)
            offer = planner.answered(engine.bar(request))
            assert offer is not None
            planner.bar_began(offer.bar, offer.version, False)
            bars.append(offer.bar)
        result[name] = bars
    return result


def mean_of(bars: list[Bar]) -> np.ndarray:
    return np.nanmean([measure(bar) for bar in bars], axis=0)


def patch_named(name: str) -> Patch:
    return read_patch(find_shipped("patches", name))


def test_at_least_eight_ship_and_each_says_how_it_sounds() -> None:
    wanted = {"nocturne", "pulse", "glass", "drift", "swarm", "hymn", "arpeggio", "silence-and-storm"}
    assert set(NAMES) >= wanted
    for name in NAMES:
        first = find_shipped("patches", name).read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# ") and len(first) > 40, f"{name} begins with what it is"
        readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
        assert f"| `{name}` | {first.removeprefix('# ')} |" in readme


@pytest.mark.parametrize("name", NAMES)
def test_what_a_patch_holds_is_what_sounds(played: dict[str, list[Bar]], name: str) -> None:
    patch, bars = patch_named(name), played[name]
    for place, bar in enumerate(bars):
        density = patch.plan.get("density")
        if density is not None:
            wanted = density[place] if isinstance(density, tuple) else density
            # Two pitches that a scale moves to one are one note.
            assert len(bar.notes) == pytest.approx(wanted, abs=2 if "scale" in patch.controls else 0)
    sounds = mean_of(bars)
    limits = {"register": 4.0, "loudness": 6.0}
    for attribute, limit in limits.items():
        held = patch.plan.get(attribute)
        if isinstance(held, float):
            assert sounds[COLUMN[attribute]] == pytest.approx(held, abs=limit), attribute
    if "scale" in patch.controls:
        steps = SCALES[str(patch.controls["scale"])]
        assert str(patch.controls["scale"]) in SCALE_NAMES
        key = Controls(patch.controls, patch.plan).snapshot.dress.key
        assert all((note.pitch - key) % 12 in steps for bar in bars for note in bar.notes)


def test_no_patch_sounds_like_another(played: dict[str, list[Bar]]) -> None:
    columns = [COLUMN[name] for name in SPREAD]
    spread = np.array(list(SPREAD.values()))
    sound = {name: mean_of(bars)[columns] / spread for name, bars in played.items()}
    apart = {pair: float(np.abs(sound[pair[0]] - sound[pair[1]]).max()) for pair in combinations(NAMES, 2)}
    nearest = min(apart, key=lambda pair: apart[pair])
    assert apart[nearest] > 0.5, f"{nearest}: {apart[nearest]:.2f} of {[a.name for a in ATTRIBUTES]}"


def test_the_parts_of_a_split_patch_sound_on_their_channels(played: dict[str, list[Bar]]) -> None:
    split = [name for name in NAMES if patch_named(name).splits]
    assert len(split) >= 2
    for name in split:
        outfit = patch_named(name).outfit
        struck = {note.channel for bar in played[name] for note in bar.notes}
        assert struck <= set(outfit.channels) and len(struck) >= 2, name
