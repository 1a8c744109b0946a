"""How old a process's information about the workers may be."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_longtask.store import Run
from flask_longtask.store.presence import CACHED, HOLD, CachedPresence, Presence
from flask_longtask.web.routes import POLL_SECONDS
from tests import tasks
from tests.processes import PATIENCE, wait_until


def test_a_page_tells_within_five_seconds_that_no_worker_is_running() -> None:
    assert HOLD + CACHED + POLL_SECONDS < 5


class Workers:
    """Answers each look with one worker more. During the second look, calls `meanwhile`."""

    def __init__(self, meanwhile: Callable[[], Any]) -> None:
        self.looks = 0
        self._meanwhile = meanwhile

    def look(self) -> Presence:
        self.looks += 1
        workers = frozenset(map(str, range(self.looks)))
        if self.looks == 2:
            self._meanwhile()
        return Presence(workers)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [100.0]
    monkeypatch.setattr("flask_longtask.store.presence.time.monotonic", lambda: clock[0])
    return clock


def test_who_comes_while_another_looks_is_told_what_was_seen_before(clock: list[float]) -> None:
    told = []
    workers: Any = Workers(lambda: told.append(len(presence.look().workers)))
    presence = CachedPresence(workers)
    presence.look()

    clock[0] += 1.5 * CACHED
    presence.look()

    assert told == [1]


def test_all_who_come_while_another_looks_share_the_next_look_if_that_is_too_old(
    clock: list[float],
) -> None:
    # Given a process that has seen the workers long ago, and one request that looks
    looking, waiting = threading.Event(), threading.Event()
    workers: Any = Workers(lambda: looking.set() or waiting.wait(PATIENCE))
    presence, told = CachedPresence(workers), []
    presence.look()
    clock[0] += 3 * CACHED
    threads = [
        threading.Thread(target=lambda: told.append(len(presence.look().workers)))
        for _ in range(20)
    ]
    first, *others = threads
    first.start()
    assert looking.wait(PATIENCE)

    # When many more come, as after the start of a server
    for thread in others:
        thread.start()
    wait_until(lambda: (batch := presence._looks._open) and len(batch.items) == len(others))
    waiting.set()
    for thread in threads:
        thread.join(PATIENCE)

    assert sorted(told) == [2, *[3] * len(others)]


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
