import pytest

from tests.ports.osc_heard import Heard


@pytest.fixture
def heard() -> Heard:
    return Heard()
