"""The README says what is true: its control table is the table, its commands and its tree exist."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from fractal_live.cli import app
from fractal_live.live.controls import table_markdown

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_control_table_is_the_one_that_the_program_prints() -> None:
    shown = README.split("<!-- controls -->\n")[1].split("<!-- /controls -->")[0].strip()
    assert shown == table_markdown().strip()


def test_every_command_is_described_and_every_described_command_exists() -> None:
    described = set(re.findall(r"^\| `fractal-live (\w+)", README, flags=re.MULTILINE))
    assert described == set(get_command(app).commands)  # type: ignore[attr-defined]


def test_every_option_of_run_is_described() -> None:
    run = get_command(app).commands["run"]  # type: ignore[attr-defined]
    line = next(line for line in README.splitlines() if line.startswith("| `fractal-live run`"))
    options = {name for parameter in run.params for name in (*parameter.opts, *parameter.secondary_opts)}
    negatives = {"--dashboard"}
    missing = {name for name in options - negatives if name not in line}
    assert not missing


def test_every_file_that_is_pointed_to_exists() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).is_file(), target
