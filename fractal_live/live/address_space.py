"""The addresses, as a program finds them that asks by OSCQuery: a tree of nodes made from the control table.

The names of the attributes are those of the OSCQuery proposal (Vidvox), "Required attributes" and "Optional
attributes". Knows no sockets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fractal_live.live.control_table import BY_ADDRESS, DIMENSION, PITCH_CLASSES, Control
from fractal_live.music.request import LATENT_DIMS

Node = dict[str, Any]

NO_VALUE, READABLE, SETTABLE = 0, 1, 2


def address_space(values: Mapping[str, tuple[float, ...]]) -> Node:
    """The root of the tree; `values` as `Controls.values` has them."""
    root: Node = {"FULL_PATH": "/", "ACCESS": NO_VALUE, "DESCRIPTION": "fractal-live", "CONTENTS": {}}
    latent = values["/fractal/latent/level0"]
    for address, control in BY_ADDRESS.items():
        given = (latent[DIMENSION[address]],) if address in DIMENSION else values.get(address)
        _put(root, address, _method(control, address, given))
    return root


def _put(root: Node, path: str, method: Node) -> None:
    node = root
    for end, name in enumerate(parts := path.strip("/").split("/"), start=1):
        contents = node.setdefault("CONTENTS", {})
        node = contents.setdefault(name, {"FULL_PATH": "/" + "/".join(parts[:end]), "ACCESS": NO_VALUE})
    node.update(method)


def _method(control: Control, path: str, values: tuple[float, ...] | None) -> Node:
    """A node that takes messages. `values`: () nothing is held, None there is nothing that could be read."""
    count = {"latent": LATENT_DIMS, "chroma": PITCH_CLASSES}.get(control.name, 1)
    is_numbered = control.kind == "text" and control.default is not None  # names that have their numbers
    whole = control.kind in ("int", "slots") or control.unit in ("seed", "port") or is_numbered
    help_text = f"{control.help} ({control.unit})" if control.unit else control.help
    node: Node = {"FULL_PATH": path, "DESCRIPTION": help_text}
    node["ACCESS"] = SETTABLE if values is None else READABLE | SETTABLE
    if control.kind == "bang" and not control.unit:
        return {**node, "TYPE": "N"}
    if control.kind == "text" and not is_numbered:
        return {**node, "TYPE": "s"}
    bounds = {"MIN": _plain(control.low, whole), "MAX": _plain(control.high, whole)}
    node |= {"TYPE": ("i" if whole else "f") * count, "RANGE": [bounds] * count, "CLIPMODE": ["both"] * count}
    if values:
        node["VALUE"] = [_plain(value, whole) for value in values[:count]]
    return node


def _plain(number: float, is_whole: bool) -> float:
    return int(number) if is_whole else float(number)
