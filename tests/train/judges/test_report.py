"""Reports: goals are judged the right way round, and nothing that JSON cannot say gets into one."""

from __future__ import annotations

import json

import pytest

from fractal_live.train.judges.report import Goal, Line, Report, at_least, at_most, lines_of, padded


@pytest.mark.parametrize(
    ("goal", "value", "reached"),
    [
        (at_least(0.8, 0.9), 0.95, "aim"),
        (at_least(0.8, 0.9), 0.8, "must"),
        (at_least(0.8, 0.9), 0.79, "no"),
        (at_most(30, 12), 12, "aim"),
        (at_most(30, 12), 30, "must"),
        (at_most(30, 12), 31, "no"),
        (at_most(None, 5), 6, "-"),
        (at_least(0.8), 0.9, "must"),
        (at_least(0.8, 0.9), float("nan"), "no"),
        (at_least(0.8, 0.9), None, "no"),
    ],
)
def test_a_goal_is_reached_or_missed(goal: Goal, value: float | None, reached: str) -> None:
    assert goal.reached(value) == reached


def test_a_report_is_rows_of_text_and_json() -> None:
    lines = lines_of([{"f1": 0.25, "error": float("nan")}, {"f1": 0.5}], {"f1": at_least(0.3, 0.35)})
    report = Report("infill", "two pieces", ("model", "copy"), lines, ("few",))
    assert report.header() == ("", "model", "copy", "must", "aim", "reached")
    assert report.cells() == (("f1", "0.25", "0.5", ">= 0.3", ">= 0.35", "no"), ("error", "nan", "", "", "", ""))
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False)) == {
        "judge": "infill",
        "title": "two pieces",
        "lines": [
            {
                "name": "f1",
                "values": {"model": 0.25, "copy": 0.5},
                "must": 0.3,
                "aim": 0.35,
                "is_ceiling": False,
                "reached": "no",
            },
            {"name": "error", "values": {"model": None, "copy": None}},
        ],
        "remarks": ["few"],
    }
    assert not report.musts_reached
    assert (report.value("f1"), report.value("f1", "copy")) == (0.25, 0.5)


def test_a_missed_aim_alone_does_not_fail_a_report() -> None:
    assert Report("x", "", ("model",), (Line("a", (3.0,), at_most(None, 2)),)).musts_reached


def test_a_line_must_fill_its_columns() -> None:
    line = Line("a", (1.0,))
    with pytest.raises(ValueError, match="1 values for 2 columns"):
        Report("x", "", ("model", "real"), (line,))
    assert Report("x", "", ("model", "real"), padded([line], 2)).lines[0].values == (1.0, None)
