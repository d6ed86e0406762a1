"""`fractal-live learn`: hears a knob, a key or a program change, and writes it into a patch.

The patch keeps its comments and its order; it is read as `run` would read it before it takes the old one's place.
"""

from __future__ import annotations

import difflib
import threading
import time
from pathlib import Path

import tomlkit
from tomlkit.items import Table as TomlTable

from fractal_live.live.midi_learn import Learned, Learner
from fractal_live.live.midi_map import TARGETS, Target, allowed_names
from fractal_live.ports.midi_in import open_input
from fractal_live.ports.midi_system import REMEDY, PortError
from fractal_live.settings import Machine, read_patch
from fractal_live.shipped_files import find_shipped, shipped_folder
from fractal_live.terminal import err
from fractal_live.toml_values import SettingsError

PATCH_PREFIX = "patch/"
LOOK_S = 0.05


def target_named(control: str) -> tuple[Target | None, str]:
    """What a patch's tables say for a control, and its target: None for "patch/NAME", which a program change calls.
    Raises SettingsError with the names there are."""
    if control.startswith(PATCH_PREFIX) and control != PATCH_PREFIX:
        return None, control.removeprefix(PATCH_PREFIX)
    if control not in TARGETS:
        near = difflib.get_close_matches(control, TARGETS, n=1, cutoff=0.5)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        allowed = ", ".join((*allowed_names(TARGETS), f"{PATCH_PREFIX}NAME"))
        raise SettingsError(f"no control is called {control!r}{meant}; allowed: {allowed}")
    return TARGETS[control], control


def own_patch(name: str) -> tuple[Path, Path]:
    """The performer's file that is to be written, and where it begins: the file itself, or for a shipped patch the
    copy of it in this folder, if there is one already, else the shipped one. Raises SettingsError."""
    source = find_shipped("patches", name)
    if source.resolve().parent != shipped_folder("patches").resolve():
        return source, source
    copy = Path(source.name)
    return (copy, copy) if copy.is_file() else (copy, source)


def listen_for(target: Target | None, machine: Machine, seconds: float) -> Learned | None:
    """Opens the MIDI input as `run` does, says so, and waits. None: nothing came. Raises PortError."""
    something = threading.Event()
    port = machine.clock_port or None
    midi_in = open_input(machine.port_name, something.set, machine.midi_api, port, something.set)
    try:
        if not midi_in.name:
            raise PortError(f"there is no MIDI input to listen to: name one with --clock-port, or {REMEDY}")
        moved = "a program change" if target is None else "a key or a button" if target.is_button else "a knob"
        err.print(f"listening at {midi_in.name}: {moved}, please", highlight=False, markup=False, soft_wrap=True)
        learner, deadline_s = Learner(target), time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            something.wait(LOOK_S)
            something.clear()
            while midi_in.received:
                arrived_ns, message = midi_in.received.popleft()
                learned = learner.hear(message, arrived_ns)
                if learned is not None:
                    return learned
            learned = learner.wait(time.monotonic_ns())
            if learned is not None:
                return learned
        return None
    finally:
        midi_in.close()


def write_learned(learned: Learned, meant: str, path: Path, source: Path) -> tuple[str, ...]:
    """Writes it into the patch at `path`, which begins as the one at `source`; what of that table stood for the same
    before. Raises SettingsError where the patch would not be right, or cannot be written; then it stays as it was."""
    try:
        document = tomlkit.parse(source.read_text(encoding="utf-8"))
        table = document.get(learned.table)
        if not isinstance(table, TomlTable):
            if table is not None:
                raise SettingsError(f"{source}: {learned.table}: write it as a table of its own, [{learned.table}]")
            table = tomlkit.table()
            document[learned.table] = table
        others = tuple(str(key) for key, value in table.items() if value == meant and key != learned.key)
        table[learned.key] = meant
        draft = path.with_name(f".{path.name}.new")
        try:
            draft.write_text(tomlkit.dumps(document), encoding="utf-8")
            read_patch(draft)
            draft.replace(path)
        except SettingsError as error:
            raise SettingsError(str(error).replace(str(draft), str(path))) from error
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written ({error.strerror})") from error
    return others
