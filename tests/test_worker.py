"""What a worker decides about the tasks that run in it, by what is on record about them."""

import os
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from flask_longtask.backend import Stored
from flask_longtask.worker import Watch

HERE = f"w@tests/{os.getpid()}"


class Request(SimpleNamespace):
    """A task that runs in process 7 of this worker."""

    terminated = False

    def __init__(self, deliveries: int | None) -> None:
        headers = {"longtask_deliveries": deliveries}
        message = SimpleNamespace(headers=headers)
        super().__init__(id="1", time_start=1.0, worker_pid=7, message=message)

    def humaninfo(self) -> str:
        return "a task"

    def cancel(self, pool: Any, emit_retry: bool) -> None:
        self.terminated = True


def record(worker: str, pid: int, deliveries: int) -> dict[str, Any]:
    return {"running": 1, "worker": worker, "pid": pid, "deliveries": deliveries}


def is_terminated(
    monkeypatch: pytest.MonkeyPatch, request: Request, *records: dict[str, Any]
) -> bool:
    """Whether a worker that finds these one after the other ends the task."""
    found = iter(records)
    consumer = SimpleNamespace(
        hostname="w@tests",
        pool=SimpleNamespace(maintain_pool=lambda: None),
        app=SimpleNamespace(
            backend=SimpleNamespace(read=lambda task_ids: [Stored(None, next(found))])
        ),
    )
    monkeypatch.setattr(state, "active_requests", [request])
    watch = Watch(consumer)
    for _ in records:
        watch._look(consumer)
    return request.terminated


# The worker whose attempt was on record before, or is now, is called other.


def test_a_task_that_was_just_taken_over_is_not_ended_before_it_is_on_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other, ours = record("other/1", 7, 0), record(HERE, 7, 1)

    assert not is_terminated(monkeypatch, Request(1), other, other, ours, ours)


@pytest.mark.parametrize("deliveries", [None, 1])
def test_nor_where_the_broker_does_not_count(
    monkeypatch: pytest.MonkeyPatch, deliveries: int | None
) -> None:
    other, ours = record("other/1", 7, 0), record(HERE, 7, 0)

    assert not is_terminated(monkeypatch, Request(deliveries), other, other, ours, ours)


def test_a_copy_whose_message_was_handed_out_again_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert is_terminated(monkeypatch, Request(0), record("other/1", 7, 1))


@pytest.mark.parametrize("other", [("other/1", 7), (HERE, 8)])
def test_a_copy_that_was_the_present_attempt_and_is_no_more_is_ended(
    monkeypatch: pytest.MonkeyPatch, other: tuple[str, int]
) -> None:
    assert is_terminated(monkeypatch, Request(None), record(HERE, 7, 0), record(*other, 0))
