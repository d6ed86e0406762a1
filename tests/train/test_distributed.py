"""Two ranks, started by torchrun, train as one rank with a batch of twice the size would.

Tolerances: the ranks' sums are rounded to float32 before they are added, where one rank adds all samples in
one go; that is a few units in the last place (6e-8) of the larger of the parts, which Adam hands on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from fractal_live.train.distributed import Ranks, joined
from fractal_live.train.task import batch_at
from tests.train.ranks_program import FRACTAL, SHARE, SIZE, TOY, fractal, watched
from tests.train.songs import write_folder
from tests.train.toy import ToyConfig, toy_task

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.slow

Seen = list[dict[str, Any]]


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("songs"), 2)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, songs: Path) -> Seen:
    """What the two ranks saw. Every torch that is published for Linux, macOS and Windows can join processes; one that
    was built without it trains on one device, and there is nothing to compare. Without gloo alone this fails."""
    if not dist.is_available():
        pytest.skip("this torch was built without torch.distributed")
    out = tmp_path_factory.mktemp("ranks")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(SIZE)]
    command = [sys.executable, *launch, "-m", "tests.train.ranks_program", str(out), str(songs)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=110, cwd=ROOT, check=False)
    assert done.returncode == 0 and "FutureWarning" not in done.stderr, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["fractal", "rank-0.pt", "rank-1.pt", "timed-0", "toy"]
    return [torch.load(out / f"rank-{rank}.pt", weights_only=True) for rank in range(SIZE)]


def assert_close(one: dict[str, Any], other: dict[str, Any], rtol: float, atol: float) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        if value is None or other[name] is None:
            assert value is None and other[name] is None, name
        else:
            assert torch.allclose(value, other[name], rtol=rtol, atol=atol), (name, value, other[name])


def test_the_gradients_of_two_ranks_are_those_of_one_with_twice_the_batch(seen: Seen, tmp_path: Path) -> None:
    settings = replace(TOY, batch_size=SIZE * TOY.batch_size)
    alone = watched(toy_task(ToyConfig(dropout=0.0), share=SHARE), settings, tmp_path)
    for rank in seen:
        assert len(rank["toy"]["gradients"]) == len(alone["gradients"]) == TOY.steps
        for own, twin in zip(rank["toy"]["gradients"], alone["gradients"], strict=True):
            assert_close(own, twin, rtol=1e-4, atol=1e-6)
        assert_close(rank["toy"]["weights"], alone["weights"], rtol=1e-4, atol=1e-5)
        for (step, losses), (twin_step, twin_losses) in zip(rank["toy"]["reports"], alone["reports"], strict=True):
            assert step == twin_step and losses == pytest.approx(twin_losses, rel=1e-5)


def test_the_ranks_of_this_test_do_hold_unlike_counts_and_unused_parts() -> None:
    """Or the comparison above would prove nothing: a mean of means would pass it."""
    task = toy_task(share=SHARE)
    size = TOY.batch_size
    counts = [
        tuple(int(batch_at(task, TOY.seed, step, range(r * size, (r + 1) * size)).is_note.sum()) for r in (0, 1))
        for step in range(TOY.steps)
    ]
    assert any(a != b and a and b for a, b in counts), counts
    assert any(bool(a) != bool(b) for a, b in counts), counts
    assert any(a == b == 0 for a, b in counts), counts


def test_the_gradients_of_a_fractal_on_two_ranks_are_those_of_one(seen: Seen, songs: Path, tmp_path: Path) -> None:
    alone = watched(fractal(songs), replace(FRACTAL, batch_size=SIZE), tmp_path)
    for rank in seen:
        first, twin = rank["fractal"]["gradients"][0], alone["gradients"][0]
        assert_close(first, twin, rtol=1e-3, atol=1e-5)
        for (_, losses), (_, twin_losses) in zip(rank["fractal"]["reports"], alone["reports"], strict=True):
            assert losses == pytest.approx(twin_losses, rel=1e-4)


def test_the_ranks_hold_the_same_weights_to_the_bit(seen: Seen) -> None:
    for part in ("toy", "resumed", "fractal"):
        first, second = (rank[part]["weights"] for rank in seen)
        assert all(torch.equal(value, second[name]) for name, value in first.items()), part


def test_a_run_on_two_ranks_is_resumed_by_both(seen: Seen, tmp_path: Path) -> None:
    settings = replace(TOY, batch_size=SIZE * TOY.batch_size)
    watched(toy_task(ToyConfig(dropout=0.0), share=SHARE), settings, tmp_path)
    alone = watched(toy_task(ToyConfig(dropout=0.0), share=SHARE), replace(settings, steps=8), tmp_path)
    for rank in seen:
        assert [step for step, _ in rank["resumed"]["reports"]] == [7, 8]
        assert_close(rank["resumed"]["weights"], alone["weights"], rtol=1e-4, atol=1e-5)


def test_the_first_ranks_clock_ends_the_run_for_all(seen: Seen) -> None:
    first, second = (rank["timed"]["reports"] for rank in seen)
    assert first == second and first[-1][1] == 1.0


def test_without_torchrun_there_is_one_rank_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    module = torch.nn.Linear(2, 2)
    with joined("cpu") as (ranks, device):
        assert (ranks, device) == (Ranks(0, 1), "cpu")
        assert ranks.shared(module) is module
        assert ranks.agreed(3.5, device) == 3.5
        assert ranks.summed({"b": torch.tensor(2), "a": torch.tensor(0.25)}) == {"b": 2.0, "a": 0.25}
