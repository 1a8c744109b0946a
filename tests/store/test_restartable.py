"""What a task was started with, as the store keeps it for as long as it may be started again."""

import pytest
from redis import Redis

from flask_longtask.store import Store
from tests.store.actors import (
    EXPIRES,
    Attempt,
    Worker,
    bounded_without_time,
    cancel,
    record_of,
    send,
)

TEXT = '{"task": "work"}'


@pytest.fixture
def running(store: Store, worker: Worker) -> Attempt:
    send(store, "a", arguments=TEXT)
    return worker.run()


def kept(store: Store, task_id: str = "a") -> tuple[bytes | None, object]:
    return store.tasks.arguments(task_id), store.client.ttl(store.keys.arguments(task_id))


def test_it_is_kept_while_the_task_is_open(store: Store, running: Attempt) -> None:
    assert kept(store) == (TEXT.encode(), -1)
    assert record_of(store, "a")["restartable"] == 1


def test_it_expires_with_the_record_of_a_task_that_has_failed(
    store: Store, redis: Redis, running: Attempt
) -> None:
    running.fail()

    assert kept(store) == (TEXT.encode(), EXPIRES)
    Worker(store, "worker").acknowledge(running)
    assert bounded_without_time(redis, store) == set()


def test_it_expires_with_the_record_of_a_task_that_was_cancelled(store: Store) -> None:
    send(store, "a", arguments=TEXT)
    cancel(store, "a")

    assert kept(store) == (TEXT.encode(), EXPIRES)


def test_it_is_gone_when_the_task_has_succeeded(store: Store, running: Attempt) -> None:
    running.end()

    assert kept(store) == (None, -2)
    assert "restartable" not in record_of(store, "a")


def test_what_is_sent_again_keeps_it_and_a_new_task_with_the_same_id_does_not(
    store: Store, running: Attempt
) -> None:
    send(store, "a", {"retries": 1}, sender="a", arguments="")
    assert kept(store) == (TEXT.encode(), -1)
    cancel(store, "a")

    send(store, "a")

    assert kept(store) == (None, -2)
    assert "restartable" not in record_of(store, "a")


def test_a_task_without_it_has_no_key_of_it(store: Store) -> None:
    send(store, "a")

    assert kept(store) == (None, -2)
    assert "restartable" not in record_of(store, "a")


def test_it_goes_with_a_record_that_was_lost(store: Store, redis: Redis, running: Attempt) -> None:
    redis.delete(store.keys.record("a"))

    running.report(4)

    assert kept(store) == (None, -2)
