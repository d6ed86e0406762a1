"""What ships for other programs: the Pure Data patch on a real Pd, the TouchDesigner script as far as Python tells."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from fractal_live.clients import STREAMS, address_markdown, pure_data_patch, touchdesigner_table
from fractal_live.live.control_table import BY_ADDRESS, CONTROLS
from fractal_live.live.controls import Controls
from tests.instrument import free_udp_port, need, wait_for

CLIENTS = Path(__file__).parents[2] / "patches" / "clients"
PURE_DATA = CLIENTS / "fractal-live.pd"
TOUCHDESIGNER = CLIENTS / "touchdesigner.py"
WORDS = {"chord": "Am7", "key": "Eb", "scale": "dorian", "patch": "glass", "score": "song.mid"}


def table_of(script: str) -> str:
    return script.split('CONTROLS = json.loads(r"""\n')[1].split('""")')[0]


def test_what_ships_is_what_the_control_table_makes() -> None:
    assert PURE_DATA.read_text(encoding="utf-8") == pure_data_patch(), "fractal-live controls --pure-data"
    assert table_of(TOUCHDESIGNER.read_text(encoding="utf-8")) == touchdesigner_table(), "controls --touchdesigner"


def test_the_page_of_clients_names_every_address() -> None:
    page = (CLIENTS.parents[1] / "docs" / "clients.md").read_text(encoding="utf-8")
    assert page.split("<!-- addresses -->\n")[1].split("<!-- /addresses -->")[0] == address_markdown()
    spoken = set(re.findall(r"/fractal/[\w/]+", page.split("<!-- addresses -->")[0]))
    known = set(BY_ADDRESS) | {f"/fractal/out/{stream}" for stream in STREAMS}
    assert spoken <= known, f"no such address: {sorted(spoken - known)}"


def test_the_touchdesigner_script_names_every_address_and_every_text_in_it_compiles() -> None:
    tree = ast.parse(TOUCHDESIGNER.read_text(encoding="utf-8"))
    rows = json.loads(table_of(TOUCHDESIGNER.read_text(encoding="utf-8")))
    assert {row["address"] for row in rows} == set(BY_ADDRESS)
    texts = [
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    callbacks = [text for text in texts if "def on" in text]
    assert len(callbacks) == 4
    for text in callbacks:
        compile(text, "callback", "exec")


def test_the_names_of_the_touchdesigner_faders_are_ones_that_it_allows_and_differ() -> None:
    names = [row["name"].replace("_", "").capitalize() for row in json.loads(touchdesigner_table())]
    assert len(set(names)) == len(names)
    assert all(name[0].isupper() and (name[1:].islower() or name[1:].isdigit()) and name.isalnum() for name in names)


def wanted() -> dict[str, tuple[str, list[object]]]:
    """Per address: what to send to Pure Data, and the arguments that must arrive."""
    messages: dict[str, tuple[str, list[object]]] = {}
    for row in json.loads(touchdesigner_table()):
        name, control = row["name"], BY_ADDRESS[row["address"]]
        if control.kind == "text":
            messages[row["address"]] = (f"fl-{name} symbol {WORDS[name]}", [WORDS[name]])
        elif control.kind == "bang":
            messages[row["address"]] = (f"fl-{name} bang", [])
        else:
            counts = {"recall": 2, "blend": 3, "chroma": 12, "latent": 16, "infill": 2}
            count = counts.get(control.name.removeprefix("latent_") if control.kind == "slots" else control.name, 1)
            value = min(max(control.low, 0.5 if control.high < 1 else 1.0), control.high)
            messages[row["address"]] = (f"fl-{name} {' '.join([f'{value:g}'] * count)}", [value] * count)
    return messages


@contextlib.contextmanager
def pure_data(*sends: str) -> Iterator[subprocess.Popen[str]]:
    command = ["pd", "-nogui", "-noaudio", "-nomidi", "-open", str(PURE_DATA)]
    command += [part for text in sends for part in ("-send", text)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def test_pure_data_sends_every_control_and_the_instrument_takes_each() -> None:
    need("pd")
    messages = wanted()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as instrument:
        instrument.bind(("127.0.0.1", 0))
        instrument.settimeout(10)
        sends = [f"fl-listen {free_udp_port()}", f"fl-connect 127.0.0.1 {instrument.getsockname()[1]}"]
        told: dict[str, list[object]] = {}
        with pure_data(*sends, *(text for text, _ in messages.values())):
            while told.keys() != messages.keys():
                message = OscMessage(instrument.recv(65536))
                told[message.address] = list(message.params)
    told["/fractal/subscribe"] = []  # it also subscribes by itself
    assert told == {address: arguments for address, (_, arguments) in messages.items()}
    controls = Controls(seed=3)
    errors = {address: controls.apply(address, arguments).error for address, arguments in told.items()}
    assert {address: error for address, error in errors.items() if error and "empty" not in error} == {}


def test_pure_data_receives_every_stream() -> None:
    need("pd")
    port = free_udp_port()
    with pure_data(f"fl-listen {port}", "fl-print 1") as running, socket.socket(type=socket.SOCK_DGRAM) as instrument:
        lines: list[str] = []
        printed = running.stdout
        assert printed is not None
        threading.Thread(target=lambda: lines.extend(printed), daemon=True).start()

        def all_heard() -> bool:
            for stream in STREAMS:  # again and again: what is sent before Pd listens is lost
                builder = OscMessageBuilder(f"/fractal/out/{stream}")
                builder.add_arg(60.0, "f")
                with contextlib.suppress(ConnectionRefusedError):
                    instrument.sendto(builder.build().dgram, ("127.0.0.1", port))
            return {line.split()[1] for line in list(lines) if line.startswith("fl-out: ")} >= set(STREAMS)

        wait_for(all_heard, 20, "every stream in Pure Data")


def test_every_control_that_can_be_moved_has_a_row() -> None:
    assert {row["address"] for row in json.loads(touchdesigner_table())} >= {
        control.address for control in CONTROLS if "<i>" not in control.address
    }
