"""Log lines of a running task."""

from benchmarks import goals, table
from benchmarks.bench import Bench


def lines(bench: Bench) -> None:
    names = ("write", "write and flush", "FileHandler", "log")
    samples = bench.in_turn({name: bench.turns(name, bench.size.rows) for name in names})
    for name in names:
        table.add(
            f"one of {bench.size.rows:,} log lines: {'self.log' if name == 'log' else name}",
            [s * 1e9 for s in samples[name]],
            "ns",
            table.ratio(samples[name], samples["write and flush"]),
            "of a file's",
            goals.LOG if name == "log" else None,
        )
