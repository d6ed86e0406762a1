"""What the tests of the controls begin with."""

from __future__ import annotations

import pytest

from fractal_live.live.controls import Controls


@pytest.fixture
def controls() -> Controls:
    return Controls(seed=7)
