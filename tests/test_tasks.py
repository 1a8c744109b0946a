"""Tasks in a real worker: what they report, how they end, and that a cancelled task really stops."""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import requests
from celery import Task, chain, chord, group
from celery.app.task import Context
from redis import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from flask_longtask.celery.attempt import remember
from flask_longtask.store import Outcome, Run, Store
from tests import tasks
from tests.processes import PATIENCE, RedisServer, WebServer, Worker, free_port, wait_until

Status = Callable[[str], dict[str, Any]]

pytestmark = pytest.mark.usefixtures("app", "worker")


@pytest.fixture
def queue() -> str:
    """A new queue that no worker serves or has served. From a used one, Redis may still give a message to a
    worker that was just killed."""
    return f"queue-{uuid.uuid4()}"


@contextmanager
def extra_worker(folder: Path, redis_server: RedisServer, *options: str) -> Iterator[Worker]:
    worker = Worker("extra-worker", folder, redis_server.url(), "--without-mingle", *options)
    try:
        yield worker
    finally:
        worker.stop()


@contextmanager
def every_store(redis: Redis, task_id: str) -> Iterator[list[tuple[float, Any]]]:
    """The time and the document of each state that is stored: each is published under Celery's key."""
    stores: list[tuple[float, Any]] = []
    with redis.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(f"celery-task-meta-{task_id}")
        wait_until(lambda: channel.subscribed)
        listening = threading.Event()

        def listen() -> None:
            while not listening.is_set():
                if message := channel.get_message(timeout=0.05):
                    stores.append((time.time(), message["data"]))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield stores
        finally:
            listening.set()
            thread.join()


def reaches(status: Status, task_id: str, /, **expected: Any) -> dict[str, Any]:
    """Wait until the task's status has these values."""

    def as_expected() -> dict[str, Any] | None:
        task = status(task_id)
        return task if expected.items() <= task.items() else None

    task = wait_until(as_expected, describe=lambda: status(task_id))
    assert task is not None
    return task


# -- progress and results ----------------------------------------------------------------------------


def test_a_task_written_the_tutorials_way_moves_and_ends_with_its_result(
    client: Any, status: Status
) -> None:
    def moves() -> bool:
        task_id = client.post("/longtask", json={"steps": 6, "delay": 0.15}).json["task_id"]

        seen = []
        wait_until(lambda: seen.append(status(task_id)) or seen[-1]["finished"])

        running = [task for task in seen if task["state"] == "PROGRESS" and task["total"] == 6]
        assert {task["state"] for task in seen} <= {"PENDING", "PROGRESS", "SUCCESS"}
        assert [task["percent"] for task in seen] == sorted(task["percent"] for task in seen)
        assert all(task["status"] for task in running)
        end = seen[-1]
        assert (end["state"], end["result"], end["percent"]) == ("SUCCESS", 42, 100)
        assert (end["task"], end["attempt"]) == ("long_task", 1)
        assert end["submitted"] <= end["started"] <= end["finished"]
        positions = {task["current"] for task in running}
        return len(positions) >= 3 and any(task["eta"] for task in running)

    # A test that polls too seldom, as on a busy machine, sees none of this
    wait_until(moves)


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"current": 3, "total": 7, "status": "So"}, (3, 7, 42, "So")),
        (None, (0, 1, 0, "")),
        ("Half way", (0, 1, 0, "Half way")),
        ({"current": -1, "total": 0}, (0, 1, 0, "")),
        ({"current": float("nan"), "total": float("inf"), "status": "Odd"}, (0, 1, 0, "Odd")),
        ({"current": 9, "total": 7, "extra": [[], {}]}, (7, 7, 99, "")),
    ],
)
def test_whatever_a_task_reports_it_is_told_and_the_task_goes_on(
    redis: Redis, status: Status, ended: Status, meta: Any, expected: tuple[Any, ...]
) -> None:
    task_id = tasks.reporting.delay(meta, state="MEASURING").id

    task = reaches(status, task_id, state="MEASURING")
    assert (task["current"], task["total"], task["percent"], task["status"]) == expected

    tasks.release(redis, task_id)
    assert ended(task_id)["result"] == "done"


@pytest.mark.parametrize(
    ("end", "state"),
    [("return", "SUCCESS"), ("raise", "FAILURE"), ("retry", "RETRY"), ("cancel", "REVOKED")],
)
def test_what_else_a_task_reports_is_told_as_it_was_until_after_its_end(
    client: Any, redis: Redis, status: Status, end: str, state: str
) -> None:
    as_json = {"rows": [1, [], {"a": None}], "file": "Ä?.csv", "share": None}
    task_id = tasks.reporting_more_and_ending.delay(end).id

    task = reaches(status, task_id, current=1)
    assert task["meta"] == as_json
    assert task["started"] <= task["reported"]

    if end == "cancel":
        client.delete(f"/status/{task_id}")
    tasks.release(redis, task_id)
    task = reaches(status, task_id, state=state)
    assert (task["meta"], task["current"]) == (as_json, 2 if end == "return" else 1)
    assert task["reported"]


def test_a_report_replaces_all_of_the_one_before(redis: Redis, status: Status) -> None:
    first, second = {"current": 1, "total": 9, "row": 1}, {"current": 2, "total": 9}
    task_id = tasks.reporting_one_after_the_other.delay([first, second]).id

    assert reaches(status, task_id, current=1)["meta"] == {"row": 1}
    tasks.release(redis, task_id)
    assert reaches(status, task_id, current=2)["meta"] is None
    tasks.release(redis, task_id)


def test_a_task_that_has_fallen_silent_says_so_until_it_reports_again(
    redis: Redis, status: Status
) -> None:
    reports = [{"current": step, "total": 9, "status": f"Step {step}"} for step in (1, 2)]
    task_id = tasks.reporting_one_after_the_other.delay(reports).id
    reaches(status, task_id, current=1, status="Step 1")

    # When it reported three minutes ago
    record = json.loads(redis.get(f"longtask:task:{task_id}") or b"")
    record |= {name: record[name] - 180 for name in ("started", "reported")}
    redis.set(f"longtask:task:{task_id}", json.dumps(record))

    reaches(status, task_id, status="Step 1 (nothing new for 3 min)", state="PROGRESS")
    tasks.release(redis, task_id)
    reaches(status, task_id, status="Step 2")
    tasks.release(redis, task_id)


def test_what_is_too_large_to_be_told_is_left_out_and_the_log_says_so_once(
    redis: Redis, status: Status, worker: Worker
) -> None:
    large = {"rows": "x" * 20_000}
    reports = [{"current": step, "total": 9, "status": f"Step {step}", **large} for step in (1, 2)]
    task_id = tasks.reporting_one_after_the_other.delay(reports).id
    reaches(status, task_id, current=1)
    tasks.release(redis, task_id)

    task = reaches(status, task_id, current=2)

    assert (task["meta"], task["status"]) == (None, "Step 2")
    stored = json.loads(redis.get(f"celery-task-meta-{task_id}") or b"")
    assert stored["result"] == reports[1]  # Celery's own document is as it was reported
    warnings = re.findall(rf"Task {task_id} reports 20011 bytes.*", worker.log.read_text())
    assert len(warnings) == 1
    tasks.release(redis, task_id)


@pytest.mark.parametrize(
    "value", [None, 0, "text", [], {"result": {"rows": []}}, {"status": "Sent."}]
)
def test_a_returned_value_comes_back_as_it_was(ended: Status, value: Any) -> None:
    task = ended(tasks.returning.delay(value).id)

    assert (task["state"], task["percent"]) == ("SUCCESS", 100)
    assert task["result"] == (
        value["result"] if isinstance(value, dict) and "result" in value else value
    )


def test_values_that_json_has_not_come_back_as_text_or_null(ended: Status) -> None:
    task = ended(tasks.returning_what_json_has_not.delay().id)

    assert task["result"] == {"price": "1.10", "share": None}


def test_celerys_own_ways_to_wait_for_a_result_work(client: Any, status: Status) -> None:
    assert tasks.returning.delay(7).get(timeout=PATIENCE) == 7

    results = group(tasks.returning.s(number) for number in range(5)).delay()
    assert results.get(timeout=PATIENCE) == [0, 1, 2, 3, 4]
    assert {status(result.id)["state"] for result in results} == {"SUCCESS"}


def test_a_task_runs_in_the_context_of_the_flask_app(ended: Status) -> None:
    assert ended(tasks.knowing_the_app.delay().id)["result"] == "app"


def test_a_task_that_another_task_starts_is_known_too(client: Any, ended: Status) -> None:
    other = ended(tasks.starting_another.delay().id)["result"]

    assert ended(other)["result"] == "ran"


# -- failing -----------------------------------------------------------------------------------------


def test_a_failure_shows_where_it_stopped_and_no_traceback(client: Any, ended: Status) -> None:
    task_id = tasks.failing.delay().id

    task = ended(task_id)

    assert (task["state"], task["status"]) == ("FAILURE", "row 4 has no name")
    assert (task["current"], task["total"], task["percent"]) == (3, 7, 42)
    assert task["result"] is None
    assert "Traceback" not in client.get(f"/status/{task_id}").text


def test_an_error_whose_class_the_web_server_does_not_have_is_told_by_its_message(
    ended: Status,
) -> None:
    assert (
        ended(tasks.failing_with_an_error_of_its_own.delay().id)["status"]
        == "card 4711 has expired"
    )


def test_a_result_that_cannot_be_stored_is_a_failure(ended: Status) -> None:
    task = ended(tasks.returning_what_cannot_be_stored.delay().id)

    assert (task["state"], task["percent"]) == ("FAILURE", 0)
    assert "object is not JSON serializable" in task["status"]


def test_a_failure_that_a_task_stores_by_hand_is_its_end(ended: Status) -> None:
    task = ended(tasks.failing_by_hand.delay().id)

    assert (task["state"], task["status"], task["percent"]) == ("FAILURE", "The shelf is empty", 42)


def test_a_task_that_waits_for_a_retry_says_why_and_when_and_goes_on(
    client: Any, status: Status, ended: Status
) -> None:
    # Given a task that waits long for its retry, and one that does not
    waiting, task_id = tasks.retrying.delay(countdown=3600).id, tasks.retrying.delay(countdown=1).id

    task = reaches(status, waiting, state="RETRY")
    assert task["status"].startswith("mail.example is away (retry 1 of 2 at 20")
    assert (task["current"], task["total"], task["finished"]) == (3, 7, None)
    client.delete(f"/status/{waiting}")

    task = ended(task_id)
    assert (task["state"], task["result"], task["attempt"]) == ("SUCCESS", "sent", 3)


def test_an_ignored_task_ends_where_it_was(ended: Status) -> None:
    task = ended(tasks.ignoring.delay().id)

    assert (task["state"], task["status"], task["percent"]) == ("IGNORED", "Ignored", 42)


def test_a_rejected_task_ends_as_celery_ends_it(ended: Status) -> None:
    # Celery 5.7 records it as a failure, since nobody will ever run it.
    task = ended(tasks.rejecting.delay().id)

    assert task["state"] == "FAILURE"
    assert "not for me" in task["status"]


def test_a_task_that_is_rejected_back_into_the_queue_runs_again(
    redis: Redis, ended: Status
) -> None:
    task_id = tasks.rejecting.delay(requeue=True).id

    task = ended(task_id)

    assert (task["state"], task["result"]) == ("SUCCESS", "taken after all")
    assert tasks.evidence(redis, task_id) == ["taken", "taken"]


def test_a_task_that_replaces_itself_goes_on_under_its_id(ended: Status) -> None:
    task = ended(tasks.replacing_itself.delay().id)

    assert (task["state"], task["result"]) == ("SUCCESS", "of the task that took over")


# -- chains, groups, chords --------------------------------------------------------------------------


def test_the_later_steps_of_a_chain_are_pending_from_the_start(
    redis: Redis, status: Status, ended: Status
) -> None:
    last = chain(tasks.reporting.si(None), tasks.noting.si(), tasks.returning.si("end")).delay()
    middle, first = last.parent, last.parent.parent

    assert (status(last.id)["state"], status(middle.id)["state"]) == ("PENDING", "PENDING")
    assert status(last.id)["task"] == "returning"

    tasks.release(redis, first.id)
    assert ended(last.id)["result"] == "end"
    # Celery starts the next step before it stores the end of this one.
    assert ended(middle.id)["result"] == "ran"


def test_the_rest_of_a_chain_ends_although_the_worker_of_the_failed_step_has_died(
    app: Any, ended: Status
) -> None:
    # Given a worker that died right after it had stored the failure of the first step
    last = chain(tasks.noting.si(), tasks.noting.si(), tasks.noting.si()).apply_async(countdown=1)
    first = last.parent.parent.id
    app.extensions["celery"].backend.store_state(first, ValueError("The shelf is empty"), "FAILURE")

    # When the next one takes its message
    task = ended(last.id)

    assert task["state"] == "FAILURE"
    assert task["status"] == "Not started, because an earlier task failed"


def test_the_body_of_a_chord_is_pending_until_its_header_is_done(
    redis: Redis, status: Status, ended: Status
) -> None:
    body = chord(
        [tasks.reporting.s(None), tasks.returning.s(1)], tasks.adding.si([1, 2], 3)
    ).delay()
    header = body.parent

    assert (status(body.id)["state"], status(body.id)["task"]) == ("PENDING", "adding")
    assert {status(result.id)["state"] for result in header} <= {"PENDING", "PROGRESS", "SUCCESS"}

    tasks.release(redis, header[0].id)
    assert ended(body.id)["result"] == 6


def test_a_chain_started_inside_a_task_is_known_from_the_start(
    status: Status, ended: Status
) -> None:
    last = ended(tasks.starting_a_chain.delay().id)["result"]

    assert status(last)["state"] in {"PENDING", "PROGRESS", "SUCCESS"}
    assert ended(last)["result"] == "ran"


# -- cancelling --------------------------------------------------------------------------------------


def test_a_task_cancelled_in_the_queue_never_runs_though_every_worker_restarts_in_between(
    client: Any,
    redis: Redis,
    status: Status,
    ended: Status,
    folder: Path,
    redis_server: RedisServer,
    queue: str,
) -> None:
    # Given a task that waits because no worker serves its queue, and another behind it
    cancelled = tasks.noting.apply_async(queue=queue).id
    behind_it = tasks.noting.apply_async(queue=queue).id
    assert status(cancelled)["state"] == "PENDING"

    # When the first is cancelled before a worker starts
    response = client.delete(f"/status/{cancelled}")
    assert (response.status_code, response.json["state"]) == (200, "REVOKED")
    with extra_worker(folder, redis_server, "-c", "1", "-Q", queue):
        assert ended(behind_it)["result"] == "ran"

    # Then the worker passes it over
    assert tasks.evidence(redis, cancelled) == []
    assert (status(cancelled)["state"], status(cancelled)["status"]) == ("REVOKED", "Cancelled")
    assert status(cancelled)["started"] is None


def test_a_scheduled_task_that_is_cancelled_never_runs(
    client: Any, redis: Redis, status: Status, ended: Status
) -> None:
    def cancelled_in_time() -> str | None:
        task_id = str(tasks.noting.apply_async(countdown=3).id)
        text = status(task_id)["status"]
        answer = client.delete(f"/status/{task_id}")
        # A busy machine may be too late
        return (
            task_id if text.startswith("Scheduled for 20") and answer.status_code == 200 else None
        )

    cancelled = wait_until(cancelled_in_time)
    behind_it = tasks.noting.apply_async(countdown=3.5).id

    assert ended(behind_it)["result"] == "ran"
    assert tasks.evidence(redis, cancelled) == []
    assert status(cancelled)["state"] == "REVOKED"


def test_a_running_task_stops_at_its_next_report(client: Any, redis: Redis, status: Status) -> None:
    task_id = tasks.stepping.delay(steps=1000, pause=0.05).id
    reaches(status, task_id, total=1000)

    task = client.delete(f"/status/{task_id}").json

    assert (task["state"], task["status"], task["total"]) == ("REVOKED", "Cancelled", 1000)
    assert task["percent"] < 100
    wait_until(lambda: tasks.evidence(redis, task_id) == ["started", "stopped by itself"])
    assert status(task_id) == task


@pytest.mark.parametrize(
    ("task", "percent"), [(tasks.silent, 0), (tasks.reporting_once_then_silent, 42)]
)
def test_a_task_that_reports_nothing_is_terminated_and_its_place_is_free_again(
    client: Any,
    redis: Redis,
    status: Status,
    ended: Status,
    folder: Path,
    redis_server: RedisServer,
    queue: str,
    task: Any,
    percent: int,
) -> None:
    # Given a worker that runs one task at a time, the silent one first
    task_id = task.apply_async(queue=queue).id
    behind_it = tasks.noting.apply_async(queue=queue).id
    with extra_worker(folder, redis_server, "-c", "1", "-Q", queue):
        wait_until(lambda: tasks.evidence(redis, task_id) == ["started"])

        # When it is cancelled
        assert client.delete(f"/status/{task_id}").json["state"] == "REVOKED"

        # Then the next task runs long before the silent one would have ended
        assert ended(behind_it)["result"] == "ran"
    assert tasks.evidence(redis, task_id) == ["started"]
    end = status(task_id)
    assert (end["state"], end["status"], end["percent"]) == ("REVOKED", "Cancelled", percent)


def test_cancelling_a_step_of_a_chain_ends_what_would_have_followed(
    client: Any, redis: Redis, status: Status, ended: Status
) -> None:
    last = chain(tasks.stepping.si(1000, 0.05), tasks.noting.si(), tasks.noting.si()).delay()
    middle, first = last.parent, last.parent.parent
    reaches(status, first.id, total=1000)

    client.delete(f"/status/{first.id}")

    assert ended(middle.id)["state"] == "REVOKED"
    assert ended(last.id)["state"] == "REVOKED"
    assert tasks.evidence(redis, middle.id) == tasks.evidence(redis, last.id) == []


def test_cancelling_a_member_of_a_chord_ends_its_body(
    client: Any, redis: Redis, status: Status, ended: Status
) -> None:
    body = chord([tasks.stepping.si(1000, 0.05), tasks.returning.si(1)], tasks.noting.si()).delay()
    member = body.parent[0]
    reaches(status, member.id, total=1000)

    client.delete(f"/status/{member.id}")

    assert ended(body.id)["state"] in {"FAILURE", "REVOKED"}
    assert tasks.evidence(redis, body.id) == []


def test_cancelling_a_queued_step_of_a_chain_ends_what_would_have_followed(
    client: Any, redis: Redis, status: Status, ended: Status
) -> None:
    last = chain(tasks.reporting.si(None), tasks.noting.si(), tasks.noting.si()).delay()
    middle, first = last.parent, last.parent.parent

    assert client.delete(f"/status/{middle.id}").json["state"] == "REVOKED"
    tasks.release(redis, first.id)

    assert ended(first.id)["state"] == "SUCCESS"
    assert ended(last.id)["state"] == "REVOKED"
    assert tasks.evidence(redis, middle.id) == tasks.evidence(redis, last.id) == []


def test_a_task_cancelled_while_it_waits_for_a_retry_is_not_tried_again(
    client: Any, redis: Redis, status: Status, ended: Status
) -> None:
    def cancelled_in_time() -> str | None:
        task_id = str(tasks.retrying.delay(countdown=2).id)
        wait_until(lambda: status(task_id)["state"] == "RETRY" or status(task_id)["finished"])
        client.delete(f"/status/{task_id}")
        # A busy machine may be so late that the task is being retried already
        return task_id if status(task_id)["attempt"] == 1 else None

    task_id = wait_until(cancelled_in_time)
    assert task_id
    after_it = tasks.noting.apply_async(countdown=3).id

    ended(after_it)

    task = status(task_id)
    assert (task["state"], task["status"], task["attempt"], task["percent"]) == (
        "REVOKED",
        "Cancelled",
        1,
        42,
    )


def test_a_task_that_has_ended_cannot_be_cancelled(
    client: Any, ended: Status, status: Status
) -> None:
    task_id = tasks.returning.delay(7).id
    task = ended(task_id)

    response = client.delete(f"/status/{task_id}")

    assert (response.status_code, response.mimetype) == (409, "application/problem+json")
    assert status(task_id) == task


# -- tracking a loop ---------------------------------------------------------------------------------


def test_a_loop_of_millions_of_turns_is_reported_ten_times_a_second_and_never_late(
    redis: Redis, status: Status, ended: Status
) -> None:
    # On a busy machine a report may be late, but not each time
    wait_until(lambda: is_reported_in_time(redis, status, ended))


def is_reported_in_time(redis: Redis, status: Status, ended: Status) -> bool:
    rows = 5_000_000
    task_id = str(uuid.uuid4())
    with every_store(redis, task_id) as stores:
        tasks.tracking_rows.apply_async((rows,), task_id=task_id)

        # When the loop stands still at its last row
        wait_until(lambda: len(tasks.evidence(redis, task_id)) == 2)
        began, stood_still = map(float, tasks.evidence(redis, task_id))

        # Then its status says so
        reaches(status, task_id, current=rows - 1, total=rows, status="Importing rows", percent=99)
        tasks.release(redis, task_id)
        assert ended(task_id)["result"] == rows
        wait_until(lambda: stores and b'"SUCCESS"' in stores[-1][1])
    reports = [(when, data) for when, data in stores if b'"PROGRESS"' in data]

    # And of the five million iterations before, only one per 100 ms was reported
    looks = (stood_still - began) / 0.1
    assert len(reports) <= looks + 2

    # And none of those reports is left out, and the last is stored at most 100 ms after the loop stood still
    stored_at, _ = next((when, data) for when, data in reports if b'"current": 4999999,' in data)
    return looks / 2 < len(reports) and stored_at - stood_still < 0.1 + 0.2


def test_a_loop_without_a_length_shows_its_message_alone(
    redis: Redis, status: Status, ended: Status
) -> None:
    task_id = tasks.tracking_what_has_no_length.delay().id

    task = reaches(status, task_id, status="Reading letters")
    assert (task["current"], task["total"], task["percent"]) == (0, 1, 0)

    tasks.release(redis, task_id)
    assert ended(task_id)["state"] == "SUCCESS"


def test_a_loop_without_a_length_can_be_told_its_total(
    redis: Redis, status: Status, ended: Status
) -> None:
    task_id = tasks.tracking_what_has_no_length.delay(total=8).id

    task = reaches(status, task_id, current=2)
    assert (task["total"], task["percent"], task["status"]) == (8, 25, "Reading letters")

    tasks.release(redis, task_id)
    assert ended(task_id)["state"] == "SUCCESS"


def test_a_loop_that_was_left_by_a_break_does_not_come_back(
    redis: Redis, status: Status, ended: Status
) -> None:
    task_id = tasks.tracking_after_a_break.delay().id

    reaches(status, task_id, status="Importing rows", current=3)
    seen = []
    wait_until(lambda: seen.append(status(task_id)["status"]) or len(seen) == 20)
    assert set(seen) == {"Importing rows"}

    tasks.release(redis, task_id)
    assert ended(task_id)["state"] == "SUCCESS"


def test_a_loop_that_fails_shows_the_very_row_at_which_it_stopped(ended: Status) -> None:
    task = ended(tasks.tracking_until_it_fails.delay().id)

    assert (task["state"], task["status"]) == ("FAILURE", "row 4 has no name")
    assert (task["current"], task["total"], task["percent"]) == (4, 10, 40)


def test_a_loop_is_left_when_its_task_is_cancelled(
    client: Any, redis: Redis, status: Status
) -> None:
    task_id = tasks.tracking_slowly.delay(rows=10_000, pause=0.02).id
    reaches(status, task_id, total=10_000)

    assert client.delete(f"/status/{task_id}").json["state"] == "REVOKED"

    wait_until(lambda: tasks.evidence(redis, task_id) == ["started", "stopped by itself"])


@pytest.mark.parametrize("value", [None, 0, "ä\n", {"row": [1, {"a": None}]}, "x" * 15_998])
def test_what_a_task_keeps_its_next_attempts_find(redis: Redis, ended: Status, value: Any) -> None:
    task_id = tasks.keeping.delay(value).id

    assert ended(task_id)["state"] == "SUCCESS"
    found = [json.loads(line) for line in tasks.evidence(redis, task_id)]
    assert found == [None, None, value, value, value, value]
    assert not redis.exists(f"longtask:checkpoint:{task_id}")


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("x" * 15_999, "ValueError: .* at most 16,000 bytes of JSON, not 16,001"),
        (b"bytes", "TypeError: .* not JSON serializable"),
        (float("nan"), "TypeError: .* not JSON compliant"),
        ({(1, 2): 3}, "TypeError: .* keys must be str"),
        ("\ud83d", "TypeError: .* surrogates not allowed"),
    ],
)
def test_what_cannot_be_kept_is_refused_everywhere(value: Any, error: str) -> None:
    name, _, words = error.partition(": ")
    with pytest.raises((TypeError, ValueError), match=words) as raised:
        tasks.keeping.checkpoint(value)
    assert type(raised.value).__name__ == name


def test_a_task_that_keeps_checkpoints_can_be_called_as_a_function_and_applied() -> None:
    from app import long_task  # noqa: PLC0415  # after the fixtures have set the environment

    assert long_task(2, 0)["result"] == 42
    assert long_task.apply((2, 0)).get()["result"] == 42
    assert long_task.last_checkpoint is None


@pytest.mark.parametrize("seconds", [0, -1, True, "5", float("nan"), float("inf")])
def test_a_stall_seconds_that_is_no_number_of_seconds_is_refused(app: Any, seconds: Any) -> None:
    celery = app.extensions["celery"]
    task = type("Odd", (Task,), {"name": "tests.odd", "stall_seconds": seconds})()
    with pytest.raises(ValueError, match=r"^The stall_seconds of tests\.odd must be a positive"):
        celery.register_task(task)
    assert "tests.odd" not in celery.tasks


def test_a_cancelled_task_stops_at_its_next_checkpoint(client: Any, redis: Redis) -> None:
    task_id = tasks.keeping_on.delay().id
    wait_until(lambda: redis.exists(f"longtask:checkpoint:{task_id}"))

    client.delete(f"/status/{task_id}")

    wait_until(lambda: "stopped by itself" in tasks.evidence(redis, task_id))
    assert not redis.exists(f"longtask:checkpoint:{task_id}")


def test_a_checkpoint_that_redis_does_not_take_is_logged_and_the_task_goes_on(
    app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    backend = app.extensions["celery"].backend
    request = Context(id=str(uuid.uuid4()))
    remember(request, Run("tests", "tests", 1, nonce="1", attempt=1))
    with mock.patch.dict(vars(backend), store=Store(Redis(port=free_port()))):
        assert backend.keep_checkpoint(request.id, b"1", request) is None

    assert f"A checkpoint of task {request.id} could not be stored: " in caplog.text


def test_a_task_called_as_a_plain_function_goes_through_its_loop_unreported() -> None:
    assert tasks.returning(7) == 7
    assert list(tasks.tracking_slowly.track("abc", "Reading letters")) == ["a", "b", "c"]


# -- when two workers run the same task ---------------------------------------------------------------


def test_the_record_refuses_what_an_attempt_writes_that_is_not_the_present_one(
    app: Any, queue: str, status: Status
) -> None:
    # Given a task that a second worker has started because the first was cut off
    backend = app.extensions["celery"].backend
    task_id = tasks.returning.apply_async([7], queue=queue).id

    def attempt(worker: str) -> Context:
        request = Context(id=task_id)
        run = Run("returning", worker, 1, nonce=worker)
        change = backend.start(task_id, run)
        remember(request, run._replace(attempt=change.attempt, started=change.now))
        return request

    def record(result: Any, state: str, request: Context) -> Outcome:
        outcome: Outcome = backend.store_state(task_id, result, state, request=request).outcome
        return outcome

    def stored() -> dict[str, Any]:
        return {**status(task_id), "eta": None}  # which changes with the time

    first, second = attempt("cut off"), attempt("heir")
    assert status(task_id)["attempt"] == 2
    record({"current": 5, "total": 10}, "PROGRESS", second)
    before = stored()

    # When the first attempt writes its progress or its end, then neither is stored
    for state, result in (("PROGRESS", {"current": 1, "total": 10}), ("SUCCESS", 1)):
        assert record(result, state, first) is Outcome.SUPERSEDED
        assert stored() == before

    # Nor can an attempt start with a message that its worker no longer holds
    late = Run("returning", "cut off, too", 1, nonce="late", tag="of a message held by another")
    assert backend.start(task_id, late).outcome is Outcome.SUPERSEDED
    assert stored() == before

    # And the end of the second attempt is stored
    record(2, "SUCCESS", second)
    assert (status(task_id)["state"], status(task_id)["result"]) == ("SUCCESS", 2)


# -- whether a worker is running ---------------------------------------------------------------------


def test_health_counts_the_workers_that_live_and_what_waits_for_one(
    folder: Path, redis_server: RedisServer
) -> None:
    apart = redis_server.url(database=1)
    web = WebServer("web-apart", folder, apart)

    def health() -> Any:
        response = requests.get(f"{web.url}/health", timeout=PATIENCE)
        return response.status_code, response.json()

    def status_at(address: str) -> tuple[str, str]:
        task = requests.get(address, timeout=PATIENCE).json()
        return task["state"], task["status"]

    try:
        # Given no worker
        addresses = []
        for _ in range(3):
            response = requests.post(
                f"{web.url}/longtask", json={"steps": 1, "delay": 0}, timeout=PATIENCE
            )
            addresses.append(response.headers["Location"])
        assert health() == (200, {"redis": "up", "workers": 0, "waiting": 3})

        # Then a task says what it waits for
        wait_until(lambda: status_at(addresses[0]) == ("PENDING", "Waiting: no worker is running"))

        # When a worker starts, it is counted and the tasks wait no more
        worker = Worker("worker-apart", folder, apart, "-c", "1", "--without-mingle")
        try:
            no_more = (200, {"redis": "up", "workers": 1, "waiting": 0})
            wait_until(lambda: health() == no_more, describe=health)
        finally:
            worker.stop()

        # And when the worker was killed without reporting it, it is soon no longer counted
        wait_until(lambda: health()[1]["workers"] == 0, describe=health)
    finally:
        web.stop()


def test_a_start_that_is_said_again_because_the_answer_was_lost_is_one_attempt(
    app: Any, monkeypatch: pytest.MonkeyPatch, status: Status
) -> None:
    # Given a Redis that stores what it is sent, but whose answers are lost
    backend = app.extensions["celery"].backend
    tasks_of_store = backend.patient_store.tasks
    change, lost = tasks_of_store.record_event, iter([True, True, True])

    def cut_off(*args: Any, **options: Any) -> Any:
        answer = change(*args, **options)
        if next(lost, False):
            raise RedisTimeoutError
        return answer

    monkeypatch.setattr(tasks_of_store, "record_event", cut_off)

    # When a worker starts a task, and retries until it gets an answer
    task_id = str(uuid.uuid4())
    started = backend.start(task_id, Run("tests", "tests", 1, nonce="1"))

    # Then that is its first attempt, and its worker was never lost
    assert (started.outcome, started.attempt, started.lost) == (Outcome.STORED, 1, 0)
    assert status(task_id)["attempt"] == 1
