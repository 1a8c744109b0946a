"""Reports and ends of attempts are stored in order, and only those of the current attempt."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from flask_longtask.store import Accepted, Event, Outcome, Run, Stall, Store
from tests.store.actors import (
    MOST_LOST,
    Attempt,
    Worker,
    cancel,
    document,
    lose,
    lose_worker,
    message,
    record_of,
    running_by,
    send,
)


@pytest.fixture
def running(running: Attempt) -> Attempt:
    """The first attempt at the task "a", which has reported 3 of 10."""
    running.report(3)
    return running


def progress(current: int) -> str:
    return f'[{current}, 10, "Row {current} of 10"]'


def place(store: Store) -> int | None:
    return store.tasks.ahead([("q", "a")])[0]


# -- the usual life --------------------------------------------------------------------------------


def test_a_task_is_taken_up_reported_on_and_ended(
    store: Store, redis: Redis, worker: Worker
) -> None:
    send(store, "a")
    attempt = worker.take()
    assert attempt is not None
    assert place(store) == 0  # the message is taken, but the task not started

    started = attempt.start()
    assert started[:3] == (Outcome.STORED, 1, 0)
    record = record_of(store, "a")
    assert (record["running"], record["worker"], record["attempt"]) == (1, "worker", 1)
    assert record["started"] == pytest.approx(started.now, abs=0.001)
    assert place(store) is None
    assert running_by(store, "worker") == {"a"}

    reported = attempt.report(3)
    assert reported.outcome is Outcome.STORED
    assert record_of(store, "a")["progress"] == progress(3)
    assert record_of(store, "a")["reported"] == pytest.approx(reported.now, abs=0.001)

    ended = attempt.end("result")
    assert ended.outcome is Outcome.STORED
    record = record_of(store, "a")
    assert record["ended"] == pytest.approx(ended.now, abs=0.001)
    assert "running" not in record
    assert running_by(store, "worker") == set()
    # Celery's document is stored unchanged.
    assert redis.get(store.keys.document("a")) == document("a", "SUCCESS", "result").encode()


def test_what_celery_stores_is_published_as_it_is_and_an_empty_list_stays_one(
    store: Store, redis: Redis, running: Attempt
) -> None:
    changes = store.changes()
    try:
        changes.subscribe(["a"])
        assert changes.wait(5) == {"a"}
        running.end([])
        assert changes.wait(5) == {"a"}
    finally:
        changes.close()
    assert json.loads(redis.get(store.keys.document("a")))["result"] == []  # type: ignore[arg-type]


def test_a_start_whose_answer_was_lost_is_said_again_and_counts_once(
    store: Store, running: Attempt
) -> None:
    again = running.start()

    assert again[:3] == (Outcome.STORED, 1, 0)
    assert record_of(store, "a")["progress"]  # nothing begins anew


def test_a_second_attempt_of_the_same_worker_is_another_attempt(
    store: Store, redis: Redis, running: Attempt
) -> None:
    # Given a message that is redelivered to another process of the worker that runs its task
    redis.lpush("q", message("a", "again"))
    second = Worker(store, "worker").run()

    assert record_of(store, "a")["attempt"] == 2
    assert running.report(9).outcome is Outcome.SUPERSEDED
    assert second.report(1).outcome is Outcome.STORED


# -- fencing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [Attempt.report, Attempt.rest, Attempt.end])
def test_what_an_older_attempt_writes_is_refused(
    store: Store, other: Worker, running: Attempt, write: Callable[[Attempt], object]
) -> None:
    # Given a worker that was cut off, and another that has its task
    lose_worker(store, "worker")
    second = other.run()
    second.report(1)
    before = record_of(store, "a")

    change = write(running)

    assert (change.outcome, change.attempt) == (Outcome.SUPERSEDED, 2)  # type: ignore[attr-defined]
    assert record_of(store, "a") == before
    assert running_by(store, "other") == {"a"}


@pytest.mark.parametrize("write", [Attempt.report, Attempt.rest, Attempt.end])
def test_an_attempt_at_an_earlier_task_of_the_same_id_writes_nothing(
    store: Store, redis: Redis, running: Attempt, write: Callable[[Attempt], object]
) -> None:
    # Given a cancelled task that runs on, and whose id, "order-4711", is used again
    cancel(store, "a")
    send(store, "a")
    before = record_of(store, "a")

    assert write(running).outcome is Outcome.SUPERSEDED  # type: ignore[attr-defined]

    assert record_of(store, "a") == before
    assert redis.get(store.keys.document("a")) is None
    assert running_by(store, "worker") == set()


@pytest.mark.parametrize("write", [Attempt.report, Attempt.rest, Attempt.end])
def test_an_attempt_whose_task_was_handed_back_writes_no_more(
    store: Store, worker: Worker, running: Attempt, write: Callable[[Attempt], object]
) -> None:
    worker.stop()
    before = record_of(store, "a")

    assert write(running).outcome is Outcome.SUPERSEDED  # type: ignore[attr-defined]
    assert record_of(store, "a") == before


def test_an_attempt_that_was_cut_off_and_not_replaced_yet_goes_on(
    store: Store, redis: Redis, other: Worker, running: Attempt
) -> None:
    # Given a worker that comes back before another has taken its task
    lose_worker(store, "worker")
    assert place(store) == 0

    assert running.report(5).outcome is Outcome.STORED
    assert running.end().outcome is Outcome.STORED

    # Then the message, which was handed back, starts nothing.
    assert place(store) is None
    again = other.take()
    assert again is not None
    assert again.start().outcome is Outcome.ENDED


def test_a_worker_that_does_not_hold_the_message_any_more_cannot_start_its_task(
    store: Store, worker: Worker, other: Worker
) -> None:
    # Given a worker that took a message and was cut off before it could start
    send(store, "a")
    late = worker.take()
    assert late is not None
    lose_worker(store, "worker")

    assert late.start().outcome is Outcome.SUPERSEDED

    assert "attempt" not in record_of(store, "a")
    assert other.run().report().outcome is Outcome.STORED


@pytest.mark.parametrize("write", [Attempt.start, Attempt.report, Attempt.rest, Attempt.end])
@pytest.mark.parametrize("end", ["end", "lost"])
def test_a_task_that_has_ended_does_not_change(
    store: Store,
    redis: Redis,
    worker: Worker,
    running: Attempt,
    write: Callable[[Attempt], object],
    end: str,
) -> None:
    if end == "end":
        running.end("result")
    else:
        running.send_again()
        lose(store, "a")
    before = record_of(store, "a"), redis.get(store.keys.document("a"))

    change = write(running)

    assert change.outcome is Outcome.ENDED  # type: ignore[attr-defined]
    assert cancel(store, "a").outcome is Outcome.ENDED
    assert lose(store, "a").outcome is Outcome.ENDED
    assert (record_of(store, "a"), redis.get(store.keys.document("a"))) == before


# -- lost workers ----------------------------------------------------------------------------------


def test_a_task_whose_worker_is_lost_waits_before_all_others(
    store: Store, other: Worker, running: Attempt
) -> None:
    send(store, "b")
    lose_worker(store, "worker")

    # Until it is started again, its record says that the lost worker runs it.
    assert record_of(store, "a")["running"] == 1
    assert record_of(store, "a")["progress"] == progress(3)
    assert list(store.tasks.ahead([("q", "a"), ("q", "b")])) == [0, 1]

    second = other.run()
    assert second.task_id == "a"
    record = record_of(store, "a")
    assert (record["attempt"], record["lost"]) == (2, 1)
    assert "progress" not in record


def test_a_task_that_loses_too_many_workers_is_not_started_again(store: Store) -> None:
    send(store, "a")
    for number in range(MOST_LOST):
        name = f"worker {number}"
        Worker(store, name).run()
        lose_worker(store, name)
    last = Worker(store, "last")
    attempt = last.take()
    assert attempt is not None

    change = attempt.start()

    assert change[:3] == (Outcome.EXHAUSTED, MOST_LOST, MOST_LOST)
    record = record_of(store, "a")
    assert "running" not in record
    assert place(store) is None
    # Every further start gets the same answer, and the task can be ended.
    assert attempt.start().outcome is Outcome.EXHAUSTED
    end = store.tasks.record_event("a", Event.END, document("a", "FAILURE"))
    assert end.outcome is Outcome.STORED


def test_a_worker_that_is_told_to_stop_is_no_lost_one(
    store: Store, worker: Worker, other: Worker, running: Attempt
) -> None:
    send(store, "b")
    worker.stop()

    record = record_of(store, "a")
    assert "running" not in record
    assert record["progress"] == progress(3)
    assert place(store) == 0
    second = other.run()
    assert (second.task_id, second.run.attempt) == ("a", 2)
    assert "lost" not in record_of(store, "a")


def test_a_worker_hands_back_only_what_it_runs(
    store: Store, other: Worker, running: Attempt
) -> None:
    change = store.tasks.record_event("a", Event.HAND_BACK, worker="other")

    assert change.outcome is Outcome.SUPERSEDED
    assert record_of(store, "a")["running"] == 1


# -- retries ---------------------------------------------------------------------------------------


def test_a_task_that_is_to_be_tried_again_waits_with_where_it_stopped(
    store: Store, worker: Worker, running: Attempt
) -> None:
    due = store.clock.now() + 3600
    assert running.send_again({"eta": due, "max_retries": 5}).is_sent
    assert running.rest().outcome is Outcome.STORED
    worker.acknowledge(running)

    record = record_of(store, "a")
    assert "running" not in record
    assert (record["retries"], record["max_retries"], record["attempt"]) == (1, 5, 1)
    assert record["progress"] == progress(3)
    assert store.client.zscore(store.keys.scheduled, "a") == pytest.approx(due, abs=0.01)

    second = worker.run()
    assert second.run.attempt == 2
    assert "lost" not in record_of(store, "a")


def test_a_retry_that_starts_before_the_old_attempt_has_rested_is_no_lost_worker(
    store: Store, other: Worker, running: Attempt
) -> None:
    running.send_again()
    second = other.run()
    second.report(7)

    assert running.rest().outcome is Outcome.SUPERSEDED
    record = record_of(store, "a")
    assert (record["attempt"], record["worker"], record["progress"]) == (2, "other", progress(7))
    assert "lost" not in record


def test_a_retry_in_another_queue_waits_in_that_one_only(store: Store, running: Attempt) -> None:
    send(store, "a", {"retries": 1}, queue="slow", sender="a")
    assert list(store.tasks.ahead([("q", "a"), ("slow", "a")])) == [None, 0]


@pytest.mark.parametrize("way", ["stopped", "lost"])
def test_a_task_that_was_sent_again_before_its_worker_was_gone_waits_where_that_put_it(
    store: Store, worker: Worker, running: Attempt, way: str
) -> None:
    due = store.clock.now() + 3600
    running.send_again({"eta": due})
    if way == "stopped":
        worker.stop()
    else:
        lose_worker(store, "worker")

    # Then it waits for its eta, and not also at the front of the queue.
    assert place(store) is None
    assert store.client.zscore(store.keys.scheduled, "a") == pytest.approx(due, abs=0.01)
    record = record_of(store, "a")
    assert "running" not in record
    assert record["eta"] == pytest.approx(due, abs=0.01)


# -- cancelling ------------------------------------------------------------------------------------


def test_a_task_cancelled_while_it_waits_never_runs(store: Store, worker: Worker) -> None:
    send(store, "a")
    assert cancel(store, "a").outcome is Outcome.STORED
    assert place(store) is None

    attempt = worker.take()
    assert attempt is not None
    assert attempt.start().outcome is Outcome.CANCELLED
    assert "attempt" not in record_of(store, "a")


def test_a_running_task_that_is_cancelled_says_that_it_runs_until_it_has_ended(
    store: Store, redis: Redis, running: Attempt
) -> None:
    assert cancel(store, "a").outcome is Outcome.STORED
    assert record_of(store, "a")["running"] == 1
    cancelled = redis.get(store.keys.document("a"))

    # The next report is answered with the cancellation, and changes nothing.
    assert running.report(9).outcome is Outcome.CANCELLED
    record = record_of(store, "a")
    assert (record["running"], record["progress"]) == (1, progress(3))

    # Its end removes `running` from the record, and changes nothing else.
    ttl = redis.ttl(store.keys.record("a"))
    assert running.end("too late").outcome is Outcome.CANCELLED
    del record["running"]
    assert record_of(store, "a") == record
    assert redis.get(store.keys.document("a")) == cancelled
    assert 0 < redis.ttl(store.keys.record("a")) <= ttl
    assert running_by(store, "worker") == set()


def test_a_cancelled_task_whose_worker_is_lost_does_not_run_on(
    store: Store, worker: Worker, running: Attempt
) -> None:
    # Given a task whose message was acknowledged at once, so that it is not redelivered
    worker.acknowledge(running)
    cancel(store, "a")

    lose_worker(store, "worker")

    record = record_of(store, "a")
    assert record["cancelled"]
    assert "running" not in record
    assert running_by(store, "worker") == set()


def test_a_task_that_is_cancelled_twice_still_says_that_it_runs(
    store: Store, running: Attempt
) -> None:
    cancel(store, "a")
    before = record_of(store, "a")

    assert cancel(store, "a").outcome is Outcome.CANCELLED
    assert lose(store, "a").outcome is Outcome.CANCELLED
    change = store.tasks.record_event("a", Event.HAND_BACK, worker="other")
    assert change.outcome is Outcome.CANCELLED

    assert record_of(store, "a") == before
    assert running_by(store, "worker") == {"a"}


# -- the record is gone ----------------------------------------------------------------------------


def damage(redis: Redis, key: str, how: str) -> None:
    if how == "all is gone":
        redis.flushdb()
    redis.delete(key)
    match how:
        case "no JSON":
            redis.set(key, "\xff no JSON {")
        case "no object":
            redis.set(key, "[17]")
        case "another's object":
            redis.set(key, '{"attempt": [], "running": 1, "lost": "many", "queue": 5}')
        case "a list":
            redis.rpush(key, "a", "b")
        case "a hash":
            redis.hset(key, "attempt", "7")


@pytest.mark.parametrize(
    "how",
    ["deleted", "all is gone", "no JSON", "no object", "another's object", "a list", "a hash"],
)
def test_a_running_task_whose_record_is_lost_goes_on_and_ends(
    store: Store, redis: Redis, worker: Worker, running: Attempt, how: str
) -> None:
    damage(redis, store.keys.record("a"), how)

    # Its next report restores what the attempt knows of itself.
    assert running.report(5).outcome is Outcome.STORED
    record = record_of(store, "a")
    started = running.run.started
    assert (record["task"], record["queue"], record["worker"]) == ("work", "q", "worker")
    assert (record["attempt"], record["running"], record["progress"]) == (1, 1, progress(5))
    assert record["started"] == pytest.approx(started, abs=0.001)
    assert running_by(store, "worker") == {"a"}

    assert worker.finish(running).outcome is Outcome.STORED
    assert record_of(store, "a")["ended"]
    assert redis.ttl(store.keys.record("a")) > 0


@pytest.mark.parametrize("how", ["deleted", "no JSON", "another's object", "a hash"])
def test_a_task_whose_record_is_lost_can_end_without_another_report(
    store: Store, redis: Redis, running: Attempt, how: str
) -> None:
    damage(redis, store.keys.record("a"), how)

    assert running.end().outcome is Outcome.STORED
    assert record_of(store, "a")["ended"]


def test_a_task_whose_record_is_lost_can_be_tried_again(
    store: Store, redis: Redis, worker: Worker, running: Attempt
) -> None:
    redis.delete(store.keys.record("a"))
    running.send_again()
    running.rest()
    worker.acknowledge(running)

    second = worker.run()
    assert running.report(9).outcome is Outcome.SUPERSEDED
    assert second.end().outcome is Outcome.STORED


def test_a_task_whose_record_is_lost_while_it_waits_is_started_and_waits_no_more(
    store: Store, redis: Redis, worker: Worker
) -> None:
    send(store, "a")
    redis.delete(store.keys.record("a"))

    attempt = worker.run()

    assert record_of(store, "a")["running"] == 1
    # Otherwise the next tasks would count it as ahead of them for as long as it runs.
    assert place(store) is None
    assert attempt.end().outcome is Outcome.STORED


def test_two_attempts_of_one_number_are_not_both_the_present_one(
    store: Store, redis: Redis, other: Worker, running: Attempt
) -> None:
    # Given a task that was taken over and whose record, with the count of its attempts, is lost
    lose_worker(store, "worker")
    redis.delete(store.keys.record("a"))
    second = other.run()
    assert second.run.attempt == running.run.attempt == 1
    second.report(1)

    # Then the first attempt's reports and end are refused.
    assert running.report(9).outcome is Outcome.SUPERSEDED
    assert running.end().outcome is Outcome.SUPERSEDED
    assert record_of(store, "a")["worker"] == "other"
    assert second.end().outcome is Outcome.STORED


def test_a_later_attempt_takes_the_task_from_an_older_one_that_came_first(
    store: Store, redis: Redis, other: Worker, running: Attempt
) -> None:
    # Given two attempts, of which the older one reports first after the record was lost
    lose_worker(store, "worker")
    second = other.run()
    redis.delete(store.keys.record("a"))
    running.report(9)

    assert second.report(1).outcome is Outcome.STORED

    record = record_of(store, "a")
    assert (record["attempt"], record["worker"]) == (2, "other")
    assert running.report(9).outcome is Outcome.SUPERSEDED
    assert running_by(store, "other") == {"a"}
    assert running_by(store, "worker") == set()


def test_a_task_that_has_ended_by_celerys_word_does_not_start_without_a_record(
    store: Store, redis: Redis, running: Attempt
) -> None:
    running.end("result")
    redis.delete(store.keys.record("a"))

    assert running.report(9).outcome is Outcome.ENDED
    assert running.end("another").outcome is Outcome.ENDED
    assert json.loads(redis.get(store.keys.document("a")))["result"] == "result"  # type: ignore[arg-type]


def test_a_task_of_a_program_without_this_store_is_followed_from_its_start(
    store: Store, redis: Redis, worker: Worker
) -> None:
    redis.lpush("q", message("a", "tag"))

    attempt = worker.run()

    assert record_of(store, "a")["attempt"] == 1
    assert attempt.end().outcome is Outcome.STORED
    assert redis.ttl(store.keys.record("a")) > 0


# -- the message is gone ---------------------------------------------------------------------------


def test_only_a_task_that_waits_can_end_because_its_message_is_gone(
    store: Store, running: Attempt
) -> None:
    assert lose(store, "a").outcome is Outcome.SUPERSEDED
    assert running.report(5).outcome is Outcome.STORED

    running.send_again()
    assert lose(store, "a").outcome is Outcome.STORED
    assert record_of(store, "a")["ended"]
    assert running.report(6).outcome is Outcome.ENDED


FIELDS = (
    *("task", "queue", "submitted", "eta", "retries", "score", "attempt", "started", "worker"),
    *("pid", "running", "resent", "progress", "reported", "lost", "sending", "nonce", "claim"),
    *("nonce_of_run", "meta", "checkpoint", "resumed", "resumed_at", "stalled"),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda values: st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=3), values),
    max_leaves=3,
)


@given(record=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6))
def test_whatever_is_on_record_every_event_has_an_outcome(
    store_on_empty_redis: Store, record: dict[str, object]
) -> None:
    store, key = store_on_empty_redis, store_on_empty_redis.keys.record("a")
    run = Run("work", "worker", 1, "run", "q", attempt=1, started=1.0)
    for event in Event:
        store.client.flushdb()
        store.client.set(key, json.dumps(record))
        start = run._replace(attempt=None, started=None)
        by_attempt = event in (Event.START, Event.REPORT, Event.CHECKPOINT, Event.REST, Event.END)
        change = store.tasks.record_event(
            "a",
            event,
            run=(start if event is Event.START else run) if by_attempt else None,
            worker="worker" if event in (Event.HAND_BACK, Event.STALL) else None,
            most_lost=MOST_LOST,
            stall=Stall(1, 0.0, 0.0) if event is Event.STALL else None,
        )
        assert change.outcome in Outcome
    store.client.set(key, json.dumps(record))
    assert send(store, "a").outcome in (Accepted.ACCEPTED, Accepted.EARLIER)
    store.tasks.confirm("a", "another", sent=True)
    Worker(store, "worker").beat("a")
    store.messages.missing()
    store.workers.forget("worker")
