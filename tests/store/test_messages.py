"""A message belongs to the worker that has taken it for as long as that worker lives."""

import json
import threading
from typing import Any

import pytest
from redis import Redis

from flask_longtask.store import Outcome, Store
from flask_longtask.store.messages import TakeRequest
from tests.store.actors import Worker, lose_worker, message, record_of, running_by, send, silence


@pytest.fixture
def other(store: Store) -> Worker:
    return Worker(store, "other", lapse=60)


def waiting_messages(redis: Redis, name: str = "q") -> list[dict[str, Any]]:
    """The messages in a list, in the order in which they are taken."""
    texts: Any = redis.lrange(name, 0, -1)
    return [json.loads(text) for text in reversed(texts)]


def ids(messages: list[dict[str, Any]]) -> list[str]:
    return [message["headers"]["id"] for message in messages]


def test_an_empty_queue_gives_nothing(worker: Worker) -> None:
    assert worker.take() is None


def test_who_takes_a_message_holds_it(store: Store, redis: Redis, worker: Worker) -> None:
    send(store, "a")
    attempt = worker.take()
    assert attempt is not None
    assert attempt.run.tag is not None

    assert store.messages.held("worker") == {attempt.run.tag}
    assert waiting_messages(redis) == []

    worker.acknowledge(attempt)
    assert store.messages.held("worker") == set()


def test_only_the_holder_can_acknowledge_or_hand_back(store: Store, redis: Redis) -> None:
    send(store, "a")
    attempt = Worker(store, "holder").take()
    assert attempt is not None
    assert attempt.run.tag is not None

    store.messages.acknowledge("other", attempt.run.tag)
    store.messages.hand_back("other", [attempt.run.tag])

    assert store.messages.held("holder") == {attempt.run.tag}
    assert waiting_messages(redis) == []


def test_a_message_whose_queue_wants_no_acknowledgement_is_held_by_nobody(
    store: Store, redis: Redis
) -> None:
    redis.lpush("fanout", message("a", "tag"))

    assert store.messages.take(TakeRequest("worker", ["fanout"], ["fanout"], [False]))
    assert store.messages.held("worker") == set()


def test_the_most_urgent_message_of_several_queues_comes_first(store: Store, redis: Redis) -> None:
    for name in ("q1:9", "q2:9", "q1", "q2"):
        redis.lpush(name, message(name, name))
    lists = ["q1", "q2", "q1:9", "q2:9"]
    request = TakeRequest("worker", lists, ["q1", "q2", "q1", "q2"], [True] * 4)

    taken = [store.messages.take(request) for _ in lists]

    assert [
        (queue, json.loads(text)["headers"]["id"]) for queue, text, _ in filter(None, taken)
    ] == [
        ("q1", "q1"),
        ("q2", "q2"),
        ("q1", "q1:9"),
        ("q2", "q2:9"),
    ]


def test_a_message_is_taken_by_one_of_many_workers(store: Store) -> None:
    for number in range(100):
        send(store, f"task {number}")
    taken: list[str] = []

    def work(name: str) -> None:
        worker = Worker(store, name)
        while attempt := worker.take():
            taken.append(attempt.task_id)

    threads = [threading.Thread(target=work, args=(f"worker {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(taken) == sorted(f"task {number}" for number in range(100))


def test_what_is_handed_back_is_taken_next_and_marked(
    store: Store, redis: Redis, worker: Worker
) -> None:
    for task in ("a", "b"):
        send(store, task)
    worker.take()
    store.messages.hand_back("worker")

    (first, second) = waiting_messages(redis)
    assert ids([first, second]) == ["a", "b"]
    assert first["headers"]["redelivered"] is True
    assert first["properties"]["delivery_info"]["redelivered"] is True
    assert "redelivered" not in second["headers"]
    assert store.messages.held("worker") == set()


def test_what_is_rejected_is_taken_after_all_others(
    store: Store, redis: Redis, worker: Worker
) -> None:
    for task in ("a", "b"):
        send(store, task)
    attempt = worker.take()
    assert attempt is not None
    assert attempt.run.tag is not None
    store.messages.hand_back("worker", [attempt.run.tag], at_the_end=True)

    assert ids(waiting_messages(redis)) == ["b", "a"]


def test_a_worker_can_hand_back_some_and_keep_the_others(
    store: Store, redis: Redis, worker: Worker
) -> None:
    for task in ("a", "b"):
        send(store, task)
    kept, returned = worker.run(), worker.take()
    assert returned is not None
    assert returned.run.tag is not None
    store.messages.hand_back("worker", [returned.run.tag, "unknown"])

    assert store.messages.held("worker") == {kept.run.tag}
    assert ids(waiting_messages(redis)) == ["b"]


def test_many_messages_come_back_in_several_round_trips(
    store: Store, redis: Redis, worker: Worker
) -> None:
    names = {f"task {number}" for number in range(250)}
    for name in names:
        send(store, name)
        worker.take()
    store.messages.hand_back("worker")

    assert set(ids(waiting_messages(redis))) == names
    assert store.messages.held("worker") == set()


def test_a_worker_that_waits_is_woken_by_a_message(store: Store, redis: Redis) -> None:
    command = store.messages.wait_command(["q"], 10)
    send(store, "a")
    assert redis.execute_command(*command)[0] == store.keys.bell("q").encode()
    store.messages.push("q", "q", message("b", "tag"))
    assert redis.execute_command(*command)


def test_bells_do_not_pile_up(store: Store, redis: Redis) -> None:
    for number in range(150):
        send(store, f"task {number}")
    assert redis.llen(store.keys.bell("q")) == 100
    assert redis.ttl(store.keys.bell("q")) > 0


# -- lost workers ----------------------------------------------------------------------------------


def test_the_messages_of_a_silent_worker_come_back(
    store: Store, redis: Redis, worker: Worker, other: Worker
) -> None:
    send(store, "a")
    worker.run()
    worker.beat()
    silence(store, "worker")

    assert other.beat() == ["worker"]

    assert ids(waiting_messages(redis)) == ["a"]
    assert store.messages.held("worker") == set()
    assert other.beat() == []
    assert "worker" not in store.workers.look().silent


def test_two_workers_that_find_the_same_one_lost_bring_each_message_back_once(
    store: Store, redis: Redis, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for task in ("a", "b"):
        send(store, task)
        worker.take()
    scan = redis.hscan_iter

    def scan_while_another_hands_back(*args: Any, **options: Any) -> Any:
        held = list(scan(*args, **options))
        Store(Redis(connection_pool=redis.connection_pool)).messages.hand_back("worker")
        return iter(held)

    monkeypatch.setattr(redis, "hscan_iter", scan_while_another_hands_back)
    store.messages.hand_back("worker")

    assert sorted(ids(waiting_messages(redis))) == ["a", "b"]


def test_a_worker_that_dies_before_its_first_heartbeat_loses_no_message(
    store: Store, redis: Redis, worker: Worker, other: Worker
) -> None:
    send(store, "a")
    worker.take()
    silence(store, "worker")

    assert other.beat() == ["worker"]
    assert ids(waiting_messages(redis)) == ["a"]


def test_a_living_worker_keeps_its_messages(store: Store, worker: Worker, other: Worker) -> None:
    send(store, "a")
    attempt = worker.run()
    silence(store, "worker")
    worker.beat()

    assert other.beat() == []
    assert store.messages.held("worker") == {attempt.run.tag}


def test_after_an_outage_nobody_is_taken_for_lost_for_a_while(
    store: Store, redis: Redis, worker: Worker, other: Worker
) -> None:
    # Given an hour without a heartbeat from either worker
    for some in (worker, other):
        some.beat()
    for name in ("worker", "other"):
        silence(store, name)
    redis.set(store.keys.heartbeat, store.clock.now() - 3600)

    # Then the first one to come back does not take the other for lost
    assert other.beat() == []
    assert other.beat() == []

    # until that has had the time to come back, too.
    redis.set(store.keys.calm, store.clock.now())
    assert other.beat() == ["worker"]


def test_a_worker_does_not_count_as_lost_by_another_workers_clock(
    store: Store, monkeypatch: pytest.MonkeyPatch, worker: Worker, other: Worker
) -> None:
    worker.beat()
    monkeypatch.setattr("time.time", lambda: 1e9)
    monkeypatch.setattr("flask_longtask.store.clock.time.monotonic", lambda: 1e9)
    store.client.delete(store.keys.calm)
    assert other.beat() == []


def test_a_worker_that_has_stopped_leaves_nothing(
    store: Store, redis: Redis, worker: Worker
) -> None:
    send(store, "a")
    worker.beat()
    worker.run()
    worker.stop()

    assert [key for key in redis.scan_iter("*worker*") if b"worker-info" not in key] == [
        store.keys.workers.encode()
    ] * redis.exists(store.keys.workers)
    assert store.workers.look().workers == frozenset()
    assert running_by(store, "worker") == set()


def test_a_lost_worker_that_comes_back_is_alive_and_has_its_new_messages_only(
    store: Store, worker: Worker, other: Worker
) -> None:
    send(store, "a")
    old = worker.run()
    lose_worker(store, "worker")
    assert other.run().task_id == "a"

    worker.beat()
    send(store, "b")
    worker.run()

    assert old.report().outcome is Outcome.SUPERSEDED
    assert "worker" in store.workers.look().workers
    assert running_by(store, "worker") == {"b"}
    assert record_of(store, "a")["worker"] == "other"


def test_one_worker_at_a_time_looks_for_lost_messages(
    store: Store, redis: Redis, worker: Worker, other: Worker
) -> None:
    def is_auditor(worker: Worker) -> bool:
        return store.workers.beat(worker.name, worker.name, ["q"], 60).is_auditor

    assert is_auditor(worker)
    assert not is_auditor(other)
    assert is_auditor(worker)

    redis.delete(store.keys.auditor)  # as the key expires 5 seconds after that worker's death
    assert is_auditor(other)
    assert 0 < redis.ttl(store.keys.auditor) <= 5

    redis.set(store.keys.auditor, "a stranger")  # a key that would never expire
    assert is_auditor(other)
    assert 0 < redis.ttl(store.keys.auditor) <= 5


def test_a_worker_that_holds_a_message_again_is_not_forgotten(store: Store, redis: Redis) -> None:
    store.workers.beat("worker", "worker", ["q"], lapse=60)
    redis.lpush("q", message("a", "tag"))
    store.messages.hand_back("worker")
    assert store.messages.take(TakeRequest("worker", ["q"], ["q"], [True]))

    assert not store.workers.forget("worker")
    assert redis.zscore("longtask:workers", "worker")

    store.messages.hand_back("worker")
    assert store.workers.forget("worker")
    assert redis.zscore("longtask:workers", "worker") is None
