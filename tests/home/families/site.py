"""An app that starts every form of Celery's canvas, and a task that starts tasks of its own."""

import os
from typing import Any

from celery import Task, chain, chord, group, shared_task
from celery.exceptions import Ignore
from celery.result import GroupResult
from flask import Flask, request
from redis import Redis
from werkzeug.wrappers import Response

from flask_longtask import LongTask, accepted

app = Flask("families")
app.config["SECRET_KEY"] = "families"
app.config["CELERY"] = {
    "broker_url": os.environ["REDIS_URL"],
    "result_backend": os.environ["REDIS_URL"],
}
longtask = LongTask(app)
longtask.protect(app)
celery = app.extensions["celery"]


def hold(task: Task, name: str) -> None:
    """Wait until a test lets all tasks of this name go on. The reports meanwhile stop a cancelled task."""
    with Redis.from_url(os.environ["REDIS_URL"]) as redis:
        while not redis.exists(f"go on:{name}"):
            task.update_state(meta={"current": 1, "total": 2, "status": "Half"})
            redis.blpop(["never"], timeout=0.05)


@shared_task
def add(x: int, y: int) -> int:
    return x + y


@shared_task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@shared_task(bind=True)
def held(self: Task, name: str) -> str:
    hold(self, name)
    return name


@shared_task
def silent(name: str) -> int:
    """Wait for a name without a report, which would tell the task that it was cancelled."""
    with Redis.from_url(os.environ["REDIS_URL"]) as redis:
        redis.blpop([f"silent:{name}"], timeout=60)
    return 1


@shared_task
def break_down(*_: Any) -> None:
    raise ValueError("The shelf is empty")


@shared_task
def note(*_: Any) -> None:
    with Redis.from_url(os.environ["REDIS_URL"]) as redis:
        redis.rpush("noted", "called")


@shared_task(bind=True)
def with_children(self: Task, name: str) -> str:
    self.delay_child(group(held.si(name) for _ in range(2)))
    self.delay_child(chain(add.s(1, 1), with_grandchild.s(name)))
    return "started four"


@shared_task(bind=True)
def with_grandchild(self: Task, number: int, name: str) -> int:
    self.delay_child(held.si(name))
    return number


@shared_task(bind=True)
def child_at_once(self: Task, _: Any = None) -> int:
    self.delay_child(add.si(1, 1))
    return 1


@shared_task(bind=True)
def replaced(self: Task, name: str) -> None:
    self.replace(chain(held.si(name), add.si(1, 1)))


@shared_task(bind=True)
def stops_its_chain(self: Task) -> str:
    self.request.chain = None
    return "enough"


@shared_task
def ignores(*_: Any) -> None:
    raise Ignore


@shared_task(bind=True)
def joins_a_queue(self: Task) -> None:
    self.delay_child(add.s(1, 1), queue="nobodys")


CANVAS: dict[str, Any] = {
    "group": lambda name: group(add.s(i, i) for i in range(3)),
    "chunks": lambda name: add.chunks([(i, i) for i in range(6)], 2),
    "chain": lambda name: chain(add.s(1, 1), add.s(2), total_of_one.s()),
    "chord": lambda name: chord([add.s(i, i) for i in range(3)], total.s()),
    "group in a chain": lambda name: chain(
        add.s(1, 1), group(add.s(i) for i in range(2)), total.s()
    ),
    "chain that ends in a group": lambda name: chain(
        add.s(1, 1), group(add.s(i) for i in range(3))
    ),
    "group of chains": lambda name: group(chain(add.s(i, i), add.s(1)) for i in range(2)),
    "chord of chains": lambda name: chord(
        [chain(add.s(i, i), add.s(1)) for i in range(2)], total.s()
    ),
    "chord with a chain as its body": lambda name: chord(
        [add.s(i, i) for i in range(2)], chain(total.s(), add.s(1))
    ),
    "chain of chords": lambda name: chain(
        chord([add.s(1, 1), add.s(2, 2)], total.s()), group(add.s(1), add.s(2)), total.s()
    ),
    "with an error callback": lambda name: group(
        add.s(1, 1).on_error(note.s()), add.s(2, 2).on_error(note.s())
    ),
    "held group": lambda name: group(held.si(name) for _ in range(3)),
    "held chain": lambda name: chain(add.si(1, 1), held.si(name), add.si(2, 2)),
    "failing group": lambda name: group([held.si(name), break_down.si(), held.si(name)]),
    "failing chain": lambda name: chain(add.s(1, 1), break_down.s(), total.s()),
    "failing chord": lambda name: chord([add.s(1, 1), break_down.si()], total.s()),
    "silent chain": lambda name: chain(silent.si(name), add.si(1, 1), add.si(2, 2)),
    "silent chord": lambda name: chord([silent.si(name), add.si(1, 1)], total.s()),
    "stopped chain": lambda name: chain(stops_its_chain.si(), add.si(1, 1), add.si(2, 2)),
    "nightly chain": lambda name: chain(held.si(name), add.si(1, 1).set(task_id="nightly")),
    "replaced": lambda name: group(replaced.s(name), add.s(1, 1)),
    "long chain": lambda name: chain(held.si(name), *(add.si(1, 1) for _ in range(1100))),
    "failing chain that ends in a group": lambda name: chain(
        break_down.s(), group(add.s(i) for i in range(3))
    ),
    "failing chain with a chord": lambda name: chain(
        break_down.s(), group(add.s(i) for i in range(2)), total.s(), add.s(1)
    ),
    "failing chord with a chain as its body": lambda name: chord(
        [add.s(1, 1), break_down.si()], chain(total.s(), add.s(1), add.s(1))
    ),
    "failing nested chord": lambda name: chord(
        [chord([add.s(1, 1), break_down.si()], total.s()), add.s(2, 2)], total.s()
    ),
    "failing chord of a chain that ends in a group": lambda name: chord(
        [chain(break_down.si(), group(add.s(i) for i in range(2))), add.s(2, 2)], total.s()
    ),
    "failing with an error callback": lambda name: chain(
        add.s(1, 1), break_down.s().on_error(note.s())
    ),
    "children": with_children.s,
    "unserved group": lambda name: group(add.s(i, i).set(queue="nobodys") for i in range(60)),
    "hasty children": lambda name: group(child_at_once.si() for _ in range(3)),
    "hasty children in a chain": lambda name: chain(child_at_once.si(), child_at_once.s()),
    "hasty children in a chord": lambda name: chord([child_at_once.si()] * 2, child_at_once.s()),
    "ignoring chain": lambda name: chain(ignores.si(), add.si(1, 1)),
    "ignoring chord": lambda name: chord([ignores.si(), add.si(1, 1)], total.s()),
    "scheduled group": lambda name: group(add.si(1, 1).set(countdown=3600) for _ in range(2)),
    "held and failing group": lambda name: group(
        break_down.si(), held.si(name), held.si(name), add.si(1, 1).set(queue="nobodys")
    ),
    "child that waits": lambda name: joins_a_queue.s(),
}


@shared_task
def total_of_one(number: int) -> int:
    return number


@app.post("/start/<kind>")
def start(kind: str) -> Response:
    """Start a canvas. With `ended`, so slowly that its first parts have ended before it is accepted."""
    result = CANVAS[kind](request.args.get("name")).apply_async()
    for part in request.args.getlist("ended", type=int):
        results = result.results if isinstance(result, GroupResult) else [result, result.parent]
        results[part].get()
    return accepted(result)
