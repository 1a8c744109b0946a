"""What a client is told: every row of the contract's tables, every state, and anything else that may be stored."""

import json
import math
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from celery import states
from hypothesis import example, given
from hypothesis import strategies as st

from flask_longtask.json_text import dumps
from flask_longtask.record import load_record
from flask_longtask.status import (
    ENDED_STATES,
    LONGEST_MESSAGE,
    MOST_META_BYTES,
    UNREADABLE,
    Progress,
    describe,
)
from flask_longtask.status.sentences import Surroundings

TASK_ID = "5f0c1c1e-3f0b-4f6b-9b39-4f0f6a1b6f10"
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

ALL_STATES = sorted(states.ALL_STATES | {states.REJECTED, states.IGNORED})

#: The fields of the contract, in its order of meaning: the tutorial's four, then ours.
FIELDS = {
    *("state", "current", "total", "status", "result", "task_id", "task", "percent"),
    *("submitted", "started", "reported", "finished", "eta", "attempt", "meta"),
    "parts",
}


#: A worker that serves the queue `celery`; none serves `mails`.
SOMEBODY = Surroundings(NOW.timestamp(), frozenset({"w@h/7"}), frozenset({"celery"}))
#: Nothing is known about workers.
UNKNOWN = Surroundings(NOW.timestamp())


def told(
    meta: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
    around: Surroundings = UNKNOWN,
) -> dict[str, Any]:
    return describe(TASK_ID, meta or {}, load_record(dumps(record or {})) or {}, around)


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat()


def at(seconds: float) -> float:
    """The same time as `ago`, as records have it."""
    return NOW.timestamp() - seconds


def stored(state: str, result: Any = None, **more: Any) -> dict[str, Any]:
    """Celery's document of a task."""
    return {"task_id": TASK_ID, "status": state, "result": result, "traceback": None, **more}


def raised(exc_type: str, *arguments: Any, module: str = "builtins") -> dict[str, Any]:
    """An exception as Celery stores it."""
    return {"exc_type": exc_type, "exc_message": list(arguments), "exc_module": module}


def reached(current: float, total: float, message: str = "") -> dict[str, Any]:
    """Our record of a task that has reported this."""
    return {
        "task": "app.long_task",
        "progress": Progress(current, total, message).dump(),
        "attempt": 1,
    }


def bar(task: Mapping[str, Any]) -> tuple[float, float, int]:
    return task["current"], task["total"], task["percent"]


# -- the rows of the contract ------------------------------------------------------------------------


def test_a_task_that_was_submitted_waits() -> None:
    task = told(None, {"task": "app.long_task", "submitted": at(3)})

    assert task == {
        "state": "PENDING",
        "current": 0,
        "total": 1,
        "status": "Pending...",
        "result": None,
        "task_id": TASK_ID,
        "task": "long_task",
        "percent": 0,
        "submitted": ago(3),
        "started": None,
        "reported": None,
        "finished": None,
        "eta": None,
        "attempt": 0,
        "meta": None,
        "parts": None,
    }


def test_a_task_that_was_submitted_for_later_says_for_when() -> None:
    task = told(
        None,
        {
            "task": "app.long_task",
            "eta": datetime.fromisoformat("2026-03-01T14:30:00+01:00").timestamp(),
        },
    )

    assert (task["state"], task["status"]) == ("PENDING", "Scheduled for 2026-03-01T13:30:00Z")


def test_a_scheduled_task_whose_time_has_come_just_waits() -> None:
    assert told(None, {"eta": at(1)})["status"] == "Pending..."


@pytest.mark.parametrize(
    ("queue", "ahead", "sentence"),
    [
        ("celery", None, "Pending..."),
        ("celery", 0, "Pending..."),
        ("celery", 1, "Waiting: 1 task ahead"),
        ("celery", 1234, "Waiting: 1,234 tasks ahead"),
        ("mails", 1, "Waiting: no worker serves the queue mails"),
    ],
)
def test_a_waiting_task_says_what_it_waits_for(
    queue: str, ahead: int | None, sentence: str
) -> None:
    task = told(None, {"queue": queue}, SOMEBODY._replace(ahead=ahead))

    assert (task["state"], task["status"], bar(task)) == ("PENDING", sentence, (0, 1, 0))


def test_nobody_is_called_missing_while_it_is_not_known_who_is_there() -> None:
    just_back = SOMEBODY._replace(workers=None)

    assert told(None, {"queue": "mails"}, just_back)["status"] == "Pending..."


def test_a_task_whose_start_is_on_record_alone_is_told_as_progress() -> None:
    record = {"running": 1, "worker": "w@h/7", "attempt": 2, "retries": 1, "started": at(0)}
    task = told(None, record, SOMEBODY)

    assert (task["state"], task["status"], task["attempt"]) == ("PROGRESS", "Started", 2)


def test_the_bar_of_a_task_that_goes_on_from_a_checkpoint_never_falls() -> None:
    record = {**reached(30, 100), "checkpoint": 1, "attempt": 2}
    waits = told(None, record, SOMEBODY)
    runs = told(None, {**record, "running": 1, "worker": "w@h/7", "started": at(0)}, SOMEBODY)

    assert (waits["state"], waits["status"], bar(waits)) == (
        "PENDING",
        "Waiting to be started again",
        (30, 100, 30),
    )
    assert (runs["state"], runs["status"], bar(runs)) == ("PROGRESS", "Started", (30, 100, 30))
    assert bar(told(None, {**record, "checkpoint": None})) == (0, 1, 0)


def test_the_time_left_counts_only_what_this_attempt_has_done() -> None:
    def left(current: float, resumed: Any) -> Any:
        meta = stored("PROGRESS", {"current": current, "total": 100})
        return told(meta, {"started": at(20), "resumed": resumed, "resumed_at": at(10)})["eta"]

    assert left(40, 0.3) == pytest.approx(60)
    assert left(40, None) == left(40, "odd") == pytest.approx(15)
    assert left(30, 0.3) is None
    assert left(20, 0.3) is None  # it has gone back


def test_a_task_that_has_sent_itself_once_more_waits() -> None:
    record = {"running": 1, "resent": 1, "retries": 1, "eta": at(-60), "worker": "w@h/7"}
    task = told(None, record, SOMEBODY)

    assert task["state"] == "RETRY"
    assert task["status"] == "Waiting to try again (retry 1 at 2026-03-01T12:01:00Z)"


def test_a_cancelled_task_that_cannot_be_stopped_says_so_as_long_as_it_runs_on() -> None:
    revoked = stored("REVOKED", raised("TaskRevokedError", "cancelled"))
    record = {"cancelled": at(1), "ended": at(1), "running": 1, "unstoppable": 1}

    runs_on = told(revoked, record)["status"]
    assert runs_on == "Cancelled. Its worker cannot stop a running task, so it runs to its end."
    assert told(revoked, {**record, "running": 0})["status"] == "Cancelled"
    assert told(revoked, {**record, "unstoppable": 0})["status"] == "Cancelled"


def test_a_time_limit_that_a_pool_cannot_keep_is_told_once_it_is_over() -> None:
    record = {"running": 1, "worker": "w@h/7", "attempt": 1, "time_limit": 10}

    assert told(None, {**record, "started": at(9)}, SOMEBODY)["status"] == "Started"
    over = told(None, {**record, "started": at(11)}, SOMEBODY)["status"]
    assert over == "Started (over its time limit of 10 s, but its worker cannot stop it)"


@pytest.mark.parametrize(
    ("lost", "stalled", "words"),
    [
        (1, None, "its worker was lost"),
        (1, 1, "it stalled"),
        (3, 2, "it stalled and its worker was lost"),
    ],
)
def test_a_task_that_was_started_again_says_why(lost: int, stalled: Any, words: str) -> None:
    record = {"running": 1, "worker": "w@h/7", "lost": lost, "stalled": stalled}

    assert told(None, record, SOMEBODY)["status"] == f"Started (started again after {words})"


def test_a_silence_that_a_pool_cannot_end_is_told_once_it_is_too_long() -> None:
    record = {"running": 1, "worker": "w@h/7", "attempt": 1, "stall_seconds": 10}

    def told_after(started: float, reported: float | None) -> str:
        heard = {"started": at(started), "reported": reported and at(reported)}
        sentence: str = told(None, {**record, **heard}, SOMEBODY)["status"]
        return sentence

    words = "(silent for more than 10 s, but its worker cannot stop it)"
    assert told_after(9, None) == told_after(20, 9) == "Started"
    assert told_after(11, None) == told_after(20, 11) == f"Started {words}"


def test_a_task_that_nobody_knows_to_have_been_queued_has_failed() -> None:
    task = told(None, {"task": "app.long_task", "unsent": 1, "ended": at(1)})

    assert (task["state"], task["status"]) == ("FAILURE", "It could not be queued")


def test_a_task_that_was_to_follow_a_failed_one_says_that_it_was_not_started() -> None:
    meta = stored("FAILURE", {"exc_type": "ChordError", "exc_message": ["Dependency x raised E"]})
    sentence = "Not started, because an earlier task failed"
    assert told(meta, {"submitted": NOW.timestamp()})["status"] == sentence
    # Not one that was sent, that was run, or that other programs have sent
    for record in ({"nonce": "1", "submitted": 1.0}, {"attempt": 1, "submitted": 1.0}, {}):
        assert told(meta, record)["status"] == "Dependency x raised E"


def test_an_end_is_known_though_celerys_document_was_deleted() -> None:
    task = told(None, {"ended": at(1), "state": "SUCCESS", "attempt": 1})

    assert (task["state"], task["result"], task["percent"]) == ("SUCCESS", None, 100)
    assert task["finished"] == ago(1)


def test_a_sentence_is_cut_where_it_is_too_long() -> None:
    task = told(stored("PROGRESS", {"status": "x" * 5000}))

    assert task["status"] == "x" * LONGEST_MESSAGE


@pytest.mark.parametrize("state", ["STARTED", "RECEIVED"])
def test_a_task_that_was_taken_up_is_given_as_progress(state: str) -> None:
    task = told(stored(state, {"pid": 7, "hostname": "w@h"}), {"started": at(0), "attempt": 1})

    assert (task["state"], task["status"], bar(task)) == ("PROGRESS", "Started", (0, 1, 0))


def test_progress_is_told_as_the_task_reports_it() -> None:
    meta = {"current": 7, "total": 40, "status": "Folding the paper boats"}
    task = told(stored("PROGRESS", meta), {"started": at(7), "attempt": 1})

    assert (task["state"], task["status"], bar(task)) == (
        "PROGRESS",
        "Folding the paper boats",
        (7, 40, 17),
    )
    assert task["eta"] == pytest.approx(33)
    assert task["attempt"] == 1


def test_the_time_left_of_a_task_that_nobody_runs_is_not_known() -> None:
    meta = {"current": 7, "total": 40, "status": "Folding"}
    record = {"started": at(7), "attempt": 1, "running": 1, "worker": "w@h/7"}
    dead = {**record, "worker": "w@h/6"}
    again = {**record, "lost": 1, "attempt": 2}

    at_it, lost, taken_over = (
        told(stored("PROGRESS", meta), r, SOMEBODY) for r in (record, dead, again)
    )

    assert (at_it["status"], at_it["eta"]) == ("Folding", pytest.approx(33))
    assert (lost["status"], lost["eta"]) == (
        "Folding (its worker was lost; it will be started again)",
        None,
    )
    assert taken_over["status"] == "Folding (started again after its worker was lost)"
    assert taken_over["eta"] == pytest.approx(33)


@pytest.mark.parametrize(("sign", "is_known"), [(11, True), (9, False)])
@pytest.mark.parametrize("field", ["started", "reported"])
def test_a_worker_that_was_heard_after_the_workers_were_read_is_not_lost(
    field: str, sign: float, is_known: bool
) -> None:
    record = {"started": at(60), "running": 1, "worker": "new", field: at(sign)}

    task = told(None, record, SOMEBODY._replace(read_at=NOW.timestamp() - 10))

    assert ("worker was lost" in task["status"]) is is_known


def test_a_task_that_its_worker_does_not_know_says_so() -> None:
    task = told(stored("FAILURE", raised("NotRegistered", "shop.pack", module="celery.exceptions")))

    assert task["status"] == "The worker that received it has no task named shop.pack"
    assert told(stored("FAILURE", raised("NotRegistered")))["status"] == "NotRegistered"


def test_a_task_that_waits_for_a_retry_says_why_and_which_and_when() -> None:
    record = {
        **reached(3, 10),
        "retries": 1,
        "max_retries": 3,
        "eta": datetime.fromisoformat("2026-03-01T12:05:00+00:00").timestamp(),
    }
    task = told(stored("RETRY", raised("ConnectionError", "mail.example is away")), record)

    assert task["state"] == "RETRY"
    assert bar(task) == (3, 10, 30)
    assert task["status"] == "mail.example is away (retry 1 of 3 at 2026-03-01T12:05:00Z)"
    assert task["finished"] is None


def test_a_retry_without_a_limit_names_none() -> None:
    task = told(stored("RETRY", raised("ValueError", "no")), {"retries": 2, "eta": at(-60)})

    assert task["status"] == "no (retry 2 at 2026-03-01T12:01:00Z)"


def test_a_returned_dict_says_its_own_numbers_message_and_result() -> None:
    result = {"current": 40, "total": 40, "status": "Imported.", "result": 42}
    task = told(stored("SUCCESS", result, date_done=ago(0)), reached(39, 40))

    assert (task["state"], task["status"], task["result"]) == ("SUCCESS", "Imported.", 42)
    assert bar(task) == (40, 40, 100)
    assert task["finished"] == ago(0)
    assert task["eta"] is None


def test_a_returned_dict_without_numbers_fills_the_bar() -> None:
    task = told(stored("SUCCESS", {"result": [1]}), reached(39, 40))

    assert (task["status"], task["result"], bar(task)) == ("Task completed!", [1], (40, 40, 100))


def test_a_returned_dict_without_a_result_is_the_result() -> None:
    assert told(stored("SUCCESS", {"rows": 3}))["result"] == {"rows": 3}


@pytest.mark.parametrize("value", [None, 0, 42, -1.5, "", "done", [], [1, {"a": 2}], True, {}])
def test_any_other_returned_value_is_the_result(value: Any) -> None:
    task = told(stored("SUCCESS", value), reached(2, 5))

    assert (task["status"], task["result"], bar(task)) == ("Task completed!", value, (5, 5, 100))


def test_a_task_that_returns_before_its_bar_is_full_still_has_a_full_percentage() -> None:
    task = told(stored("SUCCESS", {"current": 1, "total": 4, "result": 1}))

    assert bar(task) == (1, 4, 100)


def test_a_failure_stops_where_the_task_was_and_tells_the_error_without_a_traceback() -> None:
    meta = stored("FAILURE", raised("ValueError", "row 8 has no name"), date_done=ago(1))
    task = told({**meta, "traceback": "Traceback (most recent call last): …"}, reached(7, 40))

    assert (task["state"], task["status"], bar(task)) == (
        "FAILURE",
        "row 8 has no name",
        (7, 40, 17),
    )
    assert task["result"] is None
    assert b"Traceback" not in dumps(task)


def test_a_failure_that_reported_nothing_has_the_tutorials_numbers_but_an_empty_bar() -> None:
    assert bar(told(stored("FAILURE", raised("ValueError", "no")))) == (1, 1, 0)


def test_a_failure_at_the_very_end_does_not_fill_the_bar() -> None:
    assert bar(told(stored("FAILURE", raised("ValueError", "no")), reached(40, 40))) == (40, 40, 99)


@pytest.mark.parametrize(
    ("stored_exception", "sentence"),
    [
        (raised("ValueError", "no such row"), "no such row"),
        (raised("ValueError"), "ValueError"),
        (raised("ValueError", ""), "ValueError"),
        (raised("KeyError", "name"), "'name'"),
        (
            raised("FileNotFoundError", 2, "No such file", "a.csv"),
            "[Errno 2] No such file: 'a.csv'",
        ),
        (raised("PaymentRefused", "card 4711", module="a_module.that_is_not_here"), "card 4711"),
        (
            raised("PaymentRefused", 7, None, module="a_module.that_is_not_here"),
            "PaymentRefused: 7",
        ),
        (
            raised("UnicodeDecodeError", "wrong arguments", 3),
            "UnicodeDecodeError: wrong arguments, 3",
        ),
        # Celery's stand-in for an exception that cannot be pickled, such as one of two arguments.
        (
            raised(
                "UnpickleableExceptionWrapper",
                "shop",
                "Refused",
                ["card 4711"],
                "Refused('card 4711')",
            ),
            "card 4711",
        ),
        (raised("UnpickleableExceptionWrapper", "odd"), "odd"),
        (raised("SystemExit", 3, 4), "SystemExit: 3, 4"),
        (raised("print", 3, 4), "print: 3, 4"),
        ({"exc_type": "ValueError", "exc_message": "a text"}, "a text"),
        ({"exc_type": None, "exc_message": None}, "None"),
        ({"exc_message": "a message alone"}, "a message alone"),
        ({"current": 3, "total": 5, "status": "stored by hand"}, "stored by hand"),
        ({}, "Failed"),
        ("a text", "a text"),
        ("", "Failed"),
        (None, "Failed"),
        (42, "42"),
    ],
)
def test_a_stored_error_is_told_in_words_whatever_it_is(
    stored_exception: Any, sentence: str
) -> None:
    assert told(stored("FAILURE", stored_exception))["status"] == sentence


def test_a_failure_that_a_task_stored_by_hand_keeps_its_numbers() -> None:
    assert bar(told(stored("FAILURE", {"current": 3, "total": 5, "status": "no"}))) == (3, 5, 60)


def test_a_cancelled_task_stops_where_it_was() -> None:
    record = {**reached(7, 40), "started": at(9), "ended": at(1), "cancelled": at(1)}
    task = told(
        stored("REVOKED", raised("TaskRevokedError", "cancelled"), date_done=ago(2)), record
    )

    assert (task["state"], task["status"], bar(task)) == ("REVOKED", "Cancelled", (7, 40, 17))
    assert (task["started"], task["finished"], task["eta"]) == (ago(9), ago(1), None)


def test_a_task_cancelled_before_it_started_has_an_empty_bar() -> None:
    assert bar(told(stored("REVOKED", raised("TaskRevokedError", "cancelled")))) == (0, 1, 0)


@pytest.mark.parametrize("reason", ["expired", ["expired"]])
def test_a_task_that_was_too_old_to_be_started_says_so(reason: Any) -> None:
    task = told(stored("REVOKED", {"exc_type": "TaskRevokedError", "exc_message": reason}))

    assert (task["state"], task["status"]) == ("REVOKED", "Expired before it was started")


@pytest.mark.parametrize(("state", "word"), [("REJECTED", "Rejected"), ("IGNORED", "Ignored")])
def test_a_rejected_or_ignored_task_stops_where_it_was_under_its_own_name(
    state: str, word: str
) -> None:
    task = told(stored(state), reached(7, 40))

    assert (task["state"], task["status"], bar(task)) == (state, word, (7, 40, 17))


def test_a_state_of_the_tasks_own_is_told_like_progress() -> None:
    meta = {"current": 3, "total": 4, "status": "Downloading the maps"}
    task = told(stored("DOWNLOADING", meta), {"started": at(30)})

    assert (task["state"], task["status"], bar(task)) == (
        "DOWNLOADING",
        "Downloading the maps",
        (3, 4, 75),
    )
    assert task["eta"] == pytest.approx(10)
    assert task["finished"] is None


@pytest.mark.parametrize(
    ("reported", "left"),
    # 10 of 40 took 8 s, so the others take 24 s.
    [(0, 24), (4, 20), (24, 0), (25, None), (-1, 24), (1000, 24)],
    ids=["just now", "before", "as long ago", "too long ago", "in the future", "another attempt"],
)
def test_the_time_left_is_counted_from_the_last_report_and_gone_when_it_is_over(
    reported: float, left: float | None
) -> None:
    started = 8 + reported if 0 <= reported < 100 else 8
    meta = stored("PROGRESS", {"current": 10, "total": 40})

    task = told(meta, {"started": at(started), "reported": at(reported)})

    assert task["eta"] == (left if left is None else pytest.approx(left))


def test_what_is_no_document_of_celerys_is_told_as_such() -> None:
    task = told({"status": UNREADABLE}, reached(7, 40))

    assert task["state"] == UNREADABLE
    assert task["status"] == "The stored data of this task cannot be read"
    assert bar(task) == (7, 40, 17)


def test_what_celerys_key_alone_does_not_say_is_null() -> None:
    meta = {"current": 1, "total": 2, "status": "Half"}
    task = told(stored("PROGRESS", meta), None)

    assert (task["state"], bar(task)) == ("PROGRESS", (1, 2, 50))
    unknown = ("task", "submitted", "started", "reported", "finished", "eta", "attempt", "meta")
    assert {field: task[field] for field in unknown} == dict.fromkeys(unknown)


def test_the_end_of_a_task_known_from_celerys_key_alone_is_celerys_time_in_utc() -> None:
    assert (
        told(stored("SUCCESS", 1, date_done="2026-03-01T10:00:00"))["finished"]
        == "2026-03-01T10:00:00+00:00"
    )
    assert (
        told(stored("FAILURE", 1, date_done="2026-03-01T10:00:00+02:00"))["finished"]
        == "2026-03-01T08:00:00+00:00"
    )


def test_celerys_extended_result_names_the_task() -> None:
    assert told(stored("SUCCESS", 1, name="shop.tasks.send_mail"))["task"] == "send_mail"


@pytest.mark.parametrize("state", ALL_STATES)
def test_every_state_of_celery_is_told_with_every_field(state: str) -> None:
    task = told(stored(state, {"current": 5, "total": 10, "status": "so"}), reached(5, 10))

    assert set(task) == FIELDS
    assert task["state"] == ("PROGRESS" if state in ("STARTED", "RECEIVED") else state)
    assert task["percent"] == {"SUCCESS": 100, "STARTED": 0, "RECEIVED": 0}.get(state, 50)
    assert task["status"]


@pytest.mark.parametrize("state", ALL_STATES)
def test_only_a_task_that_has_ended_has_an_end(state: str) -> None:
    task = told(stored(state, None, date_done=ago(0)), None)

    assert (task["finished"] is not None) == (state in ENDED_STATES)


# -- what else a task reports, and silence -----------------------------------------------------------


@pytest.mark.parametrize("state", ["PROGRESS", "RETRY", "SUCCESS", "FAILURE", "REVOKED"])
def test_what_else_a_task_has_reported_is_told_in_every_state(state: str) -> None:
    record = {**reached(7, 40), "reported": at(2), "meta": '{"rows":[1,2],"sure":true}'}
    task = told(stored(state, raised("ValueError", "no")), record)

    assert task["meta"] == {"rows": [1, 2], "sure": True}
    assert task["reported"] == ago(2)


def test_what_plain_celery_has_reported_is_told_as_well() -> None:
    meta = {"current": 1, "total": 2, "status": "Half", "rows": [1, 2], "price": Decimal("1.10")}

    assert told(stored("PROGRESS", meta))["meta"] == {"rows": [1, 2], "price": "1.10"}
    assert told(stored("PROGRESS", meta), {"task": "work"})["meta"] is not None
    assert told(stored("SUCCESS", meta))["meta"] is None  # a result is no report
    assert told(stored("PROGRESS", {**meta, "rows": "x" * MOST_META_BYTES}))["meta"] is None


def test_what_was_too_large_for_the_record_is_not_read_from_celerys_document() -> None:
    meta = {"current": 1, "total": 2, "status": "Half", "rows": [1, 2]}

    assert told(stored("PROGRESS", meta), {"reported": at(1)})["meta"] is None


@pytest.mark.parametrize(
    "text", [None, 7, "", "no JSON", "[]", "{}", "null", '{"a":' * 5000, f'"{"x" * 20_000}"']
)
def test_stored_meta_that_cannot_be_read_counts_as_none(text: Any) -> None:
    record = {"reported": at(1), "meta": text}

    assert told(stored("PROGRESS", {"current": 1, "total": 2}), record)["meta"] is None


@pytest.mark.parametrize(
    ("seconds", "addition"),
    [
        (59, ""),
        (60, " (nothing new for 1 min)"),
        (239, " (nothing new for 3 min)"),
        (7500, " (nothing new for 2 h 5 min)"),
        (3_600_000, " (nothing new for 1,000 h 0 min)"),
    ],
)
def test_a_task_that_had_been_reporting_says_for_how_long_it_is_silent(
    seconds: float, addition: str
) -> None:
    meta = {"current": 7, "total": 40, "status": "Folding"}
    record = {"running": 1, "worker": "w@h/7", "started": at(9e6), "reported": at(seconds)}

    assert told(stored("PROGRESS", meta), record, SOMEBODY)["status"] == f"Folding{addition}"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"reported": None}, "Folding"),  # it never said anything
        ({"started": at(90)}, "Folding"),  # an earlier attempt did
        ({"running": 0}, "Folding"),
        ({"worker": "w@h/6"}, "Folding (its worker was lost; it will be started again)"),
        ({"lost": 1}, "Folding (started again after its worker was lost) (nothing new for 2 min)"),
    ],
)
def test_only_a_task_that_runs_and_had_been_reporting_is_called_silent(
    change: Mapping[str, Any], sentence: str
) -> None:
    meta = {"current": 7, "total": 40, "status": "Folding"}
    record = {"running": 1, "worker": "w@h/7", "started": at(200), "reported": at(120), **change}

    assert told(stored("PROGRESS", meta), record, SOMEBODY)["status"] == sentence


def test_nobody_is_called_silent_while_it_is_not_known_who_is_there() -> None:
    record = {"running": 1, "worker": "w@h/7", "started": at(200), "reported": at(120)}
    around = SOMEBODY._replace(workers=None)

    assert told(stored("PROGRESS", {"status": "Folding"}), record, around)["status"] == "Folding"


def test_a_long_sentence_leaves_room_for_what_is_added_to_it() -> None:
    record = {"running": 1, "worker": "w@h/7", "started": at(200), "reported": at(120)}
    addition = " (nothing new for 2 min)"

    sentence = told(stored("PROGRESS", {"status": "x" * 5000}), record, SOMEBODY)["status"]

    assert sentence == "x" * (LONGEST_MESSAGE - len(addition)) + addition


# -- malformed progress ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meta", "expected", "message"),
    [
        (None, (0, 1, 0), ""),
        ("Half way", (0, 1, 0), "Half way"),
        ("", (0, 1, 0), ""),
        (42, (0, 1, 0), ""),
        (True, (0, 1, 0), ""),
        ([1, 2], (0, 1, 0), ""),
        ({}, (0, 1, 0), ""),
        ({"status": "Thinking"}, (0, 1, 0), "Thinking"),
        ({"status": 42, "current": 1, "total": 2}, (1, 2, 50), ""),
        ({"status": None, "current": 1, "total": 2}, (1, 2, 50), ""),
        ({"current": -3, "total": 10}, (0, 10, 0), ""),
        ({"current": 11, "total": 10}, (10, 10, 99), ""),
        ({"current": 10, "total": 10}, (10, 10, 99), ""),
        ({"current": 3, "total": 0}, (0, 1, 0), ""),
        ({"current": 3, "total": -10}, (0, 1, 0), ""),
        ({"current": 3}, (1, 1, 99), ""),
        ({"total": 10}, (0, 10, 0), ""),
        ({"current": "3", "total": "10"}, (0, 1, 0), ""),
        ({"current": None, "total": None}, (0, 1, 0), ""),
        ({"current": True, "total": 2}, (0, 1, 0), ""),
        ({"current": [3], "total": {}}, (0, 1, 0), ""),
        ({"current": math.nan, "total": 10}, (0, 1, 0), ""),
        ({"current": 3, "total": math.nan}, (0, 1, 0), ""),
        ({"current": math.inf, "total": 10}, (0, 1, 0), ""),
        ({"current": 3, "total": math.inf}, (0, 1, 0), ""),
        ({"current": 0.5, "total": 2}, (0.5, 2.0, 25), ""),
        ({"current": 999, "total": 1000}, (999, 1000, 99), ""),
        ({"current": 9.999, "total": 10}, (9.999, 10.0, 99), ""),
        ({"current": 2, "total": 10**400}, (2, 10**400, 0), ""),
        ({"current": 0.5, "total": 10**400}, (0, 1, 0), ""),
        ({"current": Decimal(3), "total": 10}, (0, 1, 0), ""),
    ],
)
def test_progress_that_makes_no_sense_never_breaks_the_bar(
    meta: Any, expected: Any, message: str
) -> None:
    task = told(stored("PROGRESS", meta))

    assert (task["state"], bar(task), task["status"]) == ("PROGRESS", expected, message)


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        "no JSON",
        "[]",
        "[1]",
        "[1,2,3,4]",
        "{}",
        '{"a":1,"b":2,"c":3}',
        "null",
        "[" * 5000,
    ],
)
def test_a_kept_progress_that_cannot_be_read_counts_as_none(text: Any) -> None:
    assert bar(told(stored("REVOKED"), {"progress": text})) == (0, 1, 0)


@pytest.mark.parametrize("attempt", ["2", None, -1, 1.5, math.nan, True, [], {}])
def test_an_attempt_that_is_no_count_is_not_told(attempt: Any) -> None:
    assert told(None, {"attempt": attempt})["attempt"] in (0, None)


def test_the_time_left_is_by_the_rate_so_far() -> None:
    def left(seconds: float, current: float, total: float) -> float | None:
        meta = stored("PROGRESS", {"current": current, "total": total})
        answer: float | None = told(meta, {"started": at(seconds)})["eta"]
        return answer

    assert left(10, 1, 4) == pytest.approx(30)
    assert left(10, 4, 4) == pytest.approx(0)
    assert left(10, 0, 4) is None
    assert left(-10, 1, 4) is None  # started in the future: the clocks disagree


# -- anything at all ---------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(
        [10**400, "2026-03-01T12:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
    )
    | st.datetimes()
    | st.decimals()
    | st.uuids()
    | st.binary(),
    lambda children: (
        st.lists(children)
        | st.dictionaries(
            st.text()
            | st.sampled_from(["current", "total", "status", "result", "exc_type", "exc_message"]),
            children,
        )
    ),
    max_leaves=12,
)
state_values = st.sampled_from([*ALL_STATES, UNREADABLE, "DOWNLOADING", ""]) | json_values
meta_documents = st.none() | st.dictionaries(
    st.sampled_from(["status", "result", "date_done", "name", "traceback"]), json_values
).flatmap(lambda meta: state_values.map(lambda state: {**meta, "status": state}))
record_fields = [
    *(
        "task",
        "submitted",
        "queue",
        "number",
        "eta",
        "retries",
        "max_retries",
        "attempt",
        "started",
    ),
    *("worker", "pid", "running", "lost", "progress", "reported", "meta", "cancelled", "ended"),
    *("checkpoint", "resumed", "resumed_at", "stalled", "stall_seconds", "time_limit"),
]
record_documents = st.none() | st.dictionaries(
    st.sampled_from(record_fields), json_values | json_values.map(repr) | st.just("celery")
)


@given(meta_documents, record_documents, st.sampled_from([UNKNOWN, SOMEBODY]))
@example({"status": "SUCCESS", "date_done": "0001-01-01T00:00:00+14:00"}, None, UNKNOWN)
@example(None, {"eta": "9999-12-31T23:59:59-14:00"}, UNKNOWN)
@example(None, {"eta": 1e300}, UNKNOWN)
@example(
    {"status": "PROGRESS", "result": {"current": 5e-324, "total": 1e308}},
    {"started": at(9)},
    UNKNOWN,
)
@example(
    {"status": "PROGRESS", "result": {"current": 1, "total": 10**400}}, {"started": at(9)}, UNKNOWN
)
@example(None, {"queue": ["celery"], "number": 7}, SOMEBODY)
@example({"status": "PROGRESS"}, {"worker": ["w@h/7"], "running": 1}, SOMEBODY)
def test_whatever_is_stored_the_bar_is_a_bar_and_the_answer_is_json(
    meta: Any, record: Any, around: Surroundings
) -> None:
    task = told(meta, record, around)

    assert set(task) == FIELDS
    assert 0 <= task["current"] <= task["total"]
    assert task["total"] > 0
    assert type(task["percent"]) is int
    assert 0 <= task["percent"] <= 100
    assert (task["percent"] == 100) == (task["state"] == "SUCCESS")
    assert isinstance(task["state"], str)
    assert isinstance(task["status"], str)
    for field in ("task", "submitted", "started", "reported", "finished"):
        assert task[field] is None or isinstance(task[field], str)
    assert task["eta"] is None or 0 <= task["eta"] < math.inf
    assert task["attempt"] is None or type(task["attempt"]) is int
    assert task["meta"] is None or isinstance(task["meta"], dict)
    json.loads(dumps(task), parse_constant=pytest.fail)


@given(value=json_values)
def test_every_value_is_written_as_json_that_browsers_read(value: Any) -> None:
    json.loads(dumps(value), parse_constant=pytest.fail)


def test_values_that_json_has_no_type_for_are_written_as_text() -> None:
    number = uuid.UUID(TASK_ID)
    document = {"at": NOW, "price": Decimal("1.10"), "id": number, "nothing": [math.nan, math.inf]}

    assert json.loads(dumps(document)) == {
        "at": "2026-03-01T12:00:00Z",
        "price": "1.10",
        "id": TASK_ID,
        "nothing": [None, None],
    }


def test_values_nested_too_deeply_to_be_written_are_cut_off() -> None:
    value: Any = "bottom"
    for _ in range(100_000):  # Python 3.13 writes 9,000
        value = [value]

    text = dumps({"result": value})

    assert b"bottom" not in text
    assert json.loads(text)["result"]


@given(current=json_values, total=json_values, message=json_values)
def test_progress_that_was_kept_is_read_as_it_was(current: Any, total: Any, message: Any) -> None:
    progress = Progress.of({"current": current, "total": total, "status": message})

    assert Progress.load(progress.dump()) == progress
