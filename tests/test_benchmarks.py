"""The benchmark runs from beginning to end. How fast anything is depends on the machine, and is not asserted."""

import subprocess
import sys

import pytest

from tests.processes import ROOT

pytestmark = pytest.mark.long


def test_every_comparison_of_the_benchmark_can_be_made() -> None:
    command = [sys.executable, "-m", "benchmarks", "--short"]
    run = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    text = run.stdout
    assert run.returncode == 0, run.stderr

    for what in (
        "one poll: ours",
        "one start by HTTP: ours",
        "one update_state: ours",
        "track",
        "self.log",
        "rows: ours, into SQLite",
        "rows: ours, into PostgreSQL",
    ):
        assert what in text
    for what in ("99th percentile", "one watcher", "bytes", "update_state in a loop, with"):
        assert what in text


def test_every_cost_can_be_measured() -> None:
    command = [sys.executable, "-m", "benchmarks.costs", "--short"]
    run = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr

    for what in (
        "a poll",
        "a page",
        "a start",
        "ended",
        "stream",
        "update_state",
        "one report in it",
    ):
        assert what in run.stdout
