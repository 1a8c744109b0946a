"""Streams: how late a change reaches its watchers, also while others read nothing, and the memory of a stream."""

import time
from collections.abc import Sequence

from benchmarks import goals, table
from benchmarks.bench import MESSAGE, Bench
from benchmarks.processes import memory_of
from tests.processes import WebServer

#: Reports of 15 kB that fill all buffers between the server and a client that reads nothing, and how many a second.
FLOOD = 400
FLOOD_RATE = 100


def streams(bench: Bench) -> None:
    size, url = bench.size, bench.redis_server.url()
    task_ids = bench.running_tasks(size.tasks)
    # Two servers at the same time, so that other load on the machine affects both alike.
    besides = WebServer("besides", bench.folder, url, **bench.settings)
    try:
        rounds = [_delays(bench, task_ids, besides) for _ in range(size.rounds)]
    finally:
        besides.stop()
    p50s, p99s, p99s_besides = (
        [delay * 1e3 for delay in delays] for delays in zip(*rounds, strict=True)
    )
    what = f"{size.watchers:,} watchers of {size.tasks} tasks, each reporting once a second"
    table.add(f"{what}: median delay", p50s, "ms")
    table.add(f"{what}: 99th percentile", p99s, "ms", goal=goals.DELAY_OF_A_CHANGE)
    table.add(
        f"the same besides {size.stalled} clients that read nothing: 99th percentile",
        p99s_besides,
        "ms",
        table.ratio(p99s_besides, p99s),
        "of without",
        goals.STALLED_READERS,
    )

    # A new process, since the others may not have noticed yet that their watchers are gone.
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


def _delays(
    bench: Bench, task_ids: Sequence[str], besides: WebServer
) -> tuple[float, float, float]:
    """Return the delays in seconds: median, 99th percentile, and that besides clients that read nothing."""
    size, unread = bench.size, bench.running_task()
    with (
        bench.watching(task_ids, size.watchers) as seen,
        bench.watching(
            task_ids, size.watchers, besides, stalled=[unread] * size.stalled
        ) as seen_besides,
    ):
        for _ in range(FLOOD):
            bench.report(unread, "Sorting many pages", pages="x" * 15_000)
            time.sleep(1 / FLOOD_RATE)
        # Only now the servers notice that the last round's watchers are gone.
        for task_id in task_ids:
            bench.report(task_id, MESSAGE)
        time.sleep(1)
        bench.report_evenly([*task_ids, unread], size.stream_seconds)
        delays, delays_besides = seen(), seen_besides()
    return delays["p50"], delays["p99"], delays_besides["p99"]
