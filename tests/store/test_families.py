"""Families: what is stored of them. What clients see of them is tested in tests/home/test_families.py."""

import json
from typing import Any

import pytest
from redis import Redis

from flask_longtask.status import describe_alone
from flask_longtask.store import Outcome, Store
from flask_longtask.store.families import AT_ONCE
from tests.store.actors import (
    EXPIRES,
    Worker,
    bounded_without_time,
    cancel,
    history_of,
    on_redis_only,
    record_of,
    send,
)


def register(store: Store, *parts: str, name: str = "family") -> dict[str, Any]:
    return dict(store.families.register(name, parts, "group").record["parts"])


def counts(store: Store, name: str = "family") -> dict[str, int]:
    parts = record_of(store, name)["parts"]
    phases = ("waiting", "running", "succeeded", "failed", "cancelled")
    return {phase: parts[phase] for phase in phases if parts[phase]}


def state_of(store: Store, task_id: str) -> str:
    (stored,) = store.tasks.read([task_id])
    assert stored is not None
    assert stored.record is not None
    document = json.loads(stored.document) if stored.document else {}
    return str(describe_alone(task_id, document, stored.record)["state"])


def start(store: Store, *task_ids: str, **options: Any) -> None:
    for task_id in task_ids:
        send(store, task_id, **options)


def test_a_status_is_one_read_however_many_parts_there_are(store: Store) -> None:
    for number in (3, 3 * AT_ONCE + 1):
        name, parts = f"of {number}", [f"{number}-{part}" for part in range(number)]
        start(store, *parts)
        register(store, *parts, name=name)

        (stored,) = store.tasks.read([name])

        assert stored is not None
        assert stored.record is not None
        assert stored.record["parts"]["waiting"] == number
        assert len(json.dumps(stored.record)) < 500


def test_parts_come_in_pages_in_which_each_is_once(store: Store, worker: Worker) -> None:
    start(store, *"abcdefg")
    register(store, *"abcdefg")
    worker.run().fail()
    worker.finish(worker.run())
    worker.run()

    place, found = 0.0, []
    while page := store.families.parts("family", place, 2):
        found += [part for part, _ in page]
        place = page[-1][1]

    assert found == ["a", "c", "d", "e", "f", "g", "b"]


def test_after_a_cancel_no_part_starts_or_goes_on_even_if_its_own_cancel_never_came(
    store: Store, worker: Worker
) -> None:
    # Given a web process that died after the first step of a cancel
    start(store, "a", "b")
    register(store, "a", "b")
    running = worker.run()
    assert cancel(store, "family").outcome is Outcome.STORED

    waiting = worker.take()

    assert waiting is not None
    assert waiting.start().outcome is Outcome.CANCELLED
    assert running.report().outcome is Outcome.CANCELLED
    assert counts(store) == {"cancelled": 2}


def test_a_cancelled_part_ends_its_family_and_the_others_can_still_be_cancelled(
    store: Store,
) -> None:
    start(store, "a", "b", "c")
    register(store, "a", "b", "c")
    cancel(store, "a")
    assert record_of(store, "family")["parts"]["state"] == "FAILURE"

    assert cancel(store, "family").outcome is Outcome.STORED
    assert store.families.open_parts("family") == ["b", "c"]


def test_a_registration_that_was_broken_off_is_forgotten_and_can_be_repeated(
    store: Store, redis: Redis
) -> None:
    parts = [f"part {number}" for number in range(AT_ONCE + 1)]
    start(store, *parts)
    store._scripts.run(
        "register_family",
        id="family",
        parts=parts[:AT_ONCE],
        follow=False,
        kind="group",
        last=False,
    )
    kept = (store.keys.record("family"), store.keys.parts("family"))
    assert all(0 < redis.ttl(key) <= 600 for key in kept)  # type: ignore[operator]
    assert redis.zscore(store.keys.open, "family") is None

    register(store, *parts)

    assert [redis.ttl(key) for key in kept] == [-1, -1]
    assert redis.zscore(store.keys.open, "family") is not None
    assert counts(store) == {"waiting": AT_ONCE + 1}


def test_when_all_have_ended_everything_expires(store: Store, worker: Worker) -> None:
    start(store, "a", "b")
    register(store, "a", "b")
    for _ in range(2):
        worker.finish(worker.run())

    assert record_of(store, "family")["state"] == "SUCCESS"
    assert bounded_without_time(store.client, store) <= {store.keys.held("worker")}
    assert 0 < store.client.ttl(store.keys.parts("family")) <= EXPIRES  # type: ignore[operator]


def test_a_task_with_children_is_open_until_they_have_ended(store: Store, worker: Worker) -> None:
    start(store, "parent")
    parent = worker.run()
    start(store, "child", parent="parent", sender="parent")
    worker.finish(parent)
    assert (counts(store, "parent"), store.client.ttl(store.keys.record("parent"))) == (
        {"waiting": 1, "succeeded": 1},
        -1,
    )

    worker.finish(worker.run())

    assert record_of(store, "parent")["parts"]["state"] == "SUCCESS"
    assert store.listing.count("ended") == 1


def test_children_of_an_earlier_task_with_the_same_id_are_not_counted(
    store: Store, worker: Worker
) -> None:
    start(store, "parent")
    parent = worker.run()
    start(store, "old child", parent="parent", sender="parent")
    old_child = worker.run()
    cancel(store, "parent")
    worker.finish(parent)

    start(store, "parent")
    again = worker.run()
    start(store, "new child", parent="parent", sender="parent")
    worker.finish(old_child)

    assert counts(store, "parent") == {"waiting": 1, "running": 1}
    assert [part for part, _ in store.families.parts("parent", 0, 9)] == ["parent", "new child"]
    worker.finish(again)


@on_redis_only
@pytest.mark.parametrize("garbage", ["a string", 7, [1], {"total": "many"}, {"total": 3}])
def test_whatever_was_written_to_a_family_its_parts_go_on(
    store: Store, worker: Worker, garbage: Any
) -> None:
    start(store, "a", "b")
    register(store, "a", "b")
    record = {**record_of(store, "family"), "parts": garbage}
    store.client.set(store.keys.record("family"), json.dumps(record))

    worker.finish(worker.run())
    cancel(store, "family")

    assert record_of(store, "a")["state"] == "SUCCESS"


def test_a_list_of_parts_of_the_wrong_type_is_made_anew(store: Store, worker: Worker) -> None:
    start(store, "a", "b")
    register(store, "a", "b")
    store.client.set(store.keys.parts("family"), "not a sorted set")

    worker.finish(worker.run())

    assert record_of(store, "a")["state"] == "SUCCESS"


def test_a_report_in_the_middle_of_a_cancel_leaves_no_part_that_seems_to_run(
    store: Store, worker: Worker
) -> None:
    start(store, "a", "b")
    register(store, "a", "b")
    running = worker.run()
    running.report()
    cancel(store, "family")

    assert running.report(2).outcome is Outcome.CANCELLED
    assert state_of(store, "a") == "REVOKED"
    assert cancel(store, "a").outcome is Outcome.CANCELLED

    assert state_of(store, "a") == "REVOKED"
    assert 0 < store.client.ttl(store.keys.document("a")) <= EXPIRES  # type: ignore[operator]
    assert history_of(store, "a")["attempts"][0]["outcome"] == "cancelled"


def test_a_cancel_can_be_repeated_until_it_has_reached_every_part(store: Store) -> None:
    start(store, "a", "b")
    register(store, "a", "b")

    assert cancel(store, "family").outcome is Outcome.STORED  # the answer is lost
    assert cancel(store, "family").outcome is Outcome.STORED
    cancel(store, "a")
    cancel(store, "b")

    assert cancel(store, "family").outcome is Outcome.ENDED
    assert record_of(store, "family")["parts"]["state"] == "REVOKED"


def test_children_of_a_task_that_was_cancelled_do_not_start(store: Store, worker: Worker) -> None:
    start(store, "parent")
    worker.run()
    cancel(store, "parent")

    start(store, "child", parent="parent", sender="parent")

    child = worker.take()
    assert child is not None
    assert child.start().outcome is Outcome.CANCELLED
    assert record_of(store, "parent")["parts"]["state"] == "REVOKED"
    assert counts(store, "parent") == {"cancelled": 2}
