"""The table that a benchmark prints, line by line. What it says is measured elsewhere."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Goal(NamedTuple):
    """A bound for one figure of the table: `Goal("at least", 1.2, "of Flask's example")`."""

    bound: str
    number: float
    unit: str

    def is_met(self, value: float) -> bool:
        return {
            "at least": value >= self.number,
            "at most": value <= self.number,
            "under": value < self.number,
        }[self.bound]

    def __str__(self) -> str:
        return f"{self.bound} {self.number:,} {self.unit}"


HEAD = "| what | median | spread | ratio | goal | |\n| --- | ---: | ---: | --- | --- | --- |"


def add(
    what: str,
    samples: Sequence[float] = (),
    unit: str = "",
    ratio: float | None = None,
    of: str = "",
    goal: Goal | None = None,
) -> None:
    """Print a line. `ratio` is a multiple `of` something else.

    The goal, if there is one, is for the ratio, or else for the median of the samples.
    """
    median = spread = times = met = ""
    if samples:
        median = f"{number(statistics.median(samples))} {unit}"
    if len(samples) > 1:
        spread = f"{number(min(samples))} to {number(max(samples))}"
    if ratio is not None:
        times = f"{ratio:.2f} {of}".rstrip()
    if goal:
        value = statistics.median(samples) if ratio is None else ratio
        met = "met" if goal.is_met(value) else "**missed**"
    print(f"| {what} | {median} | {spread} | {times} | {goal or ''} | {met} |", flush=True)


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(values: Sequence[float], to: Sequence[float]) -> float:
    return statistics.median(values) / statistics.median(to)
