"""Tasks whose messages are gone are found, at a cost that does not grow with what is stored."""

from typing import Any

import pytest
from redis import Redis

from flask_longtask.store import Outcome, Store
from flask_longtask.store.messages import SENDING_GRACE
from tests.store.actors import (
    LISTS,
    Worker,
    cancel,
    lose,
    lose_worker,
    message,
    on_redis_only,
    record_of,
    send,
)


@pytest.fixture
def other(store: Store) -> Worker:
    return Worker(store, "other")


def send_all(store: Store, *tasks: str) -> None:
    for task in tasks:
        send(store, task)


def test_nothing_is_missing_where_every_task_has_its_message(store: Store, worker: Worker) -> None:
    send_all(store, "runs", "is retried", "is held", "waits", "is cancelled")
    worker.run()
    retried = worker.run()
    retried.send_again({"eta": store.clock.now() + 60})
    worker.take()
    cancel(store, "is cancelled")

    assert store.messages.missing() == (False, [])
    retried.rest()
    worker.acknowledge(retried)
    assert store.messages.missing() == (False, [])


def test_nothing_is_missing_in_an_empty_redis(store: Store) -> None:
    assert store.messages.missing() == (False, [])


def test_a_purged_queue_has_lost_all_that_waited_in_it(
    store: Store, redis: Redis, worker: Worker
) -> None:
    send_all(store, "runs", "a", "b")
    send(store, "scheduled", {"eta": store.clock.now() + 3600})
    attempt = worker.run()
    redis.delete(*LISTS)

    assert store.messages.missing() == (True, ["a", "b", "scheduled"])

    # Then each is ended once, and the running task goes on.
    for task in ("a", "b", "scheduled"):
        assert lose(store, task).outcome is Outcome.STORED
    assert store.messages.missing() == (False, [])
    assert worker.finish(attempt).outcome is Outcome.STORED


def test_of_a_queue_that_lost_some_messages_only_their_tasks_are_missing(
    store: Store, redis: Redis
) -> None:
    send_all(store, "a", "b", "c")
    (_, second, _) = redis.lrange("q", 0, -1)  # type: ignore[misc]
    redis.lrem("q", 1, second)

    assert store.messages.missing() == (True, ["b"])


def test_a_redis_that_lost_everything_misses_nothing(
    store: Store, redis: Redis, worker: Worker
) -> None:
    send_all(store, "runs", "waits")
    attempt = worker.run()
    redis.flushdb()

    assert store.messages.missing() == (False, [])

    # The running task's next report restores its record, and it runs without a message.
    attempt.report()
    worker.beat()
    assert store.messages.missing()[1] == []
    assert worker.finish(attempt).outcome is Outcome.STORED
    assert store.messages.missing() == (False, [])


def test_a_running_task_without_a_message_is_lost_with_its_worker(
    store: Store, redis: Redis, worker: Worker, other: Worker
) -> None:
    send_all(store, "a")
    attempt = worker.run()
    redis.delete(store.keys.held("worker"))

    # The task goes on and is noted once, so that the next audit searches no messages.
    assert store.messages.missing() == (True, [])
    assert store.messages.missing() == (False, [])
    assert attempt.report().outcome is Outcome.STORED

    lose_worker(store, "worker")
    assert store.messages.missing() == (True, ["a"])
    assert lose(store, "a").outcome is Outcome.STORED
    assert attempt.report().outcome is Outcome.ENDED


def test_a_running_task_without_a_message_is_noted_once_however_often_it_reports(
    store: Store, redis: Redis, worker: Worker
) -> None:
    # Given a task that runs on without its message
    send_all(store, "a")
    attempt = worker.run()
    redis.delete(store.keys.held("worker"))
    assert store.messages.missing() == (True, [])

    # Then its reports do not make each audit search all messages.
    for _ in range(3):
        attempt.report()
        assert store.messages.missing() == (False, [])


def test_a_message_in_the_hands_of_a_dead_worker_is_not_missing_before_it_comes_back(
    store: Store, redis: Redis, worker: Worker, other: Worker
) -> None:
    send_all(store, "a", "b")
    worker.run()
    worker.take()
    assert store.messages.missing() == (False, [])

    lose_worker(store, "worker")
    assert store.messages.missing() == (False, [])
    assert {other.run().task_id, other.run().task_id} == {"a", "b"}


def test_what_a_worker_holds_and_has_not_started_is_not_missing_where_others_are(
    store: Store, redis: Redis, worker: Worker
) -> None:
    send_all(store, "is held", "is lost")
    worker.take()
    redis.delete("q")

    assert store.messages.missing() == (True, ["is lost"])


def test_a_scheduled_task_whose_message_came_back_from_a_dead_worker_is_not_missing(
    store: Store, redis: Redis, worker: Worker
) -> None:
    # Given a worker that, like Celery's, holds a message until its task is due, and an empty queue
    send(store, "scheduled", {"eta": store.clock.now() + 3600})
    worker.take()
    assert store.messages.missing() == (False, [])

    lose_worker(store, "worker")

    assert store.messages.missing() == (False, [])
    redis.delete("q")
    assert store.messages.missing() == (True, ["scheduled"])


def test_a_task_that_lost_its_worker_and_then_its_message_is_missing(
    store: Store, redis: Redis, worker: Worker
) -> None:
    # Given a queue that was empty while the task ran
    send_all(store, "a")
    worker.run()
    assert store.messages.missing() == (False, [])

    lose_worker(store, "worker")
    redis.delete("q")

    assert store.messages.missing() == (True, ["a"])


def test_a_queue_that_was_used_once_is_forgotten(
    store: Store, redis: Redis, worker: Worker
) -> None:
    send_all(store, "a")
    worker.finish(worker.run())
    store.messages.missing()

    assert redis.hlen(store.keys.queues) == 0


def test_messages_of_ended_tasks_do_not_hide_that_others_are_gone_for_longer_than_they_are_there(
    store: Store, redis: Redis, worker: Worker
) -> None:
    # Given a cancelled task, whose message is still in the queue, and one that has lost its own
    send_all(store, "cancelled", "lost")
    cancel(store, "cancelled")
    (lost, _) = redis.lrange("q", 0, -1)  # type: ignore[misc]
    redis.lrem("q", 1, lost)

    attempt = worker.take()
    assert attempt is not None
    attempt.start()
    worker.acknowledge(attempt)

    assert store.messages.missing() == (True, ["lost"])


def test_a_task_whose_record_is_gone_as_well_is_forgotten(store: Store, redis: Redis) -> None:
    send_all(store, "a", "b")
    redis.delete("q", store.keys.record("a"))

    assert store.messages.missing() == (True, ["b"])
    assert list(store.tasks.ahead([("q", "a"), ("q", "b")])) == [None, 0]


def test_messages_that_are_none_of_ours_are_passed_over(store: Store, redis: Redis) -> None:
    send_all(store, "a", "b", "c")
    redis.lpop("q")
    redis.lpop("q")
    redis.lpush("q", "no JSON")
    redis.hset(store.keys.held("worker"), "tag", "no JSON")
    redis.hset(store.keys.queues, "strange", "no JSON")

    # Messages of others count like those of tasks: as long as they are enough, no task is found missing.
    assert store.messages.missing()[1] == ["b", "c"]


# -- another broker --------------------------------------------------------------------------------


def test_a_task_that_was_not_sent_in_time_is_missing(store: Store, redis: Redis) -> None:
    send(store, "a", elsewhere=True)
    assert store.messages.missing(ready=0) == (False, [])

    redis.zincrby(store.keys.sending, -SENDING_GRACE - 1, "a")
    assert store.messages.missing(ready=0) == (False, ["a"])
    assert lose(store, "a").outcome is Outcome.STORED
    assert store.messages.missing(ready=0) == (False, [])


def test_another_broker_with_too_few_messages_is_believed_after_some_looks(store: Store) -> None:
    for task in ("a", "b", "c"):
        send(store, task, nonce=task, elsewhere=True)
        store.tasks.confirm(task, task, sent=True)

    assert store.messages.missing(ready=3, sure=True) == (False, [])
    assert store.messages.missing(ready=1) == (True, [])
    # Only the tasks that have waited longest are missing.
    assert store.messages.missing(ready=1, sure=True) == (True, ["a", "b"])


def test_what_a_worker_has_received_from_another_broker_is_not_missing(
    store: Store, worker: Worker
) -> None:
    for task in ("a", "b"):
        send(store, task, nonce=task, elsewhere=True)
        store.tasks.confirm(task, task, sent=True)
    worker.beat("a")

    assert store.messages.missing(ready=1, sure=True) == (False, [])
    assert store.messages.missing(ready=0, sure=True) == (True, ["b"])


def test_what_was_received_and_cancelled_does_not_hide_what_is_missing(
    store: Store, worker: Worker
) -> None:
    # Given a task that is cancelled after a worker has received it; the worker notices when it starts the task
    for task in ("a", "b"):
        send(store, task, nonce=task, elsewhere=True)
        store.tasks.confirm(task, task, sent=True)
    worker.beat("a")
    cancel(store, "a")
    attempt = Worker(store, "worker").attempt("a")
    assert attempt.start().outcome is Outcome.CANCELLED

    # Then the task no longer counts as a message.
    assert store.messages.missing(ready=0, sure=True) == (True, ["b"])


def test_a_started_task_is_no_message_of_another_broker(store: Store, worker: Worker) -> None:
    for task in ("a", "b"):
        send(store, task, nonce=task, elsewhere=True)
        store.tasks.confirm(task, task, sent=True)
    worker.beat("a")
    Worker(store, "worker").attempt("a").start()

    assert store.messages.missing(ready=0, sure=True) == (True, ["b"])


def test_a_retry_that_another_broker_has_is_not_missing_however_long_it_waits(
    store: Store, redis: Redis, worker: Worker
) -> None:
    # Given a task that is sent again while it still runs, and whose message is received at once
    send(store, "a", nonce="first", elsewhere=True)
    store.tasks.confirm("a", "first", sent=True)
    attempt = worker.attempt("a")
    attempt.start()
    retry = {"retries": 1, "eta": store.clock.now() + 180}
    send(store, "a", retry, nonce="retry", elsewhere=True, sender="a")
    worker.beat("a")
    store.tasks.confirm("a", "retry", sent=True)
    attempt.rest()

    # Then it waits for its eta
    assert redis.zscore(store.keys.sending, "a") is None
    assert redis.zscore(store.keys.scheduled, "a") is not None
    assert store.messages.missing(ready=0, sure=True) == (False, [])


# -- cost ------------------------------------------------------------------------------------------


def calls(redis: Redis, what: Any) -> dict[str, int]:
    """How often each command was called in the meantime, including calls in scripts."""
    redis.config_resetstat()
    what()
    stats: Any = redis.info("commandstats")
    return {
        name.removeprefix("cmdstat_"): stat["calls"]
        for name, stat in stats.items()
        if not name.startswith("cmdstat_config")
    }


@on_redis_only
def test_the_audit_of_5000_tasks_costs_what_that_of_10_does(
    store: Store, redis: Redis, worker: Worker
) -> None:
    send_all(store, *(f"task {number}" for number in range(10)))
    worker.run()
    store.messages.missing()  # loads the script
    few = calls(redis, store.messages.missing)

    # Most of them without a round trip each
    pipeline = redis.pipeline(transaction=False)
    for number in range(5000):
        pipeline.lpush("q", message(f"more {number}", f"more {number}"))
        pipeline.zadd(store.keys.waiting("q"), {f"more {number}": number})
    pipeline.execute()
    many = calls(redis, store.messages.missing)

    assert many == few
    assert sum(many.values()) < 20
    # No command whose cost grows with the length of what it reads.
    assert not {"lrange", "hvals", "smembers"} & set(many)


@on_redis_only
def test_a_heartbeat_and_an_accepted_task_cost_the_same_however_many_wait(
    store: Store, redis: Redis, worker: Worker
) -> None:
    def step() -> None:
        send(store, f"task {redis.llen('q')}", most_waiting=100_000)
        worker.beat()

    for number in range(100):  # as many as the queue's bell has room for
        send(store, f"first {number}")
    step()
    few = calls(redis, step)
    for number in range(500):
        send(store, f"more {number}")

    assert calls(redis, step) == few


@on_redis_only
def test_more_lost_tasks_than_a_script_can_return_are_found_one_look_after_another(
    store: Store, redis: Redis
) -> None:
    send_all(store, *(f"task {number:04}" for number in range(1500)))
    redis.delete("q")

    found = store.messages.missing()[1]
    assert len(found) == 1000
    for task in found:
        lose(store, task)
    rest = store.messages.missing()[1]

    assert {*found, *rest} == {f"task {number:04}" for number in range(1500)}
    assert "ended" in record_of(store, "task 0000")
