"""What all tests share: one torch thread, quiet waiting, and the folder of the data set if it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).parent.parent
POP909 = ROOT.parent / "shared" / "data" / "pop909"


IN_REAL_TIME = ("scenarios", "ports", "bench")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What plays in real time is marked, so that `make test` runs it by itself."""
    for item in items:
        if item.path.parent.name in IN_REAL_TIME or item.get_closest_marker("ports"):
            item.add_marker(pytest.mark.alone)


@pytest.fixture(scope="session")
def pop909() -> Path:
    """The bar-aligned songs; skips where they are not there."""
    if not POP909.is_dir():
        pytest.skip("the POP909 songs are not beside the checkout")
    return POP909


@pytest.fixture(scope="session")
def live_checkpoint() -> Path:
    """The checkpoint that ships."""
    path = ROOT / "checkpoints" / "live.safetensors"
    assert path.is_file(), "checkpoints/live.safetensors ships with the project"
    return path
