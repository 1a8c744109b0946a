"""Open tasks never expire. The time to live of everything that is kept of a task begins when it ends."""

from collections.abc import Callable

import pytest
from redis import Redis

from flask_longtask.store import Event, Queue, Store
from tests.store.actors import (
    EXPIRES,
    Attempt,
    Worker,
    bounded_without_time,
    cancel,
    claim_of,
    document,
    lose,
    lose_worker,
    send,
)


def kept_of(store: Store, task_id: str) -> list[str]:
    """The keys that belong to a task with an idempotency key."""
    return [
        store.keys.record(task_id),
        store.keys.document(task_id),
        store.keys.claim("key"),
    ]


def run(store: Store) -> Attempt:
    return Worker(store, "worker").run()


def waits(store: Store) -> None:
    pass


def is_scheduled(store: Store) -> None:
    send(store, "a", {"eta": store.clock.now() + 3600}, sender="a")


def runs(store: Store) -> None:
    run(store).report()


def is_retried(store: Store) -> None:
    attempt = run(store)
    attempt.send_again({"eta": store.clock.now() + 3600})
    attempt.rest()


def is_handed_back(store: Store) -> None:
    run(store)
    Worker(store, "worker").stop()


def has_lost_its_worker(store: Store) -> None:
    run(store)
    lose_worker(store, "worker")


@pytest.mark.parametrize(
    "state", [waits, is_scheduled, runs, is_retried, is_handed_back, has_lost_its_worker]
)
def test_nothing_of_an_open_task_expires(
    store: Store, redis: Redis, state: Callable[[Store], None]
) -> None:
    send(store, "a", claim=claim_of("key"), followers={"b": {"task": "next"}})
    state(store)

    there = {key: redis.ttl(key) for key in kept_of(store, "a") if redis.exists(key)}
    assert set(there.values()) == {-1}
    assert store.keys.record("a") in there
    assert store.keys.claim("key") in there
    assert redis.ttl(store.keys.record("b")) == -1


def succeeds(store: Store) -> None:
    run(store).end()


def is_cancelled(store: Store) -> None:
    cancel(store, "a")


def is_cancelled_and_runs_on(store: Store) -> None:
    run(store)
    cancel(store, "a")


def is_lost(store: Store) -> None:
    lose(store, "a")


def could_not_be_sent(store: Store) -> None:
    store.tasks.confirm("a", "call", sent=False)


ENDS = [succeeds, is_cancelled, is_cancelled_and_runs_on, is_lost, could_not_be_sent]


@pytest.mark.parametrize("end", ENDS)
def test_the_time_to_live_begins_at_the_end(
    store: Store, redis: Redis, end: Callable[[Store], None]
) -> None:
    send(store, "a", nonce="call", claim=claim_of("key"))
    end(store)

    there = [key for key in kept_of(store, "a") if redis.exists(key)]
    assert store.keys.record("a") in there
    assert store.keys.claim("key") in there
    for key in there:
        # Nearly all of it is left, on a busy machine too
        assert EXPIRES / 2 < redis.ttl(key) <= EXPIRES


@pytest.mark.parametrize("end", ENDS)
def test_with_no_time_to_live_an_ended_task_is_kept_for_ever(
    redis: Redis, end: Callable[[Store], None]
) -> None:
    store = Store(redis, expires=0)
    send(store, "a", nonce="call", claim=claim_of("key"))
    end(store)

    there = {key: redis.ttl(key) for key in kept_of(store, "a") if redis.exists(key)}
    assert store.keys.record("a") in there
    assert set(there.values()) == {-1}


def test_after_everything_has_ended_no_key_is_left_without_a_bound(
    store: Store, redis: Redis
) -> None:
    # Given tasks in every open state, and browsers that have started them
    worker, other = Worker(store, "worker"), Worker(store, "other", lapse=60)
    for task in ("runs", "retries", "loses its worker", "waits", "is cancelled", "is lost"):
        send(store, task, claim=claim_of(task))
        store.browsers.add("browser", task)
    send(store, "scheduled", {"eta": store.clock.now() + 3600}, urgent=False)
    send(store, "first", followers={"second": {"task": "next"}})
    send(store, "elsewhere", nonce="sent", queue="far", elsewhere=True)
    store.tasks.confirm("elsewhere", "sent", sent=True)
    for some in (worker, other):
        some.beat("elsewhere")
    worker.finish(worker.run())
    retried = worker.run()
    retried.send_again()
    retried.rest()
    worker.acknowledge(retried)
    worker.run().report()
    assert turn_of(store)
    store.workers.look()
    lose_worker(store, "worker")

    # When all tasks have ended
    cancel(store, "is cancelled")
    lose(store, "is lost")
    while attempt := other.take():
        if attempt.start().outcome.value == "stored":
            attempt.end()
        other.acknowledge(attempt)
    for task in ("second", "elsewhere"):
        store.tasks.record_event(task, Event.END, document(task, "FAILURE"))
    for name in ("other", "another", "worker"):
        Worker(store, name).stop()

    assert bounded_without_time(redis, store) == set()
    assert redis.zcard(store.keys.workers) == redis.hlen(store.keys.worker_info) == 0
    assert store.messages.missing() == (False, [])


def turn_of(store: Store) -> bool:
    turn = store.claims.take_turn(claim_of("turn"), patience=1)
    assert turn is not None
    left = store.client.pttl(store.keys.turn("turn"))
    store.claims.end_turn(turn)
    return 0 < left <= 3000  # type: ignore[operator]


def test_a_browsers_list_is_bounded_in_length_and_time(store: Store, redis: Redis) -> None:
    for number in range(120):
        store.browsers.add("browser", f"task {number}")

    assert store.browsers.tasks("browser") == [f"task {n}" for n in range(119, 19, -1)]
    assert redis.ttl(store.keys.browser("browser")) > 29 * 24 * 3600


def test_two_stores_behind_different_prefixes_share_nothing(store: Store, redis: Redis) -> None:
    theirs = Store(redis, prefix="theirs-", documents="theirs-celery-task-meta-", expires=EXPIRES)
    send(store, "a", claim=claim_of("key"))
    before = {key: redis.dump(key) for key in redis.scan_iter("*")}

    # The lists of messages are Kombu's, which uses prefixes of its own.
    assert theirs.tasks.accept(
        "a", {"task": "work"}, Queue("q", ["theirs-q"]), "call", message="{}", claim=claim_of("key")
    ).is_sent
    theirs.tasks.record_event("a", Event.CANCEL, document("a", "REVOKED"))
    Worker(theirs, "worker").beat()
    theirs.presence.look()

    after = {key: redis.dump(key) for key in before}
    assert after == before
