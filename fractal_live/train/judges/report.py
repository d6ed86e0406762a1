"""What a judge says: figures in columns, and beside those that have a goal whether it is reached.

Plain data that a terminal, a file or another program may show.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

CELL = "{:.4g}"


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a figure must lie, and where it aims to: at most (`is_ceiling`) or at least so much. None: no such
    bound."""

    must: float | None
    aim: float | None
    is_ceiling: bool = False

    def reached(self, value: float | None) -> str:
        """`aim` or `must`, whichever is reached; `no` where the must is missed, `-` where only the aim is."""
        for name, bound in (("aim", self.aim), ("must", self.must)):
            if value is not None and bound is not None and (value <= bound if self.is_ceiling else value >= bound):
                return name
        return "-" if self.must is None else "no"

    def text(self, bound: float | None) -> str:
        return "" if bound is None else f"{'<=' if self.is_ceiling else '>='} {CELL.format(bound)}"


def at_least(must: float | None, aim: float | None = None) -> Goal:
    return Goal(must, aim)


def at_most(must: float | None, aim: float | None = None) -> Goal:
    return Goal(must, aim, is_ceiling=True)


@dataclass(frozen=True, slots=True)
class Line:
    """One figure: a value per column of the report (None where there is none); the goal is for the first."""

    name: str
    values: tuple[float | None, ...]
    goal: Goal | None = None

    @property
    def reached(self) -> str:
        return self.goal.reached(self.values[0]) if self.goal else ""


@dataclass(frozen=True, slots=True)
class Report:
    """`columns` name what each line's values belong to; the first is what is judged. `remarks` say what a reader
    must know to read the figures."""

    judge: str
    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for line in self.lines:
            if len(line.values) != len(self.columns):
                raise ValueError(f"{line.name}: {len(line.values)} values for {len(self.columns)} columns")

    @property
    def musts_reached(self) -> bool:
        return all(line.reached != "no" for line in self.lines)

    def value(self, name: str, column: str | None = None) -> float | None:
        """A figure by its name and column (the first if none is named)."""
        place = 0 if column is None else self.columns.index(column)
        return next(line.values[place] for line in self.lines if line.name == name)

    def header(self) -> tuple[str, ...]:
        return ("", *self.columns, "must", "aim", "reached")

    def cells(self) -> tuple[tuple[str, ...], ...]:
        """A row of text per line, as long as the header."""
        rows = []
        for line in self.lines:
            shown = ("" if value is None else CELL.format(value) for value in line.values)
            bounds = (line.goal.text(line.goal.must), line.goal.text(line.goal.aim)) if line.goal else ("", "")
            rows.append((line.name, *shown, *bounds, line.reached))
        return tuple(rows)

    def as_dict(self) -> dict[str, object]:
        """The report as JSON has it; a value that is none or not a number is null."""
        lines = []
        for line in self.lines:
            values = [None if value is None or not math.isfinite(value) else value for value in line.values]
            entry: dict[str, object] = {"name": line.name, "values": dict(zip(self.columns, values, strict=True))}
            if line.goal:
                goal = {"must": line.goal.must, "aim": line.goal.aim, "is_ceiling": line.goal.is_ceiling}
                entry |= goal | {"reached": line.reached}
            lines.append(entry)
        return {"judge": self.judge, "title": self.title, "lines": lines, "remarks": list(self.remarks)}


def padded(lines: Iterable[Line], width: int) -> tuple[Line, ...]:
    """Lines with a value for each of so many columns, None where they had none."""
    return tuple(replace(line, values=(*line.values, *(None,) * (width - len(line.values)))) for line in lines)


def lines_of(
    columns: Sequence[Mapping[str, float]], goals: Mapping[str, Goal] | None = None, names: Sequence[str] = ()
) -> tuple[Line, ...]:
    """A line for every figure of the columns, in the order in which they first come, or only those named."""
    wanted = names or list(dict.fromkeys(name for column in columns for name in column))
    return tuple(Line(name, tuple(column.get(name) for column in columns), (goals or {}).get(name)) for name in wanted)
