"""A checkpoint comes back as it was, and whatever does not fit is refused with the reason."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fractal_live.model.checkpoint import META_KEY, CheckpointError, load, meaning, save
from tests.model.tiny import CONFIGS, TINY, lively


def written(folder: Path, header: dict[str, object] | None = None, spoil: str | None = None) -> Path:
    """A small checkpoint, with parts of its header replaced or one tensor cut short."""
    path = folder / "small.safetensors"
    model = lively(1)
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    if spoil is not None:
        tensors[spoil] = tensors[spoil][:-1].contiguous()
    full = meaning() | {"config": TINY.as_dict(), "training": {}} | (header or {})
    save_file(tensors, path, metadata={META_KEY: json.dumps(full)})
    return path


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    model = lively(2)
    save(model, tmp_path / "a.safetensors", {"steps": 3})
    loaded = load(tmp_path / "a.safetensors")
    assert loaded.training == {"steps": 3}
    assert loaded.model.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value.half().float()), name


def test_the_id_of_a_checkpoint_is_its_name_and_its_content(tmp_path: Path) -> None:
    save(lively(3), tmp_path / "a.safetensors", {})
    first = load(tmp_path / "a.safetensors").checkpoint_id
    save(lively(4), tmp_path / "a.safetensors", {})
    assert first.startswith("a-")
    assert load(tmp_path / "a.safetensors").checkpoint_id != first


@pytest.mark.parametrize(
    ("key", "value"),
    [("steps_per_beat", 3), ("plan", [["density", 0, 12]]), ("format", "fractal-live 0")],
)
def test_a_checkpoint_with_another_meaning_is_refused_with_both_values(tmp_path: Path, key: str, value: object) -> None:
    path = written(tmp_path, {key: value})
    with pytest.raises(CheckpointError) as refusal:
        load(path)
    assert repr(value) in str(refusal.value) and repr(meaning()[key]) in str(refusal.value)


def test_a_checkpoint_of_another_shape_is_refused_naming_the_tensor(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"heads\.count\.weight"):
        load(written(tmp_path, spoil="heads.count.weight"))


def test_unknown_keys_of_the_config_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="flavour"):
        load(written(tmp_path, {"config": TINY.as_dict() | {"flavour": 1}}))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load(path)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("sprung"),)  # type: ignore[return-value]


def test_a_pickle_is_refused_and_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match="never opened"):
        load(path)
    assert not (tmp_path / "sprung").exists()


def test_a_missing_file_and_a_stranger_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load(tmp_path / "nothing.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="not one of fractal-live"):
        load(tmp_path / "other.safetensors")


@pytest.mark.parametrize("name", ["live", "all-mar", "five-levels", "bands-row", "lstm-leaf"])
def test_every_shape_travels_in_its_checkpoint(tmp_path: Path, name: str) -> None:
    save(lively(1, CONFIGS[name]), tmp_path / "a.safetensors", {})
    assert load(tmp_path / "a.safetensors").model.config == CONFIGS[name]


def test_a_shape_that_cannot_be_built_is_refused_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"small\.safetensors.*diagonal"):
        load(written(tmp_path, {"config": TINY.as_dict() | {"scan_order": "diagonal"}}))


def test_a_checkpoint_of_another_kind_is_refused_with_both(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'organ'.*'fractal'"):
        load(written(tmp_path, {"kind": "organ"}))
