"""Starts of tasks: by HTTP, and in a loop."""

from benchmarks import goals, table
from benchmarks.bench import Bench


def starts(bench: Bench) -> None:
    ours, others = bench.ours.url, bench.others.url
    steps = "steps=1&delay=0"
    by_http = {
        "the tutorial": bench.rate(others, "/tutorial/longtask", body="a=1"),
        "Flask's example": bench.rate(others, "/flask-example/add", body="a=1&b=2"),
        "RQ": bench.rate(others, "/rq/start", body="a=1"),
        "Dramatiq": bench.rate(others, "/dramatiq/start", body="a=1"),
        "ours": bench.rate(ours, "/longtask", body=steps),
        "ours, each with a key": bench.rate(ours, "/longtask", body=steps, keyed=True),
    }
    in_a_loop = {
        "bare Celery's delay": "start-celery",
        "RQ's enqueue": "start-rq",
        "Dramatiq's send": "start-dramatiq",
        "our delay": "start-ours",
    }
    count = bench.size.starts
    loops = {what: bench.turns(name, count) for what, name in in_a_loop.items()}
    samples = bench.in_turn({**by_http, **loops})
    for name in by_http:
        times = table.ratio(samples[name], samples["Flask's example"])
        goal = goals.START if name == "ours, each with a key" else None
        table.add(f"one start by HTTP: {name}", samples[name], "starts/s", times, goal=goal)
    for name in in_a_loop:
        times = table.ratio(samples["bare Celery's delay"], samples[name])
        goal = goals.DELAY if name == "our delay" else None
        rates = [1 / seconds for seconds in samples[name]]
        table.add(f"one start in a loop: {name}", rates, "starts/s", times, goal=goal)
    bench.redis.delete("celery", "longtask:waiting:celery")
    bench.others_redis.flushdb()
