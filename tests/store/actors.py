"""A queue, its workers and their attempts, which do to the store what Celery does, but without Celery."""

import json
import time
from itertools import count
from typing import Any

import pytest
from redis import Redis

from flask_longtask.status.history import describe_history
from flask_longtask.store import (
    Acceptance,
    Change,
    Claim,
    Event,
    LogLine,
    Queue,
    Record,
    Run,
    Stall,
    Store,
)
from flask_longtask.store.messages import TakeRequest

#: The lists of a queue with two priorities, the more urgent first.
LISTS = ("q", "q:9")

#: A task that has lost this many workers is not started again.
MOST_LOST = 3

#: Seconds for which an ended task is kept, so long that none expires during a test.
EXPIRES = 60

#: For a test that uses what fakeredis does not have, or that takes too long with it.
on_redis_only = pytest.mark.parametrize("redis", ["redis"], indirect=True)

_numbers = count(1)


def number_anew() -> None:
    """Restart the numbers in names. Hypothesis needs the same examples each time, and Redis orders by name."""
    global _numbers  # noqa: PLW0603  # all names come from here
    _numbers = count(1)


def a_name(kind: str) -> str:
    """A name that no other call, attempt or message has."""
    return f"{kind}{next(_numbers)}"


def document(task_id: str, status: str, result: Any = None) -> str:
    """Celery's document, as far as it matters here."""
    return json.dumps({"status": status, "result": result, "task_id": task_id})


def error(name: str, text: str) -> dict[str, Any]:
    """How Celery's document holds an exception."""
    return {"exc_type": name, "exc_message": [text], "exc_module": "somewhere"}


def message(task_id: str, tag: str) -> str:
    """Kombu's message, as far as it matters here."""
    properties = {"delivery_tag": tag}
    return json.dumps({"body": "", "headers": {"id": task_id}, "properties": properties})


def send(
    store: Store,
    task_id: str,
    record: Record | None = None,
    *,
    nonce: str | None = None,
    queue: str = "q",
    urgent: bool = True,
    elsewhere: bool = False,
    **options: Any,
) -> Acceptance:
    """Start a task. With `elsewhere`, its message is for another broker and is not sent here."""
    where = Queue(queue) if elsewhere else Queue(queue, LISTS, 0 if urgent else 1)
    return store.tasks.accept(
        task_id,
        {"task": "work", **(record or {})},
        where,
        nonce or a_name("call"),
        message="" if elsewhere else message(task_id, a_name("tag")),
        **options,
    )


def claim_of(key: str, body: str = "body") -> Claim:
    return Claim(key, body)


def record_of(store: Store, task_id: str) -> dict[str, Any]:
    """The record of a task; empty if there is none."""
    (stored,) = store.tasks.read([task_id])
    return dict((stored and stored.record) or {})


def history_of(store: Store, task_id: str) -> dict[str, list[dict[str, Any]]]:
    """The attempts and the lines of a task, as clients get them."""
    stored = store.history.read(task_id)
    assert stored is not None
    return describe_history(*stored)


def running_by(store: Store, worker: str) -> set[str]:
    """The tasks that a worker runs, whether it holds their messages or not."""
    names = [f"{store.keys.prefix}{name}:{worker}" for name in ("running", "unheld")]
    found: Any = store.client.sunion(names)
    return {task_id.decode() for task_id in found}


def cancel(store: Store, task_id: str) -> Change:
    return store.tasks.record_event(
        task_id, Event.CANCEL, document(task_id, "REVOKED", error("TaskRevokedError", "cancelled"))
    )


def lose(store: Store, task_id: str) -> Change:
    text = "Its message is gone: the queue was purged or lost. It never ran."
    return store.tasks.record_event(
        task_id,
        Event.MESSAGE_LOST,
        document(task_id, "FAILURE", error("MessageLost", text)),
        error=text,
    )


class Attempt:
    """An attempt at a task in a worker's process. `tag` is the tag of its message, if the store has the message."""

    def __init__(self, store: Store, task_id: str, worker: str, tag: str | None = None) -> None:
        self.store = store
        self.task_id = task_id
        self.run = Run("work", worker, pid=1, nonce=a_name("run"), queue="q", tag=tag)

    def start(self, most_lost: int = MOST_LOST) -> Change:
        change = self._change(Event.START, "", most_lost=most_lost)
        self.run = self.run._replace(attempt=change.attempt, started=change.now)
        return change

    def report(self, current: int = 1) -> Change:
        sentence = f"Row {current} of 10"
        meta = {"current": current, "total": 10, "status": sentence}
        return self._change(
            Event.REPORT,
            document(self.task_id, "PROGRESS", meta),
            progress=json.dumps([current, 10, sentence]),
        )

    def checkpoint(self, value: Any = 1) -> Change:
        return self._change(Event.CHECKPOINT, json.dumps(value))

    def send_again(self, record: Record | None = None) -> Acceptance:
        """Do what `Task.retry` does first. The attempt still runs."""
        return send(self.store, self.task_id, {"retries": 1, **(record or {})}, sender=self.task_id)

    def rest(self) -> Change:
        text = document(self.task_id, "RETRY", error("OSError", "No answer"))
        return self._change(Event.REST, text, outcome="retry", error="No answer")

    def end(self, result: Any = "done") -> Change:
        text = document(self.task_id, "SUCCESS", result)
        return self._change(Event.END, text, outcome="succeeded", state="SUCCESS")

    def fail(self) -> Change:
        text = document(self.task_id, "FAILURE", error("OSError", "No answer"))
        return self._change(Event.END, text, outcome="raised", error="No answer", state="FAILURE")

    def log(self, *texts: str, before: int = 0) -> bool:
        """Log lines at once. `before` is how many lines this attempt has logged already."""
        lines = [LogLine(time.monotonic(), "info", text) for text in texts]
        return self.store.history.log(self.task_id, self.run, before, lines)

    def _change(self, event: Event, text: str, **options: Any) -> Change:
        return self.store.tasks.record_event(self.task_id, event, text, run=self.run, **options)


class Worker:
    """A worker that holds messages. It counts as alive from its first message or heartbeat on."""

    def __init__(self, store: Store, name: str, lapse: float = 3600.0) -> None:
        self.store = store
        self.name = name
        self.lapse = lapse

    def take(self) -> Attempt | None:
        """Take the next message. Returns the attempt at its task, which has not started yet."""
        taken = self.store.messages.take(
            TakeRequest(self.name, LISTS, ["q"] * len(LISTS), [True] * len(LISTS))
        )
        if taken is None:
            return None
        text = json.loads(taken[1])
        return Attempt(
            self.store, text["headers"]["id"], self.name, text["properties"]["delivery_tag"]
        )

    def attempt(self, task_id: str) -> Attempt:
        """An attempt at a task whose message another broker has."""
        return Attempt(self.store, task_id, self.name)

    def run(self) -> Attempt:
        """Take the next message, which must exist, and start its task."""
        attempt = self.take()
        assert attempt is not None
        attempt.start()
        return attempt

    def acknowledge(self, attempt: Attempt) -> None:
        assert attempt.run.tag is not None
        self.store.messages.acknowledge(self.name, attempt.run.tag)

    def finish(self, attempt: Attempt) -> Change:
        change = attempt.end()
        self.acknowledge(attempt)
        return change

    def beat(self, *reserved: str) -> list[str]:
        """Send a heartbeat, and hand back the messages of the workers that it finds lost."""
        beat = self.store.workers.beat(self.name, self.name, ["q"], self.lapse, reserved)
        for worker in beat.lost:
            self.store.release(worker)
        return beat.lost

    def stop(self) -> None:
        """Stop like a worker: hand back the running tasks at once."""
        running = running_by(self.store, self.name)
        self.store.messages.hand_back(self.name)
        for task_id in running:
            self.store.tasks.record_event(task_id, Event.HAND_BACK, worker=self.name)
        self.store.workers.forget(self.name)


def stall(
    store: Store, task_id: str, worker: str, seconds: float = 0.0, attempt: int | None = None
) -> Change:
    """Do what a worker does whose task may be silent for so many seconds."""
    number = attempt or record_of(store, task_id).get("attempt", 0)
    return store.tasks.record_event(
        task_id, Event.STALL, worker=worker, stall=Stall(number, seconds, since=0.0)
    )


def silence(store: Store, worker: str) -> None:
    """Make a worker's last heartbeat an hour old, and the last heartbeat of any worker recent."""
    store.client.zincrby(store.keys.workers, -3600, worker)
    store.client.set(store.keys.heartbeat, store.clock.now())
    store.client.delete(store.keys.calm)


def lose_worker(store: Store, worker: str) -> None:
    """Let a worker die, and another worker find that out."""
    silence(store, worker)
    assert Worker(store, "another", lapse=60).beat() == [worker]


def bounded_without_time(client: Redis, store: Store) -> set[str]:
    """Our keys without a time to live, except those with a length or of which there are never more than a few."""
    keys = store.keys
    fixed = {
        *(keys.number, keys.queues, keys.workers, keys.worker_info, keys.heartbeat, keys.calm),
        keys.ended,
    }
    ours = {key.decode() for key in client.scan_iter(f"{keys.prefix}*")}
    ours |= {key.decode() for key in client.scan_iter(f"{keys.documents}*")}
    return {key for key in ours - fixed if client.ttl(key) == -1}
