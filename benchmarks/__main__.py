"""Compares the speed of Longtask with other solutions: `python -m benchmarks`. See benchmarks/README.md."""

import argparse
import tempfile
from pathlib import Path

from benchmarks import table
from benchmarks.bench import FULL, SHORT, Bench, machine
from benchmarks.parts.crowded import crowded
from benchmarks.parts.imports import imports
from benchmarks.parts.lines import lines
from benchmarks.parts.polls import polls
from benchmarks.parts.reports import reports
from benchmarks.parts.starts import starts
from benchmarks.parts.streams import streams
from benchmarks.parts.worker import worker

PARTS = {
    "polls": polls,
    "starts": starts,
    "reports": reports,
    "lines": lines,
    "streams": streams,
    "worker": worker,
    "imports": imports,
    "crowded": crowded,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="run for a minute, only to check that it works"
    )
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"any of {', '.join(PARTS)}; default: all"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), SHORT if arguments.short else FULL)
        try:
            print(table.HEAD)
            for part in arguments.parts or PARTS:
                PARTS[part](bench)
        finally:
            bench.stop()


if __name__ == "__main__":
    main()
