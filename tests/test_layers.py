"""The import law: which room may know which, read from the source, and what fresh processes really carry."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fractal_live"

RANK = {
    "music": 0,
    "toml_values": 0,
    "model": 1,
    "live": 1,
    "ports": 1,
    "shipped_files": 1,
    "baselines": 2,
    "piano_roll": 1,
    "patch_values": 2,
    "dashboard": 2,
    "stage": 2,
    "processes": 2,
    "memory": 0,
    "clients": 2,
    "feedback": 2,
    "pictures": 2,
    "terminal": 2,
    "recorded_set": 2,
    "train": 3,
    "settings": 3,
    "keeper": 3,
    "recording": 4,
    "patch_rack": 4,
    "link_leader": 4,
    "status": 4,
    "encore": 4,
    "reporter": 5,
    "learning": 5,
    "replay": 5,
    "studio": 5,
    "live_set": 6,
    "stage_side": 7,
    "announcer": 7,
    "transport_control": 8,
    "model_side": 8,
    "repertoire": 8,
    "playhead": 9,
    "performer": 9,
    "daemon": 10,
    "bench": 11,
    "bench_cli": 12,
    "cli": 13,
    "shipped": 0,
}
MAY_IMPORT: dict[str, set[str]] = {
    "music": set(),
    "toml_values": set(),
    "model": {"music"},
    "live": {"music"},
    "ports": {"music"},
    "baselines": {"music", "model"},
    "train": {"music", "model", "baselines", "shipped_files"},
    "shipped_files": {"toml_values"},
    "patch_values": {"music", "live", "toml_values"},
    "settings": {"music", "live", "toml_values", "patch_values", "shipped_files"},
    "piano_roll": {"music"},
    "dashboard": {"music", "live", "piano_roll"},
    "stage": {"music", "live", "ports"},
    "processes": {"ports"},
    "clients": {"live"},
    "feedback": {"music", "ports"},
    "pictures": {"music"},
    "keeper": {"processes"},
    "recording": {"music", "live", "ports", "settings"},
    "patch_rack": {"music", "settings", "shipped_files", "toml_values"},
    "recorded_set": {"music", "live"},
    "encore": {"music", "live", "ports", "processes", "recorded_set", "settings"},
    "replay": {
        "music",
        "live",
        "ports",
        "baselines",
        "settings",
        "shipped_files",
        "toml_values",
        "terminal",
        "recorded_set",
        "encore",
    },
    "learning": {"live", "ports", "settings", "shipped_files", "toml_values", "terminal"},
    "link_leader": {"music", "ports", "settings"},
    "reporter": {"ports", "status"},
    "status": {"music", "live", "ports", "settings", "dashboard"},
    "terminal": {"shipped_files", "toml_values"},
    "live_set": {"live", "ports", "settings", "feedback", "link_leader", "recording", "reporter", "status"},
    "stage_side": {"live", "ports", "keeper", "live_set"},
    "announcer": {"ports", "feedback", "live_set"},
    "transport_control": {"ports", "link_leader", "live_set", "stage_side"},
    "model_side": {"music", "keeper", "processes", "live_set", "stage_side"},
    "repertoire": {"music", "live", "settings", "toml_values", "patch_rack", "live_set", "stage_side"},
    "playhead": {"music", "ports", "live_set", "stage_side", "transport_control"},
    "performer": {"live", "ports", "announcer", "live_set", "repertoire", "stage_side", "transport_control"},
    "daemon": {
        "memory",
        "live",
        "ports",
        "settings",
        "dashboard",
        "link_leader",
        "live_set",
        "stage_side",
        "model_side",
        "transport_control",
        "playhead",
        "repertoire",
        "announcer",
        "performer",
    },
    "studio": {"music", "model", "baselines", "train", "settings", "toml_values", "terminal", "pictures"},
    "bench": set(RANK) - {"bench", "bench_cli", "cli", "shipped"},
    "bench_cli": {"bench", "settings", "terminal"},
    "cli": set(RANK) - {"cli", "shipped"},
    "memory": set(),
    "shipped": set(),
}
ONLY_IN = {
    "torch": {"model", "baselines", "train", "bench", "replay"},
    "safetensors": {"model", "baselines", "train"},
    "rtmidi": {"ports"},
    "aalink": {"ports"},
    "pythonosc": {"ports"},
    "rich": {"piano_roll", "dashboard", "train", "terminal", "studio", "replay", "bench", "bench_cli", "cli"},
    "typer": {"terminal", "studio", "replay", "bench_cli", "cli"},
    "asyncio": {
        "ports",
        "processes",
        "keeper",
        "recording",
        "encore",
        "patch_rack",
        "live_set",
        "repertoire",
        "daemon",
        "bench",
    },
    "socket": {"ports"},
    "multiprocessing": {"ports", "stage", "processes", "baselines", "bench"},
    "time": {
        "ports",
        "stage",
        "processes",
        "keeper",
        "encore",
        "reporter",
        "daemon",
        "dashboard",
        "model",
        "baselines",
        "train",
        "bench",
        "cli",
        "learning",
    },
    "tomlkit": {"learning"},
}
"""Packages from outside that are somebody's business; `live` gets its time as an argument."""

OPTIONAL = {
    "PIL",
    "flash_attn",
    "matplotlib",
    "muspy",
    "sklearn",
    "miditok",
    "symusic",
    "tensorboard",
    "aalink",
    "isobar",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


def room_of(path: Path) -> str:
    """The folder, or the file that is a room of its own; the package's own `__init__` is none."""
    place = path.relative_to(PACKAGE)
    return place.parts[0] if len(place.parts) > 1 else place.stem


def imported(tree: ast.AST) -> Iterator[str]:
    """The dotted name of everything an `import` may bind, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that this test can read them"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def in_a_fresh_interpreter(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def packages_after(module: str) -> set[str]:
    """The top-level packages that an interpreter holds after one import."""
    listing = "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    return set(ast.literal_eval(in_a_fresh_interpreter("-c", f"import sys, {module}; {listing}")))


def test_every_room_has_its_line_in_the_table_and_every_line_its_room() -> None:
    rooms = {room_of(path) for path in modules()} - {"__init__"}
    assert rooms == set(MAY_IMPORT) == set(RANK)


def test_the_table_itself_only_points_downhill() -> None:
    uphill = {(room, other) for room, others in MAY_IMPORT.items() for other in others if RANK[other] >= RANK[room]}
    assert uphill == set()


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_imports_only_what_its_room_may_know(path: Path) -> None:
    room = room_of(path)
    ours = {name.split(".")[1] for name in imported(parsed(path)) if name.startswith("fractal_live.")}
    other_rooms = (ours & set(MAY_IMPORT)) - {room}
    assert other_rooms <= MAY_IMPORT.get(room, set())


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_foreign_package_is_known_only_in_the_rooms_it_is_for(path: Path) -> None:
    foreign = {name.partition(".")[0] for name in imported(parsed(path))}
    assert {package for package in foreign & set(ONLY_IN) if room_of(path) not in ONLY_IN[package]} == set()


@pytest.mark.parametrize(
    "path", [path for path in modules() if room_of(path) not in ("cli", "bench_cli", "studio", "replay")], ids=name_of
)
def test_imports_stand_at_the_top_of_a_module(path: Path) -> None:
    functions = [node for node in ast.walk(parsed(path)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inside = [name for function in functions for name in imported(function)]
    assert [name for name in inside if name.partition(".")[0] not in OPTIONAL] == []


def test_shipped_holds_no_code() -> None:
    statements = [parsed(path).body for path in modules() if room_of(path) == "shipped"]
    assert all(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for body in statements for node in body
    )


@pytest.mark.slow
def test_the_daemon_does_not_carry_torch() -> None:
    assert packages_after("fractal_live.daemon") & {"torch", "safetensors", "rtmidi"} == set()


@pytest.mark.slow
def test_the_stage_carries_neither_torch_nor_the_daemons_tools() -> None:
    assert packages_after("fractal_live.stage") & {"torch", "asyncio", "rich", "pythonosc", "typer", "mido"} == set()


@pytest.mark.slow
def test_the_help_does_not_wait_for_torch() -> None:
    program = (
        "import contextlib, io, runpy, sys\n"
        "sys.argv = ['fractal-live', '--help']\n"
        "with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):\n"
        "    runpy.run_module('fractal_live.cli', run_name='__main__')\n"
        "print('generate' in shown.getvalue(), 'torch' in sys.modules)"
    )
    assert in_a_fresh_interpreter("-c", program).split() == ["True", "False"]


CENSUS = """
import sys
import fractal_live.stage

def main(connection):
    connection.recv()
    connection.send(sorted({name.partition(".")[0] for name in sys.modules}))
"""

PARENT = """
import asyncio, json
import fractal_live.cli
from fractal_live.processes import Child

async def main():
    news = asyncio.get_running_loop().create_future()
    child = Child.start("census", "census", "setup", news.set_result, lambda: None)
    print(json.dumps(await asyncio.wait_for(news, 30)))
    child.kill()

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.slow
def test_a_stage_that_the_daemon_spawns_carries_no_more_than_the_stage(tmp_path: Path) -> None:
    """A spawned process imports its parent's main module, which for us is the whole command line."""
    (tmp_path / "census.py").write_text(CENSUS, encoding="utf-8")
    (tmp_path / "parent.py").write_text(PARENT, encoding="utf-8")
    carried = set(json.loads(in_a_fresh_interpreter(str(tmp_path / "parent.py"))))
    assert "fractal_live" in carried
    assert carried & {"torch", "asyncio", "rich", "pythonosc", "typer", "mido"} == set()


def test_the_readmes_tree_names_every_file_of_the_package() -> None:
    readme = ROOT / "README.md"
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", readme.read_text(encoding="utf-8"), flags=re.M | re.S)
    trees = [block for block in blocks if "fractal_live/" in block and ".py" in block]
    named = {name for tree in trees for name in re.findall(r"\w+\.py\b", tree)}
    files = {path.name for path in modules() if path.name != "__init__.py"}
    assert sorted(files - named) == []
