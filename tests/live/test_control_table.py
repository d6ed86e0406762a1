from collections import Counter

import pytest

from fractal_live.live.control_table import (
    ALIASES,
    BY_ADDRESS,
    BY_NAME,
    CONTROLS,
    DIMENSION,
    KEEP,
    PATCH_KEYS,
    PITCH_CLASSES,
    SCHEDULES,
    table_markdown,
)
from fractal_live.live.controls import Controls
from fractal_live.live.latent_path import FURTHEST
from fractal_live.music.plan import ATTRIBUTES, PLAN_BARS
from fractal_live.music.request import Sampling


def test_names_and_addresses_are_unique_and_defaults_lie_in_range() -> None:
    assert len(BY_NAME) == len(CONTROLS)
    assert len({control.address for control in CONTROLS}) == len(CONTROLS)
    assert all(c.default is None or c.low <= c.default <= c.high for c in CONTROLS)


def test_plan_ranges_are_those_of_the_plan() -> None:
    rows = [BY_NAME[f"plan_{attribute.name}"] for attribute in ATTRIBUTES]
    assert [(row.low, row.high) for row in rows] == [(attribute.low, attribute.high) for attribute in ATTRIBUTES]


def test_a_walk_stays_in_the_range_that_may_be_sent() -> None:
    assert (BY_NAME["latent"].low, BY_NAME["latent"].high) == (-FURTHEST, FURTHEST)


def test_every_schedule_has_its_number_and_the_first_is_the_default() -> None:
    row = BY_NAME["cfg_schedule"]
    assert (row.low, row.high, row.default) == (0, len(SCHEDULES) - 1, 0)
    assert SCHEDULES[0] == Sampling().cfg_schedule


@pytest.mark.parametrize(
    ("address", "name", "low", "high", "default", "unit"),
    [
        ("/fractal/param/mask_k", "mask_k", 0, 16, 0, "choices"),
        ("/fractal/param/mask_p", "mask_p", 0, 0.95, 0, ""),
        ("/fractal/param/echo", "echo", -6, 6, 0, "nats"),
        ("/fractal/param/cfg_schedule", "cfg_schedule", 0, 1, 0, ""),
        ("/fractal/latent/glide", "latent_glide", 0, 64, 0, "bars"),
        ("/fractal/latent/walk", "latent_walk", 0, 1, 0, ""),
        ("/fractal/latent/store", "latent_store", 0, 15, None, "slot"),
        ("/fractal/latent/recall", "latent_recall", 0, 15, None, "slot"),
        ("/fractal/latent/blend", "latent_blend", 0, 15, None, "slot"),
        ("/fractal/harmony/chroma", "chroma", 0, 1, None, ""),
    ],
)
def test_each_control_has_its_address_and_range(
    address: str, name: str, low: float, high: float, default: float | None, unit: str
) -> None:
    row = BY_ADDRESS[address]
    assert (row.name, row.low, row.high, row.default, row.unit) == (name, low, high, default, unit)


def test_the_harmony_is_given_in_whole_half_bars_as_far_as_the_plan_reaches() -> None:
    row = BY_NAME["chroma"]
    assert (row.group_of, row.most_values) == (PITCH_CLASSES, 2 * PLAN_BARS * PITCH_CLASSES)


def test_a_patch_can_say_all_that_holds_a_value() -> None:
    assert {"mask_k", "mask_p", "cfg_schedule", "latent", "latent_glide", "latent_walk", "chroma"} <= set(PATCH_KEYS)
    assert not {"latent_dim", "latent_store", "latent_recall", "latent_blend", "plan_density", "panic"} & set(
        PATCH_KEYS
    )


def test_the_table_shows_every_control() -> None:
    table = table_markdown()
    assert all(f"`{control.address}`" in table for control in CONTROLS)
    assert len(table.splitlines()) == len(CONTROLS) + 2


@pytest.mark.parametrize("spelling", ["level03", "level0_3", "level0[3]", "level0_3_", "level0:3"])
def test_a_dimension_of_the_latent_is_known_by_whatever_becomes_of_its_name_in_a_channel(spelling: str) -> None:
    assert ALIASES[f"/fractal/latent/{spelling}"] == "/fractal/latent/level0/3"
    controls = Controls()
    assert controls.apply(f"/fractal/latent/{spelling}", [1.5]).error is None
    assert controls.snapshot.latent == (0.0, 0.0, 0.0, 1.5, *[0.0] * 12)


def test_every_dimension_has_spellings_of_its_own() -> None:
    assert set(Counter(ALIASES.values()).items()) == {(address, 5) for address in DIMENSION}
    assert not ALIASES.keys() & BY_ADDRESS.keys()


def test_values_may_be_skipped_for_newer_ones_and_what_depends_on_order_may_not() -> None:
    assert KEEP.keys() == BY_ADDRESS.keys() | ALIASES.keys()
    every = {address for address, kept in KEEP.items() if kept == "every"}
    latent = {f"/fractal/latent/{name}" for name in ("glide", "store", "recall", "blend")}
    assert every == latent | {f"/fractal/{name}" for name in ("patch", "score", "freeze", "infill")}
    presses = {address for address, kept in KEEP.items() if kept == "presses"}
    assert presses == {control.address for control in CONTROLS if control.kind == "bang"}
