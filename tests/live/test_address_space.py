from collections.abc import Iterator
from typing import Any

from fractal_live.live.address_space import address_space
from fractal_live.live.control_table import BY_ADDRESS
from fractal_live.live.controls import Controls


def methods(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "TYPE" in node:
        yield node
    for child in node.get("CONTENTS", {}).values():
        yield from methods(child)


def by_path(controls: Controls) -> dict[str, dict[str, Any]]:
    return {node["FULL_PATH"]: node for node in methods(address_space(controls.values()))}


def test_every_address_of_the_table_is_there_once() -> None:
    found = [node["FULL_PATH"] for node in methods(address_space(Controls().values()))]
    assert sorted(found) == sorted(BY_ADDRESS)


def test_a_number_has_its_type_range_and_value() -> None:
    controls = Controls({"temperature": 0.8, "top_k": 40})
    nodes = by_path(controls)
    temperature = nodes["/fractal/param/temperature"]
    assert (temperature["TYPE"], temperature["VALUE"], temperature["ACCESS"]) == ("f", [0.8], 3)
    assert temperature["RANGE"] == [{"MIN": 0.1, "MAX": 2.0}] and temperature["CLIPMODE"] == ["both"]
    assert (nodes["/fractal/param/top_k"]["TYPE"], nodes["/fractal/param/top_k"]["VALUE"]) == ("i", [40])


def test_a_vector_has_a_range_for_each_of_its_values() -> None:
    controls = Controls()
    controls.apply("/fractal/latent/level0", [0.5, -1.0])
    nodes = by_path(controls)
    latent = nodes["/fractal/latent/level0"]
    assert latent["TYPE"] == "f" * 16 and len(latent["RANGE"]) == 16
    assert latent["VALUE"] == [0.5, -1.0, *[0.0] * 14]
    assert nodes["/fractal/latent/level0/1"]["VALUE"] == [-1.0]
    assert nodes["/fractal/harmony/chroma"]["TYPE"] == "f" * 12


def test_names_that_have_numbers_are_told_as_these_and_others_as_text() -> None:
    nodes = by_path(Controls({"key": "D"}))
    assert (nodes["/fractal/harmony/key"]["TYPE"], nodes["/fractal/harmony/key"]["VALUE"]) == ("i", [2])
    assert (nodes["/fractal/patch"]["TYPE"], nodes["/fractal/patch"]["ACCESS"]) == ("s", 2)


def test_what_is_not_held_has_no_value_and_a_button_cannot_be_read() -> None:
    nodes = by_path(Controls())
    assert nodes["/fractal/plan/density"]["ACCESS"] == 3 and "VALUE" not in nodes["/fractal/plan/density"]
    assert (nodes["/fractal/panic"]["TYPE"], nodes["/fractal/panic"]["ACCESS"]) == ("N", 2)
    assert (nodes["/fractal/generate"]["TYPE"], nodes["/fractal/generate"]["ACCESS"]) == ("i", 2)


def test_containers_say_where_they_are() -> None:
    root = address_space(Controls().values())
    fractal = root["CONTENTS"]["fractal"]
    assert (root["FULL_PATH"], fractal["FULL_PATH"]) == ("/", "/fractal")
    assert fractal["CONTENTS"]["param"]["FULL_PATH"] == "/fractal/param" and fractal["ACCESS"] == 0
