"""Checkpoints: what an attempt keeps is the next one's, and is gone with the task."""

from collections.abc import Callable

import pytest
from redis import Redis

from flask_longtask.store import Event, Outcome, Store
from tests.store.actors import (
    Attempt,
    Worker,
    cancel,
    document,
    lose,
    lose_worker,
    message,
    record_of,
    send,
)


@pytest.fixture
def running(running: Attempt) -> Attempt:
    """The first attempt at the task "a", which has reported 3 of 10 and kept where it is."""
    running.report(3)
    assert running.checkpoint({"row": 3}).outcome is Outcome.STORED
    return running


def stops(store: Store, attempt: Attempt) -> None:
    Worker(store, "worker").stop()


def is_lost(store: Store, attempt: Attempt) -> None:
    lose_worker(store, "worker")


def retries(store: Store, attempt: Attempt) -> None:
    attempt.send_again()
    attempt.rest()
    Worker(store, "worker").acknowledge(attempt)


@pytest.mark.parametrize("interrupt", [stops, is_lost, retries])
def test_the_next_attempt_has_it_and_the_bar_goes_on(
    store: Store, running: Attempt, interrupt: Callable[[Store, Attempt], None]
) -> None:
    interrupt(store, running)
    before = record_of(store, "a")

    attempt = Worker(store, "other").take()
    assert attempt is not None
    change = attempt.start()

    assert (change.outcome, change.attempt, change.checkpoint) == (
        Outcome.STORED,
        2,
        b'{"row": 3}',
    )
    record = record_of(store, "a")
    assert record["resumed"] == 0.3
    kept = ("progress", "reported", "checkpoint")
    assert {name: record[name] for name in kept} == {name: before[name] for name in kept}


def test_the_work_of_an_attempt_that_goes_on_counts_from_its_first_report(
    store: Store, running: Attempt
) -> None:
    # Given a task that kept a checkpoint for a step that it had not reported yet
    is_lost(store, running)
    attempt = Worker(store, "other").run()

    attempt.report(4)
    first = record_of(store, "a")
    attempt.report(5)

    assert (first["resumed"], first["resumed_at"]) == (0.4, first["reported"])
    record = record_of(store, "a")
    assert (record["resumed"], record["resumed_at"]) == (0.4, first["resumed_at"])
    assert first["started"] < first["resumed_at"] < record["reported"]


def test_an_attempt_after_one_that_kept_nothing_begins_anew(store: Store, worker: Worker) -> None:
    send(store, "a")
    worker.run().report(3)
    worker.stop()

    attempt = Worker(store, "other").take()
    assert attempt is not None

    assert attempt.start().checkpoint is None
    assert record_of(store, "a").keys().isdisjoint({"progress", "reported", "resumed"})


def test_a_start_that_is_said_again_gets_it_again(store: Store, running: Attempt) -> None:
    stops(store, running)
    attempt = Worker(store, "other").run()

    assert attempt.start().checkpoint == b'{"row": 3}'


def test_the_last_one_counts(store: Store, running: Attempt) -> None:
    running.checkpoint([1, None, "ä"])
    stops(store, running)

    attempt = Worker(store, "other").take()
    assert attempt is not None
    assert attempt.start().checkpoint == b'[1, null, "\\u00e4"]'


def test_a_checkpoint_is_news_of_the_task_and_leaves_celerys_document_alone(
    store: Store, redis: Redis, running: Attempt
) -> None:
    text = redis.get(store.keys.document("a"))
    change = running.checkpoint()

    assert redis.get(store.keys.document("a")) == text is not None
    record = record_of(store, "a")
    assert record["reported"] == pytest.approx(change.now, abs=0.001)
    assert record["progress"]


def test_that_of_an_older_attempt_is_refused(store: Store, redis: Redis, running: Attempt) -> None:
    stops(store, running)
    Worker(store, "other").run()

    assert running.checkpoint("old").outcome is Outcome.SUPERSEDED
    assert redis.get(store.keys.checkpoint("a")) == b'{"row": 3}'


def succeeds(store: Store, running: Attempt) -> None:
    running.end()


def fails(store: Store, running: Attempt) -> None:
    running.fail()


def is_cancelled(store: Store, running: Attempt) -> None:
    cancel(store, "a")


def loses_its_message(store: Store, running: Attempt) -> None:
    stops(store, running)
    store.client.delete("q")
    lose(store, "a")


def loses_its_record(store: Store, running: Attempt) -> None:
    store.client.delete(store.keys.record("a"))
    running.end()


@pytest.mark.parametrize(
    "end", [succeeds, fails, is_cancelled, loses_its_message, loses_its_record]
)
def test_it_is_gone_when_the_task_has_ended(
    store: Store, redis: Redis, running: Attempt, end: Callable[[Store, Attempt], None]
) -> None:
    end(store, running)

    assert not redis.exists(store.keys.checkpoint("a"))
    assert record_of(store, "a").keys().isdisjoint({"checkpoint", "resumed"})
    assert running.checkpoint().outcome in (Outcome.CANCELLED, Outcome.ENDED)
    assert not redis.exists(store.keys.checkpoint("a"))


@pytest.mark.parametrize("progress", ["[]", "no JSON", '["a", 2, ""]', "[1, 0, 1]", "[9, 1, 1]", 7])
def test_an_unreadable_progress_is_no_share_of_the_work(
    store: Store, running: Attempt, progress: object
) -> None:
    store.tasks.record_event(
        "a", Event.REPORT, document("a", "PROGRESS"), run=running.run, progress=progress
    )
    stops(store, running)

    Worker(store, "other").run()

    assert record_of(store, "a")["resumed"] == 0


def test_one_that_somebody_has_deleted_or_overwritten_is_none(
    store: Store, redis: Redis, running: Attempt
) -> None:
    redis.delete(store.keys.checkpoint("a"))
    redis.lpush(store.keys.checkpoint("a"), "not ours")
    redis.lpush("q", message("a", "again"))

    attempt = Worker(store, "worker").take()
    assert attempt is not None
    change = attempt.start()

    assert (change.outcome, change.checkpoint) == (Outcome.STORED, None)
    assert "progress" not in record_of(store, "a")
    assert attempt.checkpoint(4).outcome is Outcome.STORED
    assert redis.get(store.keys.checkpoint("a")) == b"4"


def test_it_outlives_a_record_that_was_lost(store: Store, redis: Redis, running: Attempt) -> None:
    redis.delete(store.keys.record("a"))
    stops(store, running)
    redis.delete(store.keys.record("a"))

    attempt = Worker(store, "other").take()
    assert attempt is not None
    assert attempt.start().checkpoint == b'{"row": 3}'


def test_a_task_that_replaces_another_does_not_find_what_that_has_kept(
    store: Store, running: Attempt, worker: Worker
) -> None:
    running.send_again({"task": "another"})
    worker.acknowledge(running)

    attempt = worker.take()
    assert attempt is not None
    change = attempt.start()

    assert (change.outcome, change.checkpoint) == (Outcome.STORED, None)
