"""Streams: how late a change reaches its watchers, also while others read nothing, and the memory of a stream."""

import statistics
import time

from benchmarks import goals, table
from benchmarks.bench import Bench
from benchmarks.processes import memory_of
from tests.processes import WebServer

#: Reports of 15 kB that fill all buffers between the server and a client that reads nothing, and how many a second.
FLOOD = 400
FLOOD_RATE = 100


def streams(bench: Bench) -> None:
    size = bench.size
    task_ids, unread = bench.running_tasks(size.tasks), bench.running_task()
    p50s, p99s, stalled_p99s = [], [], []
    for _ in range(size.rounds):
        seen = _delays(bench, task_ids, unread, 0)
        p50s.append(seen["p50"] * 1e3)
        p99s.append(seen["p99"] * 1e3)
        seen = _delays(bench, task_ids, unread, size.stalled)
        stalled_p99s.append(seen["p99"] * 1e3)
    what = f"{size.watchers:,} watchers of {size.tasks} tasks, each reporting once a second"
    table.add(f"{what}: median delay", p50s, "ms")
    table.add(f"{what}: 99th percentile", p99s, "ms", goal=goals.DELAY_OF_A_CHANGE)
    table.add(
        f"the same besides {size.stalled} clients that read nothing: 99th percentile",
        stalled_p99s,
        "ms",
        statistics.median(stalled_p99s) / statistics.median(p99s),
        "of without",
        goals.STALLED_READERS,
    )

    # A new process, since the previous one may not have noticed yet that its watchers are gone.
    url = bench.redis_server.url()
    watched = WebServer("watched", bench.folder, url, **bench.settings)
    try:
        before = memory_of(watched)
        with bench.watching(task_ids, size.held, watched):
            time.sleep(size.stream_seconds / 4)  # the memory for connecting them is freed
            memory = memory_of(watched)
    finally:
        watched.stop()
    what = f"memory of one process that holds {size.held:,} watchers"
    table.add(what, [memory / 1e6], "MB", goal=goals.STREAMS)
    table.add("of that, for one watcher", [(memory - before) / size.held / 1e3], "kB")


def _delays(bench: Bench, task_ids: list[str], unread: str, stalled: int) -> dict[str, float]:
    """Return the delays of the changes of these tasks, besides some clients that read nothing of another task."""
    size = bench.size
    with bench.watching(task_ids, size.watchers, stalled=[unread] * stalled) as seen:
        for _ in range(FLOOD if stalled else 0):
            bench.report(unread, "Sorting many pages", pages="x" * 15_000)
            time.sleep(1 / FLOOD_RATE)
        bench.report_evenly([*task_ids, unread], size.stream_seconds)
        return seen()
