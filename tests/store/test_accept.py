"""A task is accepted in one step, or refused with the reason."""

import json
import threading
from itertools import count
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from flask_longtask.store import Accepted, Claim, Event, Queue, Run, Store
from tests.store.actors import (
    LISTS,
    Worker,
    cancel,
    claim_of,
    lose,
    on_redis_only,
    record_of,
    send,
)


def count_messages(redis: Redis) -> int:
    return sum(redis.llen(name) for name in LISTS)  # type: ignore[misc]


def test_an_accepted_task_has_a_record_a_message_and_a_place(store: Store, redis: Redis) -> None:
    acceptance = send(store, "a")

    assert acceptance.outcome is Accepted.ACCEPTED
    assert acceptance.record is not None
    assert acceptance.record["queue"] == "q"
    assert record_of(store, "a") == acceptance.record
    assert count_messages(redis) == 1
    assert store.tasks.ahead([("q", "a")]) == [0]


def test_a_call_that_arrives_twice_sends_one_message(store: Store, redis: Redis) -> None:
    first = send(store, "a", nonce="call")
    # Even if the task has been started meanwhile.
    Worker(store, "worker").run()

    second = send(store, "a", nonce="call")

    assert second.outcome is first.outcome is Accepted.ACCEPTED
    assert count_messages(redis) == 0
    assert record_of(store, "a")["attempt"] == 1


@pytest.mark.parametrize("name", ["open", "number", "queues", "waiting:q", "bell:q"])
def test_a_key_of_another_type_is_removed_and_the_task_accepted(
    store: Store, redis: Redis, name: str
) -> None:
    key = f"{store.keys.prefix}{name}"
    if name == "number":
        redis.sadd(key, "a stranger")
    else:
        redis.set(key, "a stranger")

    assert send(store, "a").outcome is Accepted.ACCEPTED
    assert count_messages(redis) == 1
    assert store.tasks.ahead([("q", "a")]) == [0]


def test_urgent_tasks_are_ahead_of_the_others_and_each_in_the_order_they_came(store: Store) -> None:
    ahead = [
        send(store, "patient 1", urgent=False).ahead,
        send(store, "urgent 1").ahead,
        send(store, "patient 2", urgent=False).ahead,
        send(store, "urgent 2").ahead,
    ]

    assert ahead == [0, 0, 2, 1]
    order = ["urgent 1", "urgent 2", "patient 1", "patient 2"]
    assert list(store.tasks.ahead([("q", task) for task in order])) == [0, 1, 2, 3]
    # Workers take them in this order.
    worker = Worker(store, "worker")
    assert [worker.run().task_id for _ in order] == order


def test_a_task_that_is_due_later_is_ahead_of_nobody(store: Store) -> None:
    later = store.clock.now() + 3600
    send(store, "later", {"eta": later})

    assert send(store, "now").ahead == 0
    assert list(store.tasks.ahead([("q", "later")])) == [None]


# -- idempotency keys ------------------------------------------------------------------------------


def test_a_key_that_has_come_before_stands_for_the_earlier_tasks(
    store: Store, redis: Redis
) -> None:
    send(store, "a", claim=claim_of("key"), followers={"b": {"task": "next"}})

    again = send(store, "c", claim=claim_of("key"))

    assert again.outcome is Accepted.EARLIER
    assert set(again.task_ids) == {"a", "b"}
    assert again.task_ids[0] == "a"
    assert not again.is_sent
    assert record_of(store, "c") == {}
    assert count_messages(redis) == 1


def test_a_key_that_came_with_another_body_is_refused(store: Store) -> None:
    send(store, "a", claim=claim_of("key"))

    assert send(store, "b", claim=claim_of("key", "other")).outcome is Accepted.REUSED


def test_a_key_stands_for_its_task_after_that_has_ended(store: Store, worker: Worker) -> None:
    send(store, "a", claim=claim_of("key"))
    worker.finish(worker.run())

    assert send(store, "b", claim=claim_of("key")).task_ids == ["a"]
    assert store.claims.tasks(claim_of("key")) == (["a"], True)


def test_of_simultaneous_requests_with_one_key_one_sends_a_message(
    store: Store, redis: Redis
) -> None:
    outcomes: list[Any] = []
    barrier = threading.Barrier(8)

    def start(number: int) -> None:
        barrier.wait()
        outcomes.append(send(store, f"task {number}", claim=claim_of("key")))

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    accepted = [o for o in outcomes if o.outcome is Accepted.ACCEPTED]
    earlier = [o for o in outcomes if o.outcome is Accepted.EARLIER]
    assert (len(accepted), len(earlier)) == (1, 7)
    assert len({tuple(o.task_ids) for o in earlier}) == 1
    assert count_messages(redis) == 1


def test_a_key_whose_task_is_being_sent_elsewhere_is_busy_until_that_is_confirmed(
    store: Store,
) -> None:
    send(store, "a", nonce="call", claim=claim_of("key"), elsewhere=True)
    assert send(store, "b", claim=claim_of("key"), elsewhere=True).outcome is Accepted.BUSY

    store.tasks.confirm("a", "call", sent=True)

    assert send(store, "b", claim=claim_of("key"), elsewhere=True).outcome is Accepted.EARLIER


def test_a_key_whose_task_could_not_be_sent_starts_a_new_one(store: Store) -> None:
    send(store, "a", nonce="call", claim=claim_of("key"), elsewhere=True)
    store.tasks.confirm("a", "call", sent=False)

    again = send(store, "b", claim=claim_of("key"), elsewhere=True)

    assert again.outcome is Accepted.ACCEPTED
    assert store.claims.tasks(claim_of("key")) == (["b"], True)


def test_a_key_whose_sender_has_died_starts_a_new_task_and_buries_the_first(
    store: Store, redis: Redis
) -> None:
    # Given a sender that died 4 seconds ago between the record and the message
    send(store, "a", claim=claim_of("key"), elsewhere=True)
    record = json.loads(redis.get(store.keys.record("a")) or "")
    record["submitted"] -= 4
    redis.set(store.keys.record("a"), json.dumps(record))

    again = send(store, "b", claim=claim_of("key"), elsewhere=True)

    assert again.outcome is Accepted.ACCEPTED
    # If its message was sent after all, nothing runs.
    assert record_of(store, "a")["unsent"] == 1
    assert record_of(store, "a")["ended"]
    assert redis.zscore(store.keys.sending, "a") is None


# -- refusals --------------------------------------------------------------------------------------


def test_no_more_tasks_wait_than_may(store: Store, redis: Redis, worker: Worker) -> None:
    for task in ("a", "b"):
        assert send(store, task, most_waiting=2).is_sent

    assert send(store, "c", most_waiting=2).outcome is Accepted.FULL
    assert record_of(store, "c") == {}
    assert count_messages(redis) == 2

    worker.run()
    assert send(store, "c", most_waiting=2).is_sent


def test_purged_messages_take_no_place(store: Store, redis: Redis) -> None:
    send(store, "a", most_waiting=1)
    redis.delete(*LISTS)

    assert send(store, "b", most_waiting=1).is_sent


def test_nothing_happens_after_the_caller_has_given_up(store: Store, redis: Redis) -> None:
    late = send(store, "a", not_after=store.clock.now() - 1, claim=claim_of("key"))

    assert late.outcome is Accepted.LATE
    assert count_messages(redis) == 0
    assert set(redis.scan_iter("*")) <= {store.keys.writable.encode()}
    assert send(store, "a", not_after=store.clock.now() + 10).is_sent


def test_a_retry_of_a_task_that_was_cancelled_meanwhile_only_brings_its_message(
    store: Store, redis: Redis, worker: Worker
) -> None:
    # Given a task that is cancelled when it is about to be retried
    send(store, "a")
    attempt = worker.run()
    cancel(store, "a")
    ended = record_of(store, "a")

    assert attempt.send_again().outcome is Accepted.ENDED

    # Then the worker that takes the message sees that it has ended.
    assert record_of(store, "a") == ended
    assert count_messages(redis) == 1
    again = Worker(store, "other").take()
    assert again is not None
    assert again.start().outcome.value == "cancelled"


def test_an_id_whose_task_has_ended_can_be_used_once_more(
    store: Store, redis: Redis, worker: Worker
) -> None:
    send(store, "order-4711")
    worker.finish(worker.run())

    assert send(store, "order-4711").outcome is Accepted.ACCEPTED

    record = record_of(store, "order-4711")
    assert not {"ended", "attempt", "progress"} & set(record)
    # The result of the first task is gone, and the second task does not expire.
    assert redis.get(store.keys.document("order-4711")) is None
    assert redis.ttl(store.keys.record("order-4711")) == -1


def test_an_id_whose_task_is_open_starts_nothing(
    store: Store, redis: Redis, worker: Worker
) -> None:
    send(store, "order-4711", nonce="first", followers={"b": {"task": "next"}})
    attempt = worker.run()

    again = send(store, "order-4711", nonce="second", claim=claim_of("key"))

    assert (again.outcome, [*again.task_ids]) == (Accepted.EARLIER, ["order-4711", "b"])
    assert record_of(store, "order-4711")["running"]
    # Whoever has sent the first and was never answered does not end what the second has been promised.
    store.tasks.confirm("order-4711", "first", sent=False)
    assert send(store, "c", claim=claim_of("key")).task_ids == again.task_ids
    worker.finish(attempt)
    assert count_messages(redis) == 0
    assert send(store, "d", claim=claim_of("key")).task_ids == again.task_ids
    assert redis.ttl(store.keys.claim("key")) > 0


def test_a_second_key_for_an_open_task_expires_by_itself(store: Store, redis: Redis) -> None:
    send(store, "order-4711", claim=claim_of("first"))
    send(store, "order-4711", claim=claim_of("second"))

    assert send(store, "c", claim=claim_of("second")).task_ids == ["order-4711"]
    assert redis.ttl(store.keys.claim("first")) == -1
    assert redis.ttl(store.keys.claim("second")) > 0


# -- what follows ----------------------------------------------------------------------------------


def test_what_follows_a_task_is_known_from_the_start_and_keeps_its_past(
    store: Store, worker: Worker
) -> None:
    send(store, "a", followers={"b": {"task": "next"}})
    assert record_of(store, "b")["task"] == "next"
    submitted = record_of(store, "b")["submitted"]

    worker.finish(worker.run())
    send(store, "b", sender="a")

    assert record_of(store, "b")["submitted"] == submitted
    assert record_of(store, "b")["queue"] == "q"


def test_what_follows_and_was_cancelled_before_stays_cancelled(store: Store) -> None:
    send(store, "a", followers={"b": {"task": "next"}})
    cancel(store, "b")

    assert send(store, "b", sender="a").outcome is Accepted.ENDED
    assert record_of(store, "b")["cancelled"]


@pytest.mark.parametrize("way", ["not confirmed", "its sender died"])
def test_what_was_to_follow_a_task_that_could_not_be_sent_has_ended_too(
    store: Store, redis: Redis, way: str
) -> None:
    # Given the first task of a chain, of which it is unknown whether its message was sent. It never runs
    claim = claim_of("key")
    followers = {"b": {"task": "next"}}
    send(store, "a", nonce="call", followers=followers, claim=claim, elsewhere=True)
    if way == "not confirmed":
        store.tasks.confirm("a", "call", sent=False)
    else:
        record = record_of(store, "a")
        earlier = {**record, "submitted": record["submitted"] - 60}
        redis.set(store.keys.record("a"), json.dumps(earlier))
        send(store, "c", claim=claim, elsewhere=True)
    assert record_of(store, "a")["unsent"]

    # Then the second task, which would never be sent, does not wait for ever.
    assert record_of(store, "b").get("ended")
    assert redis.ttl(store.keys.record("b")) > 0


# -- one step --------------------------------------------------------------------------------------


@on_redis_only
def test_a_redis_that_takes_no_writes_has_neither_record_nor_message(
    store: Store, redis: Redis
) -> None:
    # Given a Redis that is full; a write is refused in the middle of a script as well as before it
    send(store, "before")
    used = redis.info("memory")["used_memory"]
    redis.config_set("maxmemory", used // 2)
    try:
        with pytest.raises(RedisConnectionError):
            send(store, "a", claim=claim_of("key"))
    finally:
        redis.config_set("maxmemory", 0)

    assert record_of(store, "a") == {}
    assert count_messages(redis) == 1
    assert send(store, "a", claim=claim_of("key")).outcome is Accepted.ACCEPTED


def test_nobody_ever_sees_a_record_without_its_message(store: Store, redis: Redis) -> None:
    # Given another client that reads all the time, also in one step
    look = redis.register_script(
        "return {redis.call('LLEN', 'q'), redis.call('ZCARD', KEYS[1]), "
        "#redis.call('KEYS', KEYS[2])}"
    )
    seen = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            seen.add(tuple(look(keys=[store.keys.waiting("q"), store.keys.record("*")])))

    thread = threading.Thread(target=watch)
    thread.start()
    for number in count():
        send(store, f"task {number}")
        if number > 300 and len(seen) > 1:
            break
    ended.set()
    thread.join()

    assert len(seen) > 1
    assert all(messages == places == records for messages, places, records in seen)


def test_a_task_whose_message_is_unclear_never_runs(store: Store, worker: Worker) -> None:
    # Given a message that was sent although its sender got an error
    send(store, "a", nonce="call")
    store.tasks.confirm("a", "call", sent=False)

    attempt = worker.take()
    assert attempt is not None
    assert attempt.start().outcome.value == "ended"
    # A later confirmation changes nothing.
    ended = record_of(store, "a")
    store.tasks.confirm("a", "call", sent=True)
    assert record_of(store, "a") == ended


def test_only_the_call_that_sent_a_task_can_say_what_came_of_it(store: Store) -> None:
    send(store, "a", nonce="call", elsewhere=True)
    store.tasks.confirm("a", "another", sent=False)

    assert "ended" not in record_of(store, "a")


def test_a_task_whose_message_is_lost_while_it_is_sent_can_end_by_that(store: Store) -> None:
    send(store, "a", elsewhere=True)

    assert lose(store, "a").outcome.value == "stored"


def test_a_key_stands_for_its_task_while_that_is_sent_once_more(store: Store, redis: Redis) -> None:
    claim = Claim("a key", "a body")
    store.tasks.accept("a", {"task": "t"}, Queue("q"), "1", claim=claim)
    store.tasks.confirm("a", "1", sent=True)
    run = Run("t", "worker", 1, "n", "q")
    store.tasks.record_event("a", Event.START, run=run, most_lost=3)
    # It is retried, and its message takes long to be sent
    store.tasks.accept("a", {"task": "t", "retries": 1}, Queue("q"), "2", sender="a")
    redis.set(
        "longtask:task:a",
        redis.get("longtask:task:a").replace(b'"submitted":17', b'"submitted":16'),
    )

    again = store.tasks.accept("b", {"task": "t"}, Queue("q"), "3", claim=claim)

    assert (again.outcome, again.task_ids) == (Accepted.EARLIER, ["a"])
