"""How long one row or line takes in each of some loops, compared with one of them."""

from collections.abc import Sequence

from benchmarks import table
from benchmarks.bench import Bench


def rows(
    bench: Bench, what: str, names: Sequence[str], than: str, of: str, ours: str, goal: table.Goal
) -> None:
    """Measure these loops of loops.py, and add a line for each, with its ratio to the loop `than`, called `of`."""
    samples = bench.in_turn({name: bench.turns(name, bench.size.rows) for name in names})
    for name in names:
        table.add(
            f"one {what}: {'self.log' if name == 'log' else name}",
            [s * 1e9 for s in samples[name]],
            "ns",
            table.ratio(samples[name], samples[than]),
            of,
            goal if name == ours else None,
        )
