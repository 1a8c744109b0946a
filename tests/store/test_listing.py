"""What an operator sees: the open tasks, the workers, and what Redis reports about itself."""

import pytest
from redis import Redis

from flask_longtask.store import Store
from tests.store.actors import Worker, cancel, on_redis_only, send, silence


def test_open_tasks_are_those_that_wait_are_scheduled_being_sent_or_run(
    store: Store, worker: Worker
) -> None:
    send(store, "runs")
    worker.run()
    send(store, "waits in another queue", queue="other")
    send(store, "scheduled", {"eta": store.clock.now() + 60})
    send(store, "being sent", elsewhere=True)
    send(store, "waits")

    newest_first = ["waits", "being sent", "scheduled", "waits in another queue", "runs"]
    assert store.tasks.list_open(10) == (newest_first, 5)
    assert store.tasks.list_open(2) == (newest_first[:2], 5)
    assert store.tasks.queues() == ["other", "q"]


def test_a_task_that_has_ended_is_not_open_although_its_attempt_runs_on(
    store: Store, worker: Worker
) -> None:
    send(store, "ended")
    worker.finish(worker.run())
    send(store, "cancelled")
    worker.run()
    cancel(store, "cancelled")

    assert store.tasks.list_open(10) == ([], 0)


def test_a_task_without_a_record_is_not_listed(store: Store, redis: Redis) -> None:
    send(store, "waits")
    redis.delete(store.keys.record("waits"))

    assert store.tasks.list_open(10) == ([], 0)


def test_workers_are_heard_of_by_name_with_what_they_run(store: Store, worker: Worker) -> None:
    store.workers.beat("b", "second", ["q", "a"], lapse=60, version="1.2")
    store.workers.beat("a", "first", [], lapse=60)
    send(store, "runs")
    attempt = Worker(store, "b").run()

    first, second = store.workers.heard()

    assert (first.name, first.queues, first.version, first.running) == ("first", [], None, [])
    assert (second.worker, second.name, second.queues) == ("b", "second", ["a", "q"])
    assert (second.version, second.running) == ("1.2", [attempt.task_id])
    assert second.is_alive
    # This process and Redis have the same clock.
    assert second.clock_ahead == pytest.approx(0, abs=60)


def test_a_worker_that_was_not_heard_of_for_a_while_is_not_alive(store: Store) -> None:
    Worker(store, "silent").beat()
    silence(store, "silent")

    (heard,) = store.workers.heard()

    assert not heard.is_alive
    assert heard.silent_for == pytest.approx(3600, abs=60)


def test_what_no_worker_has_said_of_itself_is_left_out(store: Store, redis: Redis) -> None:
    Worker(store, "a").beat()
    for said in (b"no JSON", b"[]", b'{"queues": 1, "clock": "now"}'):
        redis.hset(store.keys.worker_info, "a", said)

        (heard,) = store.workers.heard()

        assert (heard.name, heard.queues, heard.version, heard.clock_ahead) == ("a", [], None, None)


@on_redis_only
def test_redis_tells_of_itself(store: Store, redis: Redis) -> None:
    server = store.server()

    assert server.version == redis.info("server")["redis_version"]
    assert (server.policy, server.max_memory, server.is_append_only) == ("noeviction", 0, False)
    assert not server.is_replica
    redis.config_set("appendonly", "yes")
    assert store.server().is_append_only
    redis.config_set("appendonly", "no")
