"""The memory of a worker whose tasks import little."""

from benchmarks import goals, table
from benchmarks.bench import Bench
from benchmarks.processes import children_of, proportional_memory
from tests.processes import Worker

PROCESSES = 6


def worker(bench: Bench) -> None:
    options = ("-c", str(PROCESSES))
    url = bench.redis_server.url()
    process = Worker(
        "worker", bench.folder, url, *options, app="benchmarks.programs.small_app.celery"
    )
    try:
        memory = sum(map(proportional_memory, [process.pid, *children_of(process)]))
    finally:
        process.stop()
    table.add(
        f"memory of a worker of {PROCESSES} processes", [memory / 1e6], "MB", goal=goals.WORKER
    )
