"""What is learned is written into the patch, and nothing else of the patch changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fractal_live.learning import own_patch, target_named, write_learned
from fractal_live.live.midi_learn import Learned
from fractal_live.live.midi_map import TARGETS, Place
from fractal_live.settings import read_patch
from fractal_live.shipped_files import find_shipped
from fractal_live.toml_values import SettingsError

MINE = """# my set
title = "Mine"   # shown above

[cc]   # the left box
# the big knob
"1:74" = "temperature"  # careful
"1:20" = "cfg"

[plan]
density = 8
"""


def test_a_new_line_joins_its_table_and_all_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE, encoding="utf-8")
    assert write_learned(Learned("cc", "1:21"), "cfg", path, path) == ("1:20",)
    expected = MINE.replace('"1:20" = "cfg"\n', '"1:20" = "cfg"\n"1:21" = "cfg"\n')
    assert path.read_text(encoding="utf-8") == expected
    assert [child.name for child in tmp_path.iterdir()] == ["mine.toml"]


def test_a_knob_that_moved_something_else_moves_the_new(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE, encoding="utf-8")
    write_learned(Learned("cc", "1:74"), "top_p", path, path)
    assert path.read_text(encoding="utf-8") == MINE.replace('"1:74" = "temperature"', '"1:74" = "top_p"')


def test_a_table_that_is_not_there_is_made(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE, encoding="utf-8")
    write_learned(Learned("notes", "10:36"), "freeze/8", path, path)
    write_learned(Learned("programs", "5"), "nocturne", path, path)
    write_learned(Learned("cc14", "1:1"), "latent/0", path, path)
    assert path.read_text(encoding="utf-8").startswith(MINE)
    patch = read_patch(path)
    assert patch.notes == {Place(9, 36): TARGETS["freeze/8"]}
    assert patch.programs == {4: "nocturne"} and patch.cc14 == {Place(0, 1): TARGETS["latent/0"]}


def test_a_shipped_patch_is_copied_here_and_then_the_copy_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = find_shipped("patches", "plain")
    before = shipped.read_text(encoding="utf-8")
    assert own_patch("plain") == (Path("plain.toml"), shipped)
    write_learned(Learned("cc", "1:74"), "temperature", *own_patch("plain"))
    assert own_patch("plain") == (Path("plain.toml"), Path("plain.toml"))
    assert shipped.read_text(encoding="utf-8") == before
    added = set(Path("plain.toml").read_text(encoding="utf-8").splitlines()) - set(before.splitlines())
    assert added == {'"1:74" = "temperature"'}
    assert read_patch(Path("plain.toml")).cc == {Place(0, 74): TARGETS["temperature"]}


def test_what_would_not_be_a_patch_is_refused_and_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for text, learned, said in (
        (MINE, Learned("cc14", "1:20"), "cc.1:20: is a half of cc14.1:20"),
        ('cc = { 1 = "cfg" }\n', Learned("cc", "1:2"), r"write it as a table of its own, \[cc\]"),
        ("titel = 'x'\n", Learned("cc", "1:2"), "unknown key 'titel'"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SettingsError, match=said) as error:
            write_learned(learned, "cfg", path, path)
        assert str(error.value).startswith(f"{path}: ")
        assert path.read_text(encoding="utf-8") == text
        assert [child.name for child in tmp_path.iterdir()] == ["mine.toml"]


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    source = tmp_path / "mine.toml"
    source.write_text(MINE, encoding="utf-8")
    with pytest.raises(SettingsError, match="cannot be written"):
        write_learned(Learned("cc", "1:2"), "cfg", tmp_path / "nowhere" / "mine.toml", source)


def test_a_control_that_is_none_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(
        SettingsError, match=r"'temprature'; did you mean 'temperature'.* latent/0 to latent/15, .*patch/NAME"
    ):
        target_named("temprature")
    assert target_named("patch/nocturne") == (None, "nocturne")
    assert target_named("split_level/2") == (TARGETS["split_level/2"], "split_level/2")
