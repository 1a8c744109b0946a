"""Log lines of a running task."""

from benchmarks import goals
from benchmarks.bench import Bench
from benchmarks.parts.rows import rows


def lines(bench: Bench) -> None:
    names = ("write", "write and flush", "FileHandler", "log")
    what = f"of {bench.size.rows:,} log lines"
    rows(bench, what, names, "write and flush", "of a file's", "log", goals.LOG)
