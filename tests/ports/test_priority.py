"""What is asked of the system, in order, and what is said where it refuses."""

from __future__ import annotations

import os
from typing import Any

import pytest

from fractal_live.ports import priority


@pytest.mark.parametrize(
    ("refused", "granted"),
    [((), "realtime"), (("sched_setscheduler",), "nice -11"), (("sched_setscheduler", "setpriority"), "normal")],
)
def test_the_best_that_is_granted_is_taken(
    monkeypatch: pytest.MonkeyPatch, refused: tuple[str, ...], granted: str
) -> None:
    asked: list[tuple[Any, ...]] = []

    def system(name: str) -> Any:
        def call(*arguments: Any) -> None:
            asked.append((name, *arguments))
            if name in refused:
                raise PermissionError

        return call

    for name in ("sched_setscheduler", "setpriority"):
        monkeypatch.setattr(os, name, system(name), raising=False)
    monkeypatch.setattr(os, "SCHED_FIFO", 1, raising=False)
    monkeypatch.setattr(os, "sched_param", lambda number: number, raising=False)
    assert priority.ask_for_priority() == granted
    in_order = [("sched_setscheduler", 0, 1, 50), ("setpriority", os.PRIO_PROCESS, 0, -11)]
    assert asked == in_order[: len(refused) + 1]
    assert (priority.refusal(granted) == "") == (granted == "realtime")
    assert granted == "realtime" or granted in priority.refusal(granted)


def test_nothing_is_said_where_no_system_has_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setscheduler", raising=False)
    assert priority.refusal("nice -11") == ""
