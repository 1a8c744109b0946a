"""How the attempts at a task ended, and the lines that it has logged: what is kept, for how long, and what not."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from flask_longtask.status.history import describe_history
from flask_longtask.store import Event, Store
from flask_longtask.store.history import MOST_LINES
from tests.store.actors import (
    EXPIRES,
    MOST_LOST,
    Attempt,
    Worker,
    cancel,
    document,
    history_of,
    lose,
    lose_worker,
    on_redis_only,
    record_of,
    send,
    silence,
)


def attempts(store: Store) -> list[tuple[int, str, Any, Any]]:
    """Number, worker, outcome and error of each attempt at the task "a"."""
    told = history_of(store, "a")["attempts"]
    for attempt in told:
        assert attempt["started"]
        assert bool(attempt["finished"]) is (attempt["outcome"] is not None)
    return [(it["number"], it["worker"], it["outcome"], it["error"]) for it in told]


def lines(store: Store, after: int = 0) -> list[tuple[int, int, str]]:
    """Number, attempt and text of each line of the task "a"."""
    stored = store.history.read("a", after)
    assert stored is not None
    told = describe_history(*stored)["lines"]
    return [(line["number"], line["attempt"], line["text"]) for line in told]


# -- attempts --------------------------------------------------------------------------------------


def test_a_task_that_waits_has_no_attempt_and_one_that_nobody_knows_no_history(
    store: Store,
) -> None:
    send(store, "a")
    assert history_of(store, "a") == {"attempts": [], "lines": []}
    assert store.history.read("unknown") is None


def test_a_task_that_only_celery_has_stored_has_an_empty_history(
    store: Store, redis: Redis
) -> None:
    redis.set(store.keys.document("a"), document("a", "SUCCESS"))
    assert history_of(store, "a") == {"attempts": [], "lines": []}


def test_a_single_attempt_is_told_from_the_record_alone(
    store: Store, redis: Redis, running: Attempt
) -> None:
    assert attempts(store) == [(1, "worker", None, None)]
    running.end()
    assert attempts(store) == [(1, "worker", "succeeded", None)]
    assert not redis.exists(store.keys.attempts("a"), store.keys.lines("a"))


def test_an_attempt_that_raised_has_its_error(store: Store, running: Attempt) -> None:
    running.fail()
    assert attempts(store) == [(1, "worker", "raised", "No answer")]


def test_every_attempt_says_how_it_ended(
    store: Store, worker: Worker, other: Worker, running: Attempt
) -> None:
    running.send_again()
    running.rest()
    worker.acknowledge(running)
    assert attempts(store) == [(1, "worker", "retry", "No answer")]
    worker.run()
    worker.stop()
    other.run()
    lose_worker(store, "other")
    assert attempts(store)[-1] == (3, "other", "worker lost", None)
    worker.finish(worker.run())

    assert attempts(store) == [
        (1, "worker", "retry", "No answer"),
        (2, "worker", "handed back", None),
        (3, "other", "worker lost", None),
        (4, "worker", "succeeded", None),
    ]


def test_a_redelivered_message_tells_that_the_worker_of_the_earlier_attempt_was_lost(
    store: Store, other: Worker, running: Attempt
) -> None:
    # Given a process that was killed, and whose worker gives the message back
    store.messages.hand_back("worker")
    other.run()
    assert attempts(store) == [(1, "worker", "worker lost", None), (2, "other", None, None)]


def test_the_attempt_of_a_lost_worker_ended_with_its_last_heartbeat(
    store: Store, running: Attempt
) -> None:
    # Given a task that was started two hours ago, and whose worker has been silent for the last one
    record = record_of(store, "a")
    started = store.clock.now() - 7200
    store.client.set(store.keys.record("a"), json.dumps({**record, "started": started}))
    lose_worker(store, "worker")
    last_heartbeat = store.clock.now() - 3600

    ended = record_of(store, "a")["attempt_ended"]

    assert ended == pytest.approx(last_heartbeat, abs=60)


def test_an_attempt_that_was_taken_for_lost_and_goes_on_has_not_ended(
    store: Store, running: Attempt
) -> None:
    lose_worker(store, "worker")
    assert attempts(store) == [(1, "worker", "worker lost", None)]
    running.report()
    assert attempts(store) == [(1, "worker", None, None)]
    running.end()
    assert attempts(store) == [(1, "worker", "succeeded", None)]


@pytest.mark.parametrize("is_ended", [False, True])
def test_an_attempt_that_rests_after_its_retry_has_started_or_ended_still_tells_its_error(
    store: Store, redis: Redis, other: Worker, running: Attempt, is_ended: bool
) -> None:
    running.send_again()
    second = other.run()
    assert attempts(store)[0] == (1, "worker", "retry", None)
    if is_ended:
        second.end()
    running.rest()
    outcome = "succeeded" if is_ended else None
    assert attempts(store) == [(1, "worker", "retry", "No answer"), (2, "other", outcome, None)]
    assert (redis.ttl(store.keys.attempts("a")) > 0) is is_ended  # type: ignore[operator]


@pytest.mark.parametrize("way", [Worker.stop, lambda worker: lose_worker(worker.store, "worker")])
def test_an_attempt_that_has_sent_its_retry_was_not_lost_or_handed_back(
    store: Store, worker: Worker, running: Attempt, way: Callable[[Worker], object]
) -> None:
    running.send_again()
    way(worker)
    assert attempts(store) == [(1, "worker", "retry", None)]


def test_a_task_that_has_lost_too_many_workers_ends_with_the_last_of_them(store: Store) -> None:
    send(store, "a")
    for number in range(MOST_LOST):
        Worker(store, f"worker {number}").run()
        lose_worker(store, f"worker {number}")
    attempt = Worker(store, "last").take()
    assert attempt is not None
    attempt.start()
    store.tasks.record_event("a", Event.END, document("a", "FAILURE"), outcome="raised")

    assert attempts(store) == [
        (number + 1, f"worker {number}", "worker lost", None) for number in range(MOST_LOST)
    ]


def test_a_cancelled_attempt_is_told_as_such_whatever_it_does_afterwards(
    store: Store, running: Attempt
) -> None:
    cancel(store, "a")
    assert attempts(store) == [(1, "worker", "cancelled", None)]
    running.end()
    assert attempts(store) == [(1, "worker", "cancelled", None)]


def test_a_task_cancelled_or_lost_between_two_attempts_keeps_how_the_first_ended(
    store: Store, worker: Worker, running: Attempt
) -> None:
    worker.stop()
    cancel(store, "a")
    assert attempts(store) == [(1, "worker", "handed back", None)]


def test_a_task_whose_message_is_lost_with_its_worker_says_so(
    store: Store, redis: Redis, running: Attempt
) -> None:
    lose_worker(store, "worker")
    redis.delete("q")
    lose(store, "a")
    assert attempts(store) == [(1, "worker", "worker lost", None)]


def test_a_task_that_never_ran_has_no_attempt_when_it_ends(store: Store) -> None:
    send(store, "a")
    cancel(store, "a")
    assert attempts(store) == []


def test_the_last_twenty_attempts_are_kept(store: Store, worker: Worker) -> None:
    send(store, "a")
    for _ in range(25):
        worker.run()
        worker.stop()
    worker.run().end()

    assert [number for number, *_ in attempts(store)] == list(range(7, 27))
    assert store.client.llen(store.keys.attempts("a")) == 19


# -- lines -----------------------------------------------------------------------------------------


def test_lines_are_numbered_on_through_all_attempts(
    store: Store, worker: Worker, running: Attempt
) -> None:
    assert running.log("one", "two")
    assert running.log("three", before=2)
    worker.stop()
    second = worker.run()
    second.log("four")

    assert lines(store) == [(1, 1, "one"), (2, 1, "two"), (3, 1, "three"), (4, 2, "four")]
    assert lines(store, after=2) == [(3, 1, "three"), (4, 2, "four")]
    assert lines(store, after=4) == []
    told = history_of(store, "a")["lines"]
    assert [line["level"] for line in told] == ["info"] * 4
    assert told[0]["time"] <= told[3]["time"]


def test_lines_that_arrive_twice_because_an_answer_was_lost_are_kept_once(
    store: Store, running: Attempt
) -> None:
    running.log("one", "two")
    running.log("one", "two")
    running.log("two", "three", before=1)
    assert lines(store) == [(1, 1, "one"), (2, 1, "two"), (3, 1, "three")]


def test_the_last_lines_are_kept_and_those_that_were_left_out_are_counted(
    store: Store, redis: Redis, running: Attempt
) -> None:
    running.log("first")
    running.log(*map(str, range(MOST_LINES)), before=999_500)

    assert redis.llen(store.keys.lines("a")) == MOST_LINES
    assert lines(store)[0] == (999_501, 1, "0")
    assert lines(store)[-1] == (1_000_000, 1, "499")
    assert lines(store, after=999_999) == [(1_000_000, 1, "499")]


def test_lines_of_an_attempt_that_is_not_the_present_one_are_refused(
    store: Store, other: Worker, running: Attempt
) -> None:
    lose_worker(store, "worker")
    other.run()
    assert running.log("too late")
    assert lines(store) == []


def test_lines_of_an_earlier_task_with_the_same_id_are_refused_and_its_history_is_gone(
    store: Store, worker: Worker, other: Worker, running: Attempt
) -> None:
    running.log("of the earlier task")
    cancel(store, "a")
    send(store, "a")
    assert history_of(store, "a") == {"attempts": [], "lines": []}
    running.log("too late", before=1)
    silence(store, "worker")  # so that it does not take the message
    other.run().log("new")
    running.log("too late", before=1)
    assert lines(store) == [(1, 1, "new")]
    # A reader of the earlier task has seen greater numbers
    assert lines(store, after=5) == [(1, 1, "new")]


def test_a_cancelled_attempt_that_cleans_up_may_say_so_and_its_lines_expire_with_the_record(
    store: Store, redis: Redis, running: Attempt
) -> None:
    cancel(store, "a")
    redis.expire(store.keys.record("a"), 30)
    running.log("cleaning up")
    running.end()
    running.log("done", before=1)
    assert lines(store) == [(1, 1, "cleaning up"), (2, 1, "done")]
    assert 0 < redis.ttl(store.keys.lines("a")) <= 30
    assert 0 < redis.ttl(store.keys.record("a")) <= 30


def test_lines_are_kept_back_while_the_task_has_no_record(
    store: Store, redis: Redis, running: Attempt
) -> None:
    running.log("before")
    redis.delete(store.keys.record("a"))
    assert not running.log("meanwhile", before=1)
    running.report()
    assert running.log("meanwhile", before=1)
    assert lines(store) == [(2, 1, "meanwhile")]


def test_both_lists_expire_with_the_record_and_not_before_the_end(
    store: Store, redis: Redis, worker: Worker, running: Attempt
) -> None:
    running.log("one")
    worker.stop()
    second = worker.run()
    keys = store.keys.attempts("a"), store.keys.lines("a")
    assert [redis.ttl(key) for key in keys] == [-1, -1]
    second.end()
    assert all(0 < redis.ttl(key) <= EXPIRES for key in keys)  # type: ignore[operator]


# -- what others have stored -----------------------------------------------------------------------


@pytest.mark.parametrize("value", ["nonsense", b"\xff", "[1,2]", "{}"])
def test_lists_of_another_type_cost_what_they_hold_but_no_start_and_no_line(
    store: Store, redis: Redis, worker: Worker, running: Attempt, value: Any
) -> None:
    worker.stop()
    redis.set(store.keys.attempts("a"), value)
    redis.set(store.keys.lines("a"), value)
    assert attempts(store) == [(1, "worker", "handed back", None)]
    second = worker.run()
    second.log("one")
    assert attempts(store)[0] == (1, "worker", "handed back", None)
    assert lines(store) == [(1, 2, "one")]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
fields = st.sampled_from(["attempt", "number", "started", "finished", "worker", "outcome"])
entries = json_values | st.dictionaries(fields | st.just("error"), json_values)
records = st.dictionaries(
    fields | st.sampled_from(["attempt_ended", "ended", "cancelled", "state", "error"]), json_values
)


@settings(max_examples=30)
@given(
    records,
    st.lists(entries),
    st.lists(json_values | st.lists(json_values, min_size=5, max_size=5)),
)
def test_whatever_is_stored_a_history_is_told_and_it_is_json(
    record: dict[str, Any], stored_attempts: list[Any], stored_lines: list[Any]
) -> None:
    told = describe_history(record, stored_attempts, stored_lines)
    json.dumps(told)
    assert all(attempt["number"] > 0 for attempt in told["attempts"])
    assert all(isinstance(line["text"], str) for line in told["lines"])


def test_what_is_too_long_is_cut(store: Store) -> None:
    record = {"attempt": 1, "outcome": "raised", "error": "x" * 300}
    told = describe_history(record, [], [[1, 1.5, "i" * 300, 1, "y" * 3000]])
    assert told["attempts"][0]["error"] == "x" * 200
    assert (told["lines"][0]["level"], told["lines"][0]["text"]) == ("i" * 20, "y" * 1000)


def test_an_attempt_that_an_earlier_version_has_ended_is_told_by_the_end_of_its_task() -> None:
    record = {"attempt": 1, "started": 1.5, "ended": 2.5, "state": "SUCCESS", "worker": "w"}
    (attempt,) = describe_history(record, [], [])["attempts"]
    assert (attempt["outcome"], attempt["finished"]) == (
        "succeeded",
        "1970-01-01T00:00:02.500000+00:00",
    )


# -- what it costs ---------------------------------------------------------------------------------


@on_redis_only
def test_a_finished_task_that_has_logged_nothing_takes_less_than_a_kilobyte(
    store: Store, redis: Redis
) -> None:
    # Given a task as a worker on a host with a long name runs it, with ids of their usual length
    task_id = "0b7c2b1e-6f6e-4f1e-9a53-0f7f3c1f2d4e"
    worker = Worker(store, "worker-7f9c4d5b8-x2x4z.example.com/0123456789ab")
    record = {"task": "flask_app.imports.import_rows", "owner": "user@example.com"}
    send(store, task_id, record, nonce=task_id.replace("-", ""))
    attempt = worker.take()
    assert attempt is not None
    attempt.run = attempt.run._replace(nonce=task_id.replace("-", ""), pid=123_456)
    attempt.start()
    attempt.report()
    result = {"current": 100, "total": 100, "status": "Task completed!", "result": 42}
    text = {
        **json.loads(document(task_id, "SUCCESS", result)),
        "traceback": None,
        "children": [],
        "date_done": "2026-11-22T14:50:00.123456+00:00",
    }
    store.tasks.record_event(
        task_id, Event.END, json.dumps(text), run=attempt.run, outcome="succeeded", state="SUCCESS"
    )
    worker.acknowledge(attempt)

    names = [key for key in redis.scan_iter("*") if task_id in key.decode()]
    assert sorted(names) == [
        store.keys.document(task_id).encode(),
        store.keys.record(task_id).encode(),
    ]
    sizes = {name.decode(): redis.memory_usage(name) for name in names}
    assert sum(sizes.values()) < 1000, (sizes, record_of(store, task_id))
