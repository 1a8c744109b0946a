"""What `flask_longtask.testing` gives to the tests of an app: its tasks run, and there is no Redis."""

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import celery
import pytest
from celery.app import app_or_default, default_app
from celery.exceptions import ImproperlyConfigured
from celery.result import AsyncResult
from celery.signals import worker_shutdown
from flask import Flask
from flask.testing import FlaskClient
from kombu.exceptions import OperationalError

from flask_longtask import QueueAway, accepted
from flask_longtask.testing import eager, worker
from flask_longtask.testing.plugin import longtask_eager, longtask_worker
from tests.own_site import NOWHERE, Site
from tests.processes import PATIENCE, ROOT, wait_until

__all__ = ["longtask_eager", "longtask_worker"]

WAIT = {"Prefer": f"wait={PATIENCE:.0f}"}

#: How each of them ends, wherever it runs.
ENDS: dict[str, dict[str, Any]] = {
    "add": {"state": "SUCCESS", "result": 3, "current": 2, "total": 2, "percent": 100},
    "breaks": {"state": "FAILURE", "status": "The shelf is empty", "current": 3, "total": 10},
    "breaks_after_a_report": {"state": "FAILURE", "status": "Nothing there", "percent": 25},
    "succeeds_at_last": {"state": "SUCCESS", "result": 2, "attempt": 3},
    "never_succeeds": {"state": "FAILURE", "status": "No answer", "attempt": 5},
    "succeeds_silently": {"state": "SUCCESS", "result": None, "attempt": 5},
    "is_cancelled": {"state": "REVOKED", "status": "Cancelled"},
    "ignores": {"state": "IGNORED", "status": "Ignored"},
    "is_ignored_by_its_base": {"state": "IGNORED", "status": "Ignored"},
    "is_ended_by_its_base": {"state": "FAILURE", "status": "The task was ended by SystemExit: 3"},
    "raises_retry": {
        "state": "FAILURE",
        "status": "Retry was raised, but nothing was sent to try the task again: call self.retry() instead.",
    },
    "calls_itself": {"state": "SUCCESS", "result": "back at 2", "total": 4},
    "rejects": {"state": "FAILURE", "status": "Rejected: not for me"},
    "exits": {"state": "FAILURE", "status": "The task was ended by SystemExit: 3"},
    "chain": {"state": "SUCCESS", "result": 10},
    "chord": {"state": "SUCCESS", "result": 10},
    "on_commit": {"state": "SUCCESS", "result": 2},
}

#: What a worker does besides, and Celery's own eager mode does not.
ENDS_BY_MESSAGES: dict[str, dict[str, Any]] = {
    "add_too_late": {"state": "REVOKED", "attempt": 0},
    "broken_chain": {
        "state": "FAILURE",
        "status": "Step 1 of 2, breaks, failed: The shelf is empty",
    },
    "broken_chord": {"state": "FAILURE"},
    "replaces_itself": {"state": "SUCCESS", "result": 23},
    "sees_the_request": {"state": "SUCCESS", "result": False},
}


@pytest.fixture
def site() -> Iterator[Site]:
    before = app_or_default()
    yield Site()
    before.set_default()


@pytest.fixture
def app(site: Site) -> Flask:
    return site.app


def ended(client: FlaskClient, name: str, **headers: str) -> dict[str, Any]:
    """A task's end, as a client is told of it that has started it."""
    started = client.post(f"/start/{name}", headers=headers)
    assert started.status_code == 202, started.text
    return dict(client.get(started.location, headers=WAIT).get_json())


def states_of_parts(client: FlaskClient, location: str) -> list[str]:
    return [part["state"] for part in client.get(f"{location}/parts").get_json()["parts"]]


def shows(client: FlaskClient, location: str, end: dict[str, Any]) -> bool:
    status = client.get(location).get_json()
    return {**status, **end} == status


# -- in the call that starts it ----------------------------------------------------------------------


@pytest.mark.usefixtures("longtask_eager")
@pytest.mark.parametrize("name", ENDS | ENDS_BY_MESSAGES)
def test_a_task_has_ended_when_its_start_is_answered(client: FlaskClient, name: str) -> None:
    started = client.post(f"/start/{name}")

    assert started.status_code == 202
    status = client.get(started.location).get_json()
    assert {**status, **(ENDS | ENDS_BY_MESSAGES)[name]} == status
    # The answer said so already.
    assert started.get_json() == status


@pytest.mark.usefixtures("longtask_eager")
def test_a_group_has_one_end_and_so_has_each_of_its_tasks(client: FlaskClient) -> None:
    started = client.post("/start/group")

    assert started.get_json() == client.get(started.location).get_json()
    assert started.get_json()["status"] == "Part 2 of 2, breaks, failed: The shelf is empty"
    assert states_of_parts(client, started.location) == ["FAILURE", "SUCCESS"]


@pytest.mark.usefixtures("longtask_eager")
def test_what_a_task_starts_has_ended_too(client: FlaskClient, site: Site) -> None:
    inner = ended(client, "starts_another")["result"]

    assert client.get(f"/status/{inner}").get_json()["result"] == 23
    assert site.runs == ["add"]


@pytest.mark.usefixtures("longtask_eager")
def test_a_countdown_is_not_waited_for(client: FlaskClient) -> None:
    assert ended(client, "add_later")["state"] == "SUCCESS"


def test_a_task_is_run_without_a_request_as_well(site: Site, longtask_eager: Any) -> None:
    assert site.add.delay(1, 2).get(timeout=PATIENCE) == 3
    assert longtask_eager is site.celery


@pytest.mark.usefixtures("longtask_eager")
def test_a_task_of_another_app_waits_for_it(client: FlaskClient) -> None:
    assert client.post("/start/elsewhere").get_json()["state"] == "PENDING"


@pytest.mark.usefixtures("longtask_eager")
def test_all_other_routes_work(client: FlaskClient) -> None:
    location = client.post("/start/add").location

    assert client.get("/health").get_json() == {"redis": "up", "workers": 0, "waiting": 0}
    assert [task["task"] for task in client.get("/tasks").get_json()["tasks"]] == ["add"]
    assert client.delete(location).status_code == 409
    events = client.get(location, headers={"Accept": "text/event-stream"}).text
    assert '"SUCCESS"' in events
    assert client.get("/status/unknown").status_code == 404


@pytest.mark.usefixtures("longtask_eager")
def test_a_key_stands_for_its_first_task(client: FlaskClient, site: Site) -> None:
    key = {"Idempotency-Key": "4711"}

    first, again = ended(client, "add", **key), ended(client, "add", **key)

    assert first == again
    assert site.runs == ["add"]


def test_what_a_task_raises_comes_out_of_its_start_where_that_is_asked_for(
    client: FlaskClient, longtask_eager: Any
) -> None:
    longtask_eager.conf.task_eager_propagates = True

    with pytest.raises(ValueError, match="The shelf is empty"):
        client.post("/start/breaks")

    assert ended(client, "succeeds_at_last")["state"] == "SUCCESS"


@pytest.mark.usefixtures("longtask_eager")
def test_what_ends_a_test_ends_it_from_within_a_task(site: Site) -> None:
    @site.celery.task(shared=False)
    def fails() -> None:
        pytest.fail("as asked")

    with pytest.raises(pytest.fail.Exception, match="as asked"):
        fails.delay()


def test_an_app_is_what_it_was_afterwards_and_nothing_is_kept(site: Site) -> None:
    client, conf = site.app.test_client(), site.celery.conf
    conf.task_always_eager = True
    before = type(site.celery), type(site.celery.amqp)

    with eager(site.app):
        location = client.post("/start/add").location
    with eager(site.app):
        assert client.get(location).status_code == 404

    assert (type(site.celery), type(site.celery.amqp)) == before
    assert conf.task_always_eager
    with site.app.app_context(), pytest.raises(OperationalError):
        site.add.delay(1, 2)


@pytest.mark.usefixtures("longtask_eager")
def test_threads_that_start_tasks_at_the_same_time_have_them_ended(site: Site) -> None:
    results: list[Any] = []
    start = threading.Barrier(4)

    def run() -> None:
        start.wait()
        with site.app.app_context():
            results.append(site.add.delay(1, 2))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.state for result in results] == ["SUCCESS"] * 4


# -- in a worker's thread ----------------------------------------------------------------------------


@pytest.mark.usefixtures("longtask_worker")
def test_a_worker_runs_what_is_started(client: FlaskClient) -> None:
    expected = ENDS | ENDS_BY_MESSAGES
    for name, end in expected.items():
        location = client.post(f"/start/{name}").location
        client.get(location, headers=WAIT)
        # A cancelled task that runs in a thread has another status until it reports again, and so stops.
        wait_until(
            partial(shows, client, location, end), describe=lambda at=location: client.get(at).text
        )


@pytest.mark.usefixtures("longtask_worker")
def test_a_stream_tells_of_a_running_task(client: FlaskClient, site: Site) -> None:
    started = client.post("/start/waits")
    stream = client.get(started.location, headers={"Accept": "text/event-stream"})
    events: list[str] = []
    try:
        for event in stream.iter_encoded():
            events.append(event.decode())
            if '"Waiting"' in events[-1]:
                site.release.set()
    finally:
        site.release.set()
        stream.close()

    assert '"released"' in events[-1]
    assert any('"Waiting"' in event for event in events)


@pytest.mark.usefixtures("longtask_worker")
def test_a_running_task_that_is_cancelled_stops_at_its_next_report(
    client: FlaskClient, site: Site
) -> None:
    location = client.post("/start/waits").location
    try:
        wait_until(lambda: client.get(location).get_json()["status"] == "Waiting")
        assert client.delete(location).get_json()["state"] == "REVOKED"
        waiting = client.post("/start/add").location
    finally:
        site.release.set()

    # The worker goes on with what waits.
    assert client.get(waiting, headers=WAIT).get_json()["result"] == 3
    assert client.get(location).get_json()["state"] == "REVOKED"


def test_a_result_may_be_collected_in_the_middle_of_a_command(site: Site) -> None:
    """Celery's AsyncResult.__del__ unsubscribes, in whatever thread the garbage collector runs."""

    def collect() -> None:
        result = site.ways["waits"]()
        result.then(print, weak=True)
        result.myself = result
        del result
        with lock:
            gc.collect()

    with worker(site.app):
        lock = site.celery.backend.connparams["server"].lock
        thread = threading.Thread(target=collect, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        has_ended = not thread.is_alive()
        if not has_ended:
            lock.release()
        site.release.set()
        assert has_ended


def test_a_worker_leaves_nothing_behind(site: Site) -> None:
    client, threads = site.app.test_client(), {*threading.enumerate()}
    shutdowns: list[Any] = []

    def note(**_: Any) -> None:
        shutdowns.append(1)

    worker_shutdown.connect(note)
    # Another app is the default, and this one the current
    site.celery.set_current()
    celery.Celery("other", set_as_current=False).set_default()
    site.celery.conf.task_always_eager = True
    with worker(site.app, concurrency=2):
        assert client.get("/health").get_json()["workers"] == 1
        assert ended(client, "add")["state"] == "SUCCESS"

    assert shutdowns == [1]
    assert app_or_default() is site.celery
    assert default_app.main == "other"
    assert site.celery.conf.task_always_eager
    wait_until(lambda: {*threading.enumerate()} <= threads, describe=threading.enumerate)
    with worker(site.app):
        assert ended(client, "add")["state"] == "SUCCESS"


# -- by Celery's own setting -------------------------------------------------------------------------


@pytest.fixture
def always_eager(longtask_eager: Any) -> Any:
    """Celery's own eager mode, with the records where they can be had."""
    longtask_eager.conf.task_always_eager = True
    return longtask_eager


@pytest.mark.usefixtures("always_eager")
@pytest.mark.parametrize("name", ENDS)
def test_with_task_always_eager_a_bar_ends(client: FlaskClient, name: str) -> None:
    status = ended(client, name)
    assert {**status, **ENDS[name]} == status


@pytest.mark.usefixtures("always_eager")
def test_with_task_always_eager_each_task_of_a_group_has_its_own_end(client: FlaskClient) -> None:
    started = client.post("/start/group")

    assert started.status_code == 202
    assert states_of_parts(client, started.location) == ["FAILURE", "SUCCESS"]


@pytest.mark.usefixtures("always_eager")
def test_with_task_always_eager_what_a_task_starts_has_a_record(client: FlaskClient) -> None:
    inner = ended(client, "starts_another")["result"]
    assert client.get(f"/status/{inner}").get_json()["result"] == 23


@pytest.mark.usefixtures("always_eager")
def test_with_task_always_eager_a_key_stands_for_its_first_task(
    client: FlaskClient, site: Site
) -> None:
    key = {"Idempotency-Key": "4711"}

    assert ended(client, "add", **key) == ended(client, "add", **key)
    assert site.runs == ["add"]


@pytest.mark.parametrize(
    ("name", "error", "attempts"), [("breaks", ValueError, 1), ("never_succeeds", OSError, 5)]
)
def test_with_task_eager_propagates_a_bar_ends_and_the_error_is_raised(
    client: FlaskClient, site: Site, always_eager: Any, name: str, error: type, attempts: int
) -> None:
    always_eager.conf.task_eager_propagates = True

    with pytest.raises(error):
        site.ways[name]()

    (key,) = always_eager.backend.store.client.keys("longtask:task:*")
    status = client.get(f"/status/{key.decode().removeprefix('longtask:task:')}").get_json()
    assert {**status, **ENDS[name]} == status
    assert status["attempt"] == attempts
    assert ended(client, "succeeds_at_last")["state"] == "SUCCESS"


# -- without any of it -------------------------------------------------------------------------------


def test_a_task_is_a_function_and_can_be_applied_without_redis(site: Site) -> None:
    for _ in range(2):  # each time in the app's context
        assert site.names_its_app() == "own_site"
    assert site.names_its_app.apply().get() == "own_site"
    assert site.add(1, 2) == 3
    assert site.add.apply((1, 2)).get() == 3
    with pytest.raises(ValueError, match="The shelf is empty"):
        site.breaks()


def test_what_was_only_applied_is_no_started_task(site: Site) -> None:
    message = r"^The task was run with apply\(\), which records nothing. Start it with delay"
    result = site.add.apply((1, 2))
    with site.app.test_request_context(), pytest.raises(RuntimeError, match=message):
        accepted(result)


def test_without_redis_a_task_that_is_run_at_once_cannot_be_started(site: Site) -> None:
    site.celery.conf.task_always_eager = True

    with pytest.raises(QueueAway, match=r"Error 111 connecting to 127\.0\.0\.1:1"):
        site.add.delay(1, 2)

    assert site.app.test_client().post("/start/add").status_code == 503
    assert site.runs == []


def test_a_mocked_delay_is_told_for_what_it_is(site: Site) -> None:
    message = r"^accepted\(\) takes what delay\(\) returns, .*, not MagicMock\.$"
    with site.app.test_request_context(), pytest.raises(TypeError, match=message):
        accepted(mock.MagicMock())


def test_a_mocked_delay_that_returns_a_result_is_told_for_what_it_is(site: Site) -> None:
    result = AsyncResult("made-up", app=site.celery)
    with (
        eager(site.app),
        site.app.test_request_context(),
        pytest.raises(RuntimeError, match=r"^Task made-up was not recorded: .* it was not sent\.$"),
    ):
        accepted(result)


def test_results_in_memory_are_refused_by_a_sentence() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^'result_backend' .* not 'cache\+memory:"):
        Site(broker_url="memory://", result_backend="cache+memory://")


def test_an_app_without_the_extension_is_told_so() -> None:
    message = r"^The app 'plain' has no LongTask: call LongTask\(app\) first\.$"
    with pytest.raises(RuntimeError, match=message), eager(Flask("plain")):
        pass


def test_one_of_them_at_a_time(site: Site) -> None:
    message = r"^The Celery app 'own_site' is in eager\(\) or worker\(\) already\.$"
    with eager(site.app), pytest.raises(RuntimeError, match=message), worker(site.app):
        pass


# -- as pytest's plugin ------------------------------------------------------------------------------

PROJECT = """
import pytest
from celery import shared_task
from flask import Flask
from flask_longtask import LongTask, accepted


@shared_task(bind=True)
def double(self, number):
    self.update_state(meta={"current": 1, "total": 2, "status": "Doubling"})
    if number > 3:
        raise ValueError("Too much")
    return 2 * number


@pytest.fixture
def app():
    app = Flask(__name__)
    app.config["CELERY"] = {"broker_url": "NOWHERE", "result_backend": "NOWHERE"}
    LongTask(app)

    @app.post("/double/<int:number>")
    def start(number):
        return accepted(double.delay(number))

    return app


@pytest.mark.parametrize(("number", "state"), [(1, "SUCCESS"), (2, "SUCCESS"), (4, "FAILURE")])
def test_eager(app, longtask_eager, number, state):
    client = app.test_client()
    assert client.get(client.post(f"/double/{number}").location).json["state"] == state


def test_worker(app, longtask_worker):
    client = app.test_client()
    started = client.post("/double/2")
    assert client.get(started.location, headers={"Prefer": "wait=30"}).json["result"] == 4
""".replace("NOWHERE", NOWHERE)


def run_pytest(folder: Path, test: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a test file of a project of its own."""
    (folder / "test_own.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-p", "flask_longtask.testing.plugin", "-W", "error"]
    # An installed Flask-LongTask has the plugin as an entry point.
    own = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    return subprocess.run(
        [*command, "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="alone"),
        pytest.param(["-p", "xdist", "-n", "2"], id="xdist", marks=pytest.mark.long),
    ],
)
def test_the_fixtures_work_in_a_project_of_its_own(tmp_path: Path, arguments: list[str]) -> None:
    run = run_pytest(tmp_path, PROJECT, *arguments)

    assert "4 passed" in run.stdout, run.stdout + run.stderr
    assert run.returncode == 0


def test_the_fixtures_are_listed_with_what_they_do(tmp_path: Path) -> None:
    listed = run_pytest(tmp_path, "", "--fixtures").stdout

    assert "longtask_eager" in listed
    assert "longtask_worker" in listed
    assert "without Redis" in listed


def test_a_project_that_does_not_use_the_fixtures_pays_nothing_for_them(tmp_path: Path) -> None:
    test = """
import sys

def test_nothing_is_loaded():
    loaded = {"fakeredis", "celery.contrib.testing", "flask_longtask.testing.in_memory"} & {*sys.modules}
    assert loaded == set()
"""
    assert "1 passed" in run_pytest(tmp_path, test).stdout


def test_that_fakeredis_is_missing_is_said_in_a_sentence(tmp_path: Path) -> None:
    without = "import sys\n\nsys.modules['fakeredis'] = None\n"

    run = run_pytest(tmp_path, without + PROJECT)

    sentence = "flask_longtask.testing needs fakeredis: pip install 'Flask-LongTask[testing]'."
    assert f"RuntimeError: {sentence}" in run.stdout
