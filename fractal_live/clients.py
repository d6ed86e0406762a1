"""What drives the instrument from other programs, made from the control table: a Pure Data patch, and the table that
the TouchDesigner script builds its faders from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise

from fractal_live.live.control_table import CONTROLS, DIMENSION, SPLIT, Control

OSC_PORT = 5005
LISTEN_PORT = 7005
ROW = 26
TOP = 90
COLUMN = 330
ROWS = 26
SLIDER = 128
STREAMS = (
    "note",
    "bar",
    "beat",
    "plan",
    "chroma",
    "latent",
    "level",
    "state",
    "playing",
    "patch",
    "control",
    "heartbeat",
    "error",
)
"""What follows /fractal/out/ in the addresses of what is told."""


@dataclass(slots=True)
class PdPatch:
    """The text of a Pure Data patch (its file format: one line per object, then connections by number)."""

    lines: list[str] = field(default_factory=list)
    wires: list[str] = field(default_factory=list)

    def add(self, x: int, y: int, text: str, kind: str = "obj") -> int:
        """Puts an object, a msg or a text there; its number."""
        self.lines.append(f"#X {kind} {x} {y} {text};")
        return len(self.lines) - 1

    def wire(self, source: int, target: int, outlet: int = 0, inlet: int = 0) -> None:
        self.wires.append(f"#X connect {source} {outlet} {target} {inlet};")

    def chain(self, *objects: int) -> None:
        """First outlet to first inlet, all along."""
        for source, target in pairwise(objects):
            self.wire(source, target)

    def text(self) -> str:
        return "\n".join(["#N canvas 40 40 1360 800 10;", *self.lines, *self.wires]) + "\n"


def pure_data_patch() -> str:
    """A slider, a button or a field for every control; each also hears `fl-NAME`, so that other patches move it. What
    the instrument tells is sent on as `fl-out-note`, `fl-out-bar` and so on."""
    patch = PdPatch()
    patch.add(
        20, 10, "fractal-live: every control of the table. `r fl-out-note` and the like hear what it tells.", "text"
    )
    patch.add(
        20,
        28,
        f"It talks to 127.0.0.1 {OSC_PORT} and listens on {LISTEN_PORT}: fl-connect HOST PORT \\, fl-listen PORT.",
        "text",
    )
    for place, row in enumerate(_rows()):
        x, y = 20 + COLUMN * (place // ROWS), TOP + ROW * (place % ROWS)
        _put(patch, row, x, y)
    _put_sender(patch, 20, TOP + ROW * (ROWS + 1))
    _put_listener(patch, 380, TOP + ROW * (ROWS + 1))
    return patch.text()


@dataclass(frozen=True, slots=True)
class Row:
    """A control at one address."""

    control: Control
    name: str
    address: str


def _rows() -> list[Row]:
    rows = [Row(c, c.name, c.address) for c in CONTROLS if "<i>" not in c.address]
    rows += [Row(c, f"{c.name}_{place + 1}", address) for address, (c, place) in SPLIT.items()]
    dim = next(c for c in CONTROLS if c.name == "latent_dim")
    rows += [Row(dim, f"latent_{place}", address) for address, place in DIMENSION.items()]
    return rows


def _put(patch: PdPatch, row: Row, x: int, y: int) -> None:
    """What moves one control, and the message it becomes."""
    control, name = row.control, f"fl-{row.name}"
    message = patch.add(x + 160, y, f"oscformat {row.address.strip('/').replace('/', ' ')}")
    patch.wire(message, patch.add(x + 300, y, "s fl-osc"))
    if control.kind == "bang":
        # A number that comes in (a seed, a port, how many bars) goes with it.
        patch.wire(patch.add(x, y, f"bng 15 250 50 0 empty empty {row.name} 19 7 0 10 -262144 -1 -1"), message)
        patch.wire(patch.add(x + 110, y, f"r {name}"), message)
    elif control.kind in ("text", "slots") or control.name in ("latent", "chroma", "infill"):
        patch.add(x, y, row.name, "text")
        patch.wire(patch.add(x + 110, y, f"r {name}"), message)
    else:
        slider = f"hsl {SLIDER} 15 {control.low:g} {control.high:g} 0 0 empty {name} {row.name} 2 -5 0 9"
        patch.wire(patch.add(x, y + 4, f"{slider} -262144 -1 -1 0 1"), message)
        if control.kind == "floats":
            patch.wire(
                patch.add(x + 135, y + 4, f"bng 15 250 50 0 empty {name}-release empty 0 0 0 9 -4034 -1 -1"), message
            )
            patch.wire(patch.add(x + 230, y, f"r {name}-curve"), message)


def _put_sender(patch: PdPatch, x: int, y: int) -> None:
    whole = patch.add(x, y, "r fl-osc")
    send = patch.add(x, y + 26, "list prepend send")
    trim = patch.add(x, y + 52, "list trim")
    net = patch.add(x, y + 78, "netsend -u -b")
    patch.chain(whole, send, trim, net)
    start = patch.add(x + 150, y, "loadbang")
    usual = patch.add(x + 150, y + 26, f"connect 127.0.0.1 {OSC_PORT}", "msg")
    patch.chain(start, usual, net)
    where = patch.add(x + 150, y + 52, "r fl-connect")
    both = patch.add(x + 150, y + 78, "t a b")
    gone = patch.add(x + 230, y + 104, "disconnect", "msg")
    there = patch.add(x + 150, y + 104, "list prepend connect")
    flat = patch.add(x + 150, y + 130, "list trim")
    patch.chain(where, both, there, flat, net)
    patch.wire(both, gone, outlet=1)
    patch.wire(gone, net)


def _put_listener(patch: PdPatch, x: int, y: int) -> None:
    net = patch.add(x, y, f"netreceive -u -b {LISTEN_PORT}")
    parse = patch.add(x, y + 26, "oscparse")
    trim = patch.add(x, y + 52, "list trim")
    ours = patch.add(x, y + 78, "route fractal")
    out = patch.add(x, y + 104, "route out")
    each = patch.add(x, y + 130, f"route {' '.join(STREAMS)}")
    patch.chain(net, parse, trim, ours, out, each)
    for place, stream in enumerate(STREAMS):
        patch.wire(each, patch.add(x + 110 * (place % 6), y + 160 + 26 * (place // 6), f"s fl-out-{stream}"), place)
    port = patch.add(x + 180, y, "r fl-listen")
    listen = patch.add(x + 180, y + 26, "list prepend listen")
    flat = patch.add(x + 180, y + 52, "list trim")
    patch.chain(port, listen, flat, net)
    shown = patch.add(x + 330, y, "r fl-print")
    gate = patch.add(x + 330, y + 26, "spigot")
    patch.wire(shown, gate, inlet=1)
    patch.wire(out, gate)
    patch.wire(gate, patch.add(x + 330, y + 52, "print fl-out"))
    # Told from the start: the subscription goes out half a second after the patch is open, and every ten seconds.
    patch.chain(
        patch.add(x + 460, y, "loadbang"),
        patch.add(x + 460, y + 26, "delay 500"),
        patch.add(x + 460, y + 52, "metro 10000"),
        port_now := patch.add(x + 460, y + 78, f"f {LISTEN_PORT}"),
        patch.add(x + 460, y + 104, "oscformat fractal subscribe"),
        patch.add(x + 460, y + 130, "s fl-osc"),
    )
    again = patch.add(x + 560, y + 52, "r fl-listen")
    patch.wire(again, port_now)


def touchdesigner_table() -> str:
    """The controls as the TouchDesigner script reads them: JSON, a row per address."""
    rows = [
        {
            "name": row.name,
            "address": row.address,
            "kind": row.control.kind,
            "group": row.control.group,
            "low": row.control.low,
            "high": row.control.high,
            "default": row.control.default,
            "help": row.control.help,
        }
        for row in _rows()
    ]
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=True) for row in rows) + "\n]\n"


def address_markdown() -> str:
    """Name, address and range of every control, as `docs/clients.md` shows them."""
    lines = ["| name | address | takes |", "|---|---|---|"]
    for row in _rows():
        control = row.control
        if control.kind == "bang":
            takes = f"a press, or a {control.unit}" if control.unit else "a press"
        elif control.kind == "text":
            takes = "a name"
        else:
            count = f", up to {control.most_values}" if control.most_values > 1 else ""
            takes = f"{control.low:g} to {control.high:g} {control.unit}".rstrip() + count
        lines.append(f"| {row.name} | `{row.address}` | {takes} |")
    return "\n".join(lines) + "\n"
