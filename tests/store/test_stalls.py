"""Attempts that stall: Redis says whether one has, and the task waits in front of its queue."""

import json

import pytest
from redis import Redis

from flask_longtask.store import Event, Outcome, Stall, Store
from tests.store.actors import (
    Attempt,
    Worker,
    cancel,
    lose_worker,
    message,
    record_of,
    running_by,
    send,
    stall,
)

#: Longer than a test takes.
LONG = 600.0


@pytest.fixture
def running(store: Store, worker: Worker) -> Attempt:
    send(store, "a")
    send(store, "next")
    attempt = worker.run()
    attempt.report(3)
    return attempt


def test_the_task_waits_in_front_and_the_attempt_is_over(
    store: Store, redis: Redis, running: Attempt
) -> None:
    assert stall(store, "a", "worker").outcome is Outcome.STORED
    store.messages.hand_back("worker")

    record = record_of(store, "a")
    assert (record["lost"], record["stalled"], record["outcome"]) == (1, 1, "stalled")
    assert "running" not in record
    assert running_by(store, "worker") == set()
    assert store.tasks.ahead([("q", "a"), ("q", "next")]) == [0, 1]
    assert not redis.exists(store.keys.document("a"))
    assert running.report(4).outcome is Outcome.SUPERSEDED
    assert running.end().outcome is Outcome.SUPERSEDED
    assert Worker(store, "other").run().task_id == "a"
    assert record_of(store, "a")["attempt"] == 2


def test_it_may_be_recorded_again_when_the_answer_was_lost(store: Store, running: Attempt) -> None:
    assert stall(store, "a", "worker").outcome is Outcome.STORED

    assert stall(store, "a", "worker").outcome is Outcome.STORED
    assert record_of(store, "a")["stalled"] == 1

    store.messages.hand_back("worker")
    Worker(store, "other").run()
    assert stall(store, "a", "worker").outcome is Outcome.SUPERSEDED


def test_it_counts_like_a_lost_worker(store: Store, running: Attempt) -> None:
    stall(store, "a", "worker")
    store.messages.hand_back("worker")
    second = Worker(store, "second").run()
    assert second.report().outcome is Outcome.STORED
    lose_worker(store, "second")
    third = Worker(store, "third").run()
    assert third.report().outcome is Outcome.STORED
    stall(store, "a", "third")
    store.messages.hand_back("third")

    attempt = Worker(store, "fourth").take()
    assert attempt is not None
    change = attempt.start()

    assert (change.outcome, change.lost, change.stalled) == (Outcome.EXHAUSTED, 3, 2)


@pytest.mark.parametrize(
    "say",
    [
        lambda attempt: attempt.report(4),
        lambda attempt: attempt.checkpoint(),
        lambda attempt: attempt.log("a line"),
    ],
)
def test_an_attempt_that_has_said_something_in_time_has_not_stalled(
    store: Store, running: Attempt, say: object
) -> None:
    record = record_of(store, "a")
    age(store, "a", LONG)
    assert stall(store, "a", "worker", LONG + 60).outcome is Outcome.SUPERSEDED
    say(running)  # type: ignore[operator]

    assert stall(store, "a", "worker", LONG - 60).outcome is Outcome.SUPERSEDED
    assert record_of(store, "a")["attempt"] == record["attempt"]
    age(store, "a", LONG)
    assert stall(store, "a", "worker", LONG - 60).outcome is Outcome.STORED


def age(store: Store, task_id: str, seconds: float) -> None:
    """Make all that the task has said so long ago."""
    record = record_of(store, task_id)
    for name in ("started", "reported"):
        record[name] -= seconds
    store.client.set(store.keys.record(task_id), json.dumps(record))


def test_silence_counts_from_when_its_worker_has_been_able_to_hear_it(
    store: Store, running: Attempt
) -> None:
    age(store, "a", LONG)
    since = store.clock.now()

    change = store.tasks.record_event(
        "a", Event.STALL, worker="worker", stall=Stall(1, LONG - 60, since)
    )

    assert change.outcome is Outcome.SUPERSEDED


def test_only_the_present_attempt_of_this_worker_can_stall(
    store: Store, redis: Redis, running: Attempt
) -> None:
    assert stall(store, "a", "another").outcome is Outcome.SUPERSEDED
    redis.lpush("q", message("a", "again"))
    Worker(store, "worker").run()  # of "next"
    Worker(store, "worker").run()
    assert stall(store, "a", "worker", attempt=1).outcome is Outcome.SUPERSEDED
    assert stall(store, "a", "worker", attempt=2).outcome is Outcome.STORED


def test_an_attempt_that_has_sent_its_task_again_or_was_cancelled_does_not(
    store: Store, running: Attempt
) -> None:
    running.send_again()
    assert stall(store, "a", "worker").outcome is Outcome.SUPERSEDED
    cancel(store, "a")
    assert stall(store, "a", "worker").outcome is Outcome.CANCELLED


def test_the_next_attempt_may_run_in_another_pool(store: Store, running: Attempt) -> None:
    limits = {"unstoppable": 1, "time_limit": 3, "stall_seconds": 5}
    running.store.tasks.record_event("a", Event.REPORT, "{}", run=running.run, **limits)
    assert record_of(store, "a").items() >= limits.items()
    Worker(store, "worker").stop()

    Worker(store, "other").run()

    assert record_of(store, "a").keys().isdisjoint(limits)
