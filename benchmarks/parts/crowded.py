"""Polls, starts and reports with many finished tasks in Redis, compared with the same without them."""

from collections.abc import Callable, Sequence

from redis import Redis

from benchmarks import goals, table
from benchmarks.bench import BARS, KEYS, Bench, inverse
from tests.processes import RedisServer, WebServer


def crowded(bench: Bench) -> None:
    task_ids = bench.running_tasks(BARS)
    redis = RedisServer("redis-crowded", bench.folder)
    settings = bench.at(redis)
    web = WebServer("crowded", bench.folder, redis.url(), **settings)
    stored = f"{bench.size.stored:,} finished tasks"
    try:
        with Redis.from_url(redis.url()) as client:
            for key in [key + task_id for key in KEYS for task_id in task_ids]:
                client.set(key, bench.redis.get(key))
            client.zadd("longtask:workers", dict(bench.redis.zscan_iter("longtask:workers")))
            info = bench.redis.hgetall("longtask:worker-info")
            client.hset("longtask:worker-info", mapping=info)
            size = bench.finished_tasks(client)
        table.add(f"Redis for each of {stored}", [size], "bytes", goal=goals.RECORD)
        without = _usual(bench, task_ids, bench.ours.url, bench.settings)
        crowd = _usual(bench, task_ids, web.url, settings)
        samples = bench.in_turn(
            {
                (name, where): measure[name]
                for name in without
                for where, measure in (("without", without), ("with", crowd))
            }
        )
    finally:
        web.stop()
        redis.stop()
    for name in without:
        table.add(
            f"{name}, with {stored} in Redis",
            samples[name, "with"],
            "/s",
            table.ratio(samples[name, "with"], samples[name, "without"]),
            "of without",
            goals.CROWDED,
        )


def _usual(
    bench: Bench, task_ids: Sequence[str], url: str, settings: dict[str, str]
) -> dict[str, Callable[[], float]]:
    """Return the measurements of the most frequent operations."""
    size = bench.size
    page = "/status?" + "&".join(f"id={task_id}" for task_id in task_ids)
    return {
        "one poll": bench.rate(url, *(f"/status/{task_id}" for task_id in task_ids)),
        f"a page of {BARS} bars": bench.rate(url, page, times=BARS),
        "one start by HTTP": bench.rate(url, "/longtask", body="steps=1&delay=0"),
        "delay in a loop": inverse(bench.turns("start-ours", size.starts, settings)),
        "update_state in a loop": inverse(bench.turns("update-ours", size.updates, settings)),
    }
