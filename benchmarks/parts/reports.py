"""Reports of a running task: `update_state`, also of a part of a family, and loops with `track`."""

from benchmarks import goals, table
from benchmarks.bench import Bench
from benchmarks.parts.rows import rows


def reports(bench: Bench) -> None:
    names = ("update-celery", "update-ours", "update-part")
    samples = bench.in_turn({name: bench.turns(name, bench.size.updates) for name in names})
    celery, ours, part = ([s * 1e6 for s in samples[name]] for name in names)
    table.add("one update_state: Celery", celery, "µs")
    times = table.ratio(ours, celery)
    table.add("one update_state: ours", ours, "µs", times, "of Celery's", goals.UPDATE)
    table.add(
        "one update_state: ours, of a part of a family",
        part,
        "µs",
        table.ratio(part, ours),
        "of one without a family",
        goals.UPDATE_OF_A_PART,
    )

    what = f"row of a loop of {bench.size.rows:,}"
    rows(bench, what, ("loop", "tqdm", "track"), "tqdm", "of tqdm's", "track", goals.TRACK)
