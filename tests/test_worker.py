"""What a worker decides about its running tasks by their records."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from flask_longtask.celery.attempt import WORKER_ID
from flask_longtask.celery.worker.watch import Watch
from flask_longtask.store import Stored
from tests import tasks


class Request(SimpleNamespace):
    """A task that runs in process 7 of this worker."""

    terminated = acknowledged = False

    def __init__(self) -> None:
        message = SimpleNamespace(delivery_tag="tag", channel="a channel")
        task = SimpleNamespace(stall_seconds=None)
        super().__init__(id="1", time_start=1.0, worker_pid=7, message=message, task=task)

    def humaninfo(self) -> str:
        return "a task"

    def cancel(self, pool: Any, signal: str, emit_retry: bool) -> None:
        self.terminated = True

    def acknowledge(self) -> None:
        self.acknowledged = True


def record(worker: str, pid: int) -> dict[str, Any]:
    return {"running": 1, "worker": worker, "pid": pid}


def is_terminated(
    monkeypatch: pytest.MonkeyPatch,
    *records: dict[str, Any],
    held: set[str] | None = None,
    channel: str = "a channel",
) -> bool:
    """Whether a worker that reads these records one after the other ends the task.

    `held` are the messages that the worker holds; None with a broker that keeps them itself. `channel` is the channel
    on which its messages come now.
    """
    messages = SimpleNamespace(held=lambda worker: held)
    request, found = Request(), iter(records)
    consumer = SimpleNamespace(
        pool=SimpleNamespace(maintain_pool=lambda: None),
        task_consumer=SimpleNamespace(channel=channel),
        app=SimpleNamespace(
            backend=SimpleNamespace(
                read=lambda task_ids: [Stored(None, next(found))],
                store=SimpleNamespace(clock=SimpleNamespace(now=lambda: 0.0)),
            ),
            message_store=None if held is None else SimpleNamespace(messages=messages),
        ),
    )
    monkeypatch.setattr(state, "active_requests", [request])
    watch = Watch(consumer)
    for _ in records:
        watch._look(consumer)
    # An ended task's message is acknowledged, so that it does not count as held; no other message is
    assert request.acknowledged == request.terminated
    return request.terminated


OTHER, OURS = record("another", 7), record(WORKER_ID, 7)


@pytest.mark.parametrize("held", [None, {"tag"}])
def test_a_task_that_was_just_taken_over_is_not_ended_before_it_is_on_record(
    monkeypatch: pytest.MonkeyPatch, held: set[str] | None
) -> None:
    assert not is_terminated(monkeypatch, OTHER, OTHER, OURS, OURS, held=held)


def test_a_copy_whose_message_was_handed_to_another_worker_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert is_terminated(monkeypatch, OTHER, held={"another tag"})
    assert is_terminated(monkeypatch, OTHER, channel="another channel")


@pytest.mark.parametrize("other", [OTHER, record(WORKER_ID, 8)])
def test_a_copy_that_was_the_present_attempt_and_is_no_more_is_ended(
    monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    assert is_terminated(monkeypatch, OURS, other)


@pytest.mark.usefixtures("worker")
def test_the_processes_of_a_worker_share_what_it_has_loaded(
    ended: Callable[[str], dict[str, Any]],
) -> None:
    task = ended(tasks.counting_shared_objects.delay().id)
    assert task["result"] > 100_000
