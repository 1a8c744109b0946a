"""Polls: the status of one task, and that of fifty tasks in one request."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from benchmarks import goals, table
from benchmarks.bench import BARS, KEYS, Bench

#: How many pages are asked for in turn, so that requests at the same moment read different tasks.
PAGES = 10

#: How often half of the bars of each page change in a second: more often than the page is asked for.
CHANGES = 150

#: How many different states each of these bars takes in turn.
STATES = 20


def polls(bench: Bench) -> None:
    task_ids = bench.running_tasks(BARS)
    pages = [bench.running_tasks(BARS) for _ in range(PAGES)]
    changes = _changes(bench, [page[: BARS // 2] for page in pages])

    def of_the_others(path: str) -> Callable[[], float]:
        return bench.rate(bench.others.url, *(f"/{path}/{task_id}" for task_id in task_ids))

    def of_a_page() -> float:
        paths = ["/status?" + "&".join(f"id={task_id}" for task_id in page) for page in pages]
        with _changing(bench, changes):
            return bench.rate(bench.ours.url, *paths, times=BARS)()

    samples = bench.in_turn(
        {
            "a route that returns a constant": bench.rate(bench.others.url, "/constant"),
            "one read of the stored record": of_the_others("one-read"),
            "Flask's example": of_the_others("flask-example/result"),
            "celery-progress": of_the_others("celery-progress"),
            "the tutorial": of_the_others("tutorial/status"),
            "ours": bench.rate(bench.ours.url, *(f"/status/{task_id}" for task_id in task_ids)),
            "page": of_a_page,
        }
    )
    page = samples.pop("page")
    limit = samples["a route that returns a constant"]
    for name, values in samples.items():
        share = table.ratio(values, limit)
        goal = goals.POLL_TO_CONSTANT if name == "ours" else None
        table.add(f"one poll: {name}", values, "polls/s", share, "of the limit", goal)
    for name, goal in (
        ("one read of the stored record", goals.POLL_TO_ONE_READ),
        ("celery-progress", None),
    ):
        times = table.ratio(samples["ours"], samples[name])
        table.add(f"one poll: ours to {name}", ratio=times, goal=goal)
    others = [values for values in samples.values() if values not in (limit, samples["ours"])]
    best = max(others, key=statistics.median)
    table.add(
        f"a page of {BARS} bars, {BARS // 2} of which change {CHANGES} times a second: ours",
        page,
        "statuses/s",
        table.ratio(page, best),
        "times the best of the others",
        goals.PAGE,
    )


def _changes(bench: Bench, pages: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Report many states of the tasks of each page. Returns what Redis holds of each page's tasks in each state."""
    changes = []
    for number in range(STATES):
        for task_ids in pages:
            for task_id in task_ids:
                bench.report(task_id, f"Sorting the loose page {number}")
            keys = [key + task_id for key in KEYS for task_id in task_ids]
            values = [value.decode() for value in bench.redis.mget(keys)]
            changes.append(dict(zip(keys, values, strict=True)))
    return changes


@contextmanager
def _changing(bench: Bench, changes: Sequence[dict[str, str]]) -> Iterator[None]:
    """Write these changes again and again, each at once: CHANGES times a second for every page."""
    command = [sys.executable, "-m", "benchmarks.programs.changing"]
    command += [bench.redis_server.url(), str(CHANGES * PAGES)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        try:
            json.dump(changes, writer.stdin)
            writer.stdin.close()
            if writer.stdout.readline() != "changing\n":
                raise RuntimeError("the tasks could not be changed")
            yield
        finally:
            writer.terminate()
