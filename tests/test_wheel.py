"""A user who leaves the clone still plays: the wheel carries checkpoint, patches and settings."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHIPPED = (
    "checkpoints/live.safetensors",
    "patches/plain.toml",
    "patches/nocturne.toml",
    "config/machine.toml",
    "config/model/live.toml",
)


@pytest.mark.slow
def test_an_installed_copy_finds_what_ships_inside_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(tmp_path), str(ROOT)], check=True, cwd=tmp_path, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(installed)
    for path in SHIPPED:
        assert f"fractal_live/shipped/{path}" in names
    ask = (
        "from fractal_live.settings import read_patch\n"
        "from fractal_live.shipped_files import find_shipped\n"
        "patch = read_patch(find_shipped('patches', 'plain'))\n"
        "print(find_shipped('checkpoints', patch.checkpoint), find_shipped('config', 'machine'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    found = subprocess.run(
        [sys.executable, "-c", ask], check=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    ).stdout.split()
    folder = installed / "fractal_live" / "shipped"
    assert found == [str(folder / "checkpoints" / "live.safetensors"), str(folder / "config" / "machine.toml")]
