import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mido
import pytest
from typer.testing import CliRunner

from fractal_live import __version__
from fractal_live.cli import app
from fractal_live.live.controls import table_markdown
from fractal_live.music.midifile import read_score
from fractal_live.shipped_files import shipped_names
from tests.instrument import free_udp_port

ROOT = Path(__file__).parent.parent
COMMANDS = ("run", "generate", "infill", "train", "evaluate", "ports", "controls", "patches")


def typed(*arguments: str) -> Any:
    """A command in this process, on a terminal wide enough for one line."""
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "1000"})


def complaint(*arguments: str) -> str:
    """The one line on standard error of a command that is refused before it begins."""
    refused = typed(*arguments)
    assert refused.exit_code == 2, refused.output
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    return line


def program(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a user types it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "fractal_live.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, timeout=100, check=False
    )


def timed(track: mido.MidiTrack) -> list[tuple[int, mido.Message]]:
    now, events = 0, []
    for message in track:
        now += message.time
        events.append((now, message))
    return events


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--sync", "tap"), "--sync is 'tap'; allowed: midi, internal, osc, link"),
        (("--device", "tpu"), "--device is 'tpu'; allowed: auto, cpu, cuda"),
        (
            ("--midi-api", "coremidi"),
            "--midi-api is 'coremidi'; allowed: auto, alsa, jack-native, jack, core, winmm, none",
        ),
        (("--log-level", "loud"), "--log-level is 'loud'; allowed: debug, info, warning, error"),
    ],
)
def test_a_wrong_choice_is_refused_with_the_choices_there_are(options: tuple[str, ...], expected: str) -> None:
    assert complaint("run", *options) == expected


def test_leading_while_following_a_midi_clock_is_refused() -> None:
    assert complaint("run", "--send-clock").startswith("--send-clock")
    assert "allowed with --sync internal, osc and link" in complaint("run", "--sync", "midi", "--send-clock")


def test_link_without_its_package_is_refused_before_the_show(tmp_path: Path) -> None:
    (tmp_path / "aalink.py").write_text("raise ImportError('not for this machine')", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "fractal_live.cli", "run", "--sync", "link", "--midi-api", "none"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "pip install 'fractal-live[link]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_patch_is_refused_with_the_patches_there_are() -> None:
    shipped = ", ".join(shipped_names("patches"))
    assert complaint("run", "--patch", "nocturn") == (
        f"nocturn: neither a file nor shipped with the program; did you mean 'nocturne'?; shipped patches: {shipped}"
    )


@pytest.mark.parametrize("command", ["run", "generate"])
def test_a_missing_checkpoint_is_refused_with_the_checkpoints_there_are(command: str) -> None:
    shipped = ", ".join(shipped_names("checkpoints")) or "none"
    assert complaint(command, "--checkpoint", "absent.safetensors") == (
        f"absent.safetensors: neither a file nor shipped with the program; shipped checkpoints: {shipped}"
    )


def test_a_patch_with_an_unknown_key_is_refused_by_file_and_key(tmp_path: Path) -> None:
    patch = tmp_path / "own.toml"
    patch.write_text("tempo = 90\n", encoding="utf-8")
    line = complaint("run", "--patch", str(patch))
    assert line.startswith(f"{patch}: unknown key 'tempo'; did you mean 'tempo_bpm'?; allowed: ")


@pytest.mark.parametrize(
    ("options", "bound"),
    [
        (("run", "--bars", "0"), "1"),
        (("run", "--osc-port", "70000"), "65535"),
        (("run", "--tempo", "900"), "400"),
        (("run", "--seed", "-1"), "0"),
        (("generate", "--gain", "2"), "1"),
        (("generate", "--temperature", "0"), "0.1"),
    ],
)
def test_a_number_out_of_range_is_refused_with_its_option_and_the_bound(options: tuple[str, ...], bound: str) -> None:
    refused = typed(*options)
    assert refused.exit_code == 2
    (line,) = (line for line in refused.stderr.splitlines() if "Invalid value" in line)
    assert options[1] in line
    assert bound in line.partition(options[1])[2]


def test_the_control_table_in_markdown_is_the_tables_own() -> None:
    shown = typed("controls", "--markdown")
    assert shown.exit_code == 0
    assert shown.stdout.strip() == table_markdown().strip()


def test_every_shipped_patch_is_listed() -> None:
    shown = typed("patches")
    assert shown.exit_code == 0
    assert [name for name in shipped_names("patches") if name not in shown.stdout] == []
    assert "Nocturne" in shown.stdout


def test_every_command_is_in_the_help_and_has_a_help_of_its_own() -> None:
    overview = typed("--help").stdout
    assert [command for command in COMMANDS if command not in overview] == []
    assert [command for command in COMMANDS if typed(command, "--help").exit_code != 0] == []


def test_the_version_is_the_packages() -> None:
    assert typed("--version").stdout.strip() == __version__


@pytest.mark.slow
def test_two_bars_at_our_own_tempo_are_recorded_whole(live_checkpoint: Path, tmp_path: Path) -> None:
    options = "run --bars 2 --sync internal --midi-api none --no-dashboard --seed 3 --tempo 240 --record out.mid"
    done = program(*options.split(), "--osc-port", str(free_udp_port()), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    conductor, notes, _ = (timed(track) for track in mido.MidiFile(tmp_path / "out.mid").tracks)
    assert [events[-1][0] for events in (conductor, notes)] == [2 * 1920, 2 * 1920]
    assert {"set_tempo", "time_signature"} <= {message.type for tick, message in conductor if tick == 0}
    is_open: set[int] = set()
    for _, message in notes:
        if message.type == "note_on" and message.velocity > 0:
            assert message.note not in is_open
            is_open.add(message.note)
        elif message.type in ("note_on", "note_off"):
            is_open.remove(message.note)
    assert is_open == set()
    assert [message.type for _, message in notes].count("note_on") > 0


@pytest.mark.slow
def test_pieces_are_written_where_and_as_many_as_were_asked_for(live_checkpoint: Path, tmp_path: Path) -> None:
    options = "generate --bars 2 --num 2 --seed 7 --out pieces --density 10 --device cpu --json"
    done = program(*options.split(), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    files = ["piece-000007.mid", "piece-000008.mid"]
    assert [path.name for path in sorted((tmp_path / "pieces").iterdir())] == files
    assert [(Path(piece["file"]).name, piece["seed"]) for piece in report["pieces"]] == list(
        zip(files, (7, 8), strict=True)
    )
    assert report["bars"] == 2
    for piece in report["pieces"]:
        score = read_score(tmp_path / piece["file"])
        assert len(score.bars) == 2
        assert sum(len(bar.notes) for bar in score.bars) == piece["notes"]
        assert piece["onsets_per_bar"] == piece["notes"] / 2
