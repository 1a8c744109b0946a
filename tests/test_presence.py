"""How old a process's information about the workers may be."""

from typing import Any

import pytest
from flask import Flask

from flask_longtask.store import Run
from flask_longtask.store.presence import CACHED, HOLD, CachedPresence, Presence
from flask_longtask.web.routes import POLL_SECONDS
from tests import tasks


def test_a_page_tells_within_five_seconds_that_no_worker_is_running() -> None:
    assert HOLD + CACHED + POLL_SECONDS < 5


@pytest.mark.parametrize(("age", "expected"), [(1.5 * CACHED, 1), (3 * CACHED, 3)])
def test_who_comes_while_another_looks_is_told_what_was_seen_before_unless_that_is_too_old(
    monkeypatch: pytest.MonkeyPatch, age: float, expected: int
) -> None:
    # Given a process that has seen one worker, some time ago
    class Workers:
        looks = 0
        meanwhile: list[int] = []  # noqa: RUF012

        def look(self) -> Presence:
            self.looks += 1
            look = self.looks
            if look == 2:  # another caller asks during the second look
                self.meanwhile.append(len(presence.look().workers))
            return Presence(frozenset(map(str, range(look))))

    workers: Any = Workers()
    presence, clock = CachedPresence(workers), [100.0]
    monkeypatch.setattr("flask_longtask.store.presence.time.monotonic", lambda: clock[0])
    assert len(presence.look().workers) == 1

    # When two ask at the same moment
    clock[0] += age
    presence.look()

    assert workers.meanwhile == [expected]


def test_the_task_of_a_worker_that_has_just_started_is_not_told_to_be_lost(app: Flask) -> None:
    backend = app.extensions["celery"].backend
    with app.app_context():
        task_id = tasks.noting.apply_async(queue="unserved-presence").id
        backend.describe([task_id])  # reads which workers there are

        backend.store.workers.beat("newborn", "newborn@h", ["unserved-presence"], lapse=20)
        run = Run("tests.tasks.noting", "newborn", 1, "run", "unserved-presence")
        backend.start(task_id, run)
        status = backend.describe([task_id])[task_id]
        backend.store.workers.forget("newborn")

    assert status["status"] == "Started"
