"""Mistakes raise an error that names their cause. What only looks like a mistake works."""

import inspect
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from celery import Celery, Task, group, shared_task
from celery.exceptions import ImproperlyConfigured
from flask import Flask
from redis import Redis
from werkzeug.wrappers import Response

from flask_longtask import LongTask, QueueAway, StoreAway, accepted
from tests.home.conftest import close
from tests.processes import NOBODY, ROOT

Guest = Callable[..., Flask]

REDIS = f"redis://127.0.0.1:{NOBODY}/0"


@shared_task(bind=True, name="home.report")
def report(self: Task, name: str = "Ann") -> str:
    self.update_state(state="PROGRESS", meta={"current": 1, "total": 2, "status": "Half"})
    return ", ".join(self.track([name], "Tracking"))


@shared_task(name="home.fail")
def fail() -> None:
    raise ValueError("row 4 has no name")


def is_one_sentence(said: str) -> bool:
    return said.endswith(".") and "\n" not in said and len(said) < 300


def app_with(celery: Any, **config: Any) -> Flask:
    app = Flask("mistaken")
    app.config.update(config)
    if celery is not None:
        app.config["CELERY"] = celery
    return app


@pytest.mark.parametrize(
    ("celery", "named"),
    [
        (None, "CELERY"),
        (REDIS, "CELERY"),
        ({}, "broker_url"),
        ({"result_backend": REDIS}, "broker_url"),
        ({"broker_url": None, "result_backend": REDIS}, "broker_url"),
        ({"broker_url": REDIS}, "result_backend"),
        ({"broker_url": REDIS, "result_backend": ""}, "result_backend"),
        ({"broker_url": "127.0.0.1:6379", "result_backend": REDIS}, "broker_url"),
        ({"broker_url": "radish://127.0.0.1", "result_backend": REDIS}, "broker_url"),
        ({"broker_url": REDIS, "result_backend": "127.0.0.1:6379"}, "result_backend"),
        ({"broker_url": REDIS, "result_backend": "db+sqlite:///results.db"}, "result_backend"),
        ({"broker_url": REDIS, "result_backend": "rpc://"}, "result_backend"),
        ({"broker_url": REDIS, "result_backend": "cache+memory://"}, "result_backend"),
        ({"broker_url": "memory://", "result_backend": "file:///tmp/x"}, "result_backend"),
    ],
    ids=lambda value: str(value).replace(REDIS, "redis://"),
)
def test_a_celery_setting_that_is_missing_or_of_no_use_is_named_at_once(
    celery: Any, named: str
) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        LongTask(app_with(celery))

    assert named in str(raised.value)
    assert is_one_sentence(str(raised.value))


@pytest.mark.parametrize("is_configured", [True, False])
@pytest.mark.parametrize(("setting", "value"), [("result_backend", "rpc://"), ("task_protocol", 1)])
def test_so_is_that_of_a_celery_app_that_it_is_given_when_it_is_used_at_the_latest(
    setting: str, value: Any, is_configured: bool
) -> None:
    own = Celery("own", set_as_current=False)
    own.config_from_object({"broker_url": REDIS, "result_backend": REDIS, setting: value})
    if is_configured:
        assert own.conf[setting] == value

    def use() -> None:
        LongTask(Flask("mistaken"), celery=own)
        assert not is_configured
        own.send_task("any")

    with pytest.raises(ImproperlyConfigured) as raised:
        use()

    assert setting in str(raised.value)
    assert is_one_sentence(str(raised.value))


def test_a_celery_app_whose_broker_is_a_unix_socket_is_refused() -> None:
    own = Celery(
        "own", broker="redis+socket:///tmp/redis.sock", backend=REDIS, set_as_current=False
    )
    own.conf.broker_url  # noqa: B018  # it is configured from now on

    with pytest.raises(ImproperlyConfigured) as raised:
        LongTask(Flask("mistaken"), celery=own)

    assert "broker_url" in str(raised.value)
    assert is_one_sentence(str(raised.value))


BAD = [
    ("LONGTASK_LEASE_SECONDS", "half a minute"),
    ("LONGTASK_LEASE_SECONDS", "-1"),
    ("LONGTASK_LEASE_SECONDS", "nan"),
    ("LONGTASK_LEASE_SECONDS", "inf"),
    ("LONGTASK_LEASE_SECONDS", "0"),
    ("LONGTASK_CANCEL_GRACE_SECONDS", "5s"),
    ("LONGTASK_CANCEL_GRACE_SECONDS", "inf"),
    ("LONGTASK_MAX_ATTEMPTS", "2.5"),
    ("LONGTASK_MAX_ATTEMPTS", "0"),
    ("LONGTASK_MAX_ATTEMPTS", float("inf")),
    ("LONGTASK_MAX_WAITING", "many"),
    ("LONGTASK_MAX_RESULT_BYTES", "1 MB"),
    ("LONGTASK_WRONG_TOKENS", "ten"),
    ("LONGTASK_URL_PREFIX", "jobs"),
    ("LONGTASK_URL_PREFIX", "/jobs/"),
]


@pytest.mark.parametrize("place", ["config", "environment"])
@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_setting_of_no_use_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | float, place: str
) -> None:
    app = app_with({"broker_url": REDIS, "result_backend": REDIS})
    if place == "config":
        app.config[name] = value
    else:
        monkeypatch.setenv(name, str(value))

    with pytest.raises(ImproperlyConfigured) as raised:
        LongTask(app)

    assert name in str(raised.value)
    assert str(value) in str(raised.value)
    assert is_one_sentence(str(raised.value))


@pytest.mark.parametrize("place", ["config", "environment"])
def test_a_number_that_is_text_is_that_number(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, database: str, place: str
) -> None:
    values = {"LONGTASK_LEASE_SECONDS": "12.5", "LONGTASK_MAX_WAITING": "1"}
    app = app_with({"broker_url": database, "result_backend": database})
    if place == "config":
        app.config.update(values)
    else:
        for name, value in values.items():
            monkeypatch.setenv(name, value)
    celery = LongTask().init_app(app)

    assert app.config["LONGTASK_LEASE_SECONDS"] == 12.5
    add_start(app)
    client = app.test_client()
    assert [client.post("/start").status_code for _ in range(2)] == [202, 503]
    close(celery)


def test_the_apps_config_goes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    monkeypatch.setenv("LONGTASK_URL_PREFIX", "/environment")
    app = app_with(
        {"broker_url": database, "result_backend": database}, LONGTASK_URL_PREFIX="/config"
    )
    celery = LongTask().init_app(app)

    assert app.test_client().get("/config/health").status_code == 200
    close(celery)


@pytest.mark.parametrize("use", [LongTask, LongTask().init_app], ids=["at once", "init_app"])
def test_an_option_that_there_is_not_is_named(use: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="'prefix'"):
        use(app_with(None), prefix="/jobs")

    # And by a type checker before the app is run
    kinds = [parameter.kind for parameter in inspect.signature(use).parameters.values()]
    assert inspect.Parameter.VAR_KEYWORD not in kinds


@pytest.mark.parametrize("given", [Flask("wrong"), "celery", REDIS], ids=["app", "name", "url"])
def test_what_is_no_celery_app_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="celery") as raised:
        LongTask(Flask("mistaken"), celery=given)

    assert is_one_sentence(str(raised.value))


def add_start(app: Flask) -> None:
    @app.post("/start")
    @LongTask.protect
    def start() -> Response:
        return accepted(report.delay())

    @app.post("/start-failing")
    def start_failing() -> Response:
        return accepted(fail.delay())


@pytest.mark.parametrize(
    "given", [Mock(), "an-id", None, {"task_id": "x"}], ids=["mock", "id", "None", "dict"]
)
def test_what_delay_has_not_returned_is_refused_as_such(guest: Guest, given: Any) -> None:
    app = guest()
    # For example, a test has replaced `delay` with a mock
    with app.test_request_context("/"), pytest.raises(TypeError, match="accepted") as raised:
        accepted(given)

    assert is_one_sentence(str(raised.value))


def test_an_app_without_longtask_is_told_what_to_call(guest: Guest) -> None:
    guest()
    with Flask("without").test_request_context("/"), pytest.raises(RuntimeError) as raised:
        accepted(report.AsyncResult("x"))

    assert "LongTask(app)" in str(raised.value)
    assert is_one_sentence(str(raised.value))


def test_a_task_that_was_never_sent_is_refused_in_a_sentence(guest: Guest) -> None:
    app = guest()
    with app.test_request_context("/"), pytest.raises(RuntimeError) as raised:
        accepted(app.extensions["celery"].AsyncResult("never-sent"))

    assert "never-sent" in str(raised.value)
    assert is_one_sentence(str(raised.value))


TOO_LONG = "x" * 256
LONGEST = "x" * 255


def sent(redis: str) -> int:
    with Redis.from_url(redis) as client:
        return client.llen("celery") + len([*client.scan_iter("longtask:task:*")])


@pytest.mark.parametrize("is_eager", [False, True], ids=["sent", "eager"])
def test_an_id_that_is_too_long_for_an_address_is_refused_before_anything_is_sent(
    guest: Guest, database: str, is_eager: bool
) -> None:
    app = guest()
    app.extensions["celery"].conf.task_always_eager = is_eager
    with app.test_request_context("/"):
        with pytest.raises(ValueError, match="255") as raised:
            report.apply_async(task_id=TOO_LONG)
        assert is_one_sentence(str(raised.value))
        assert not sent(database)

        location = accepted(report.apply_async(task_id=LONGEST)).headers["Location"]
    assert app.test_client().get(location).json["task_id"] == LONGEST


def test_so_is_that_of_a_later_step(guest: Guest, database: str) -> None:
    app = guest()
    steps = report.s() | report.s().set(task_id=TOO_LONG)
    with app.app_context(), pytest.raises(ValueError, match="255"):
        steps.apply_async()
    assert not sent(database)


@pytest.mark.parametrize("nothing", [group([]), report.chunks([], 10)], ids=["group", "chunks"])
def test_a_group_of_no_tasks_is_refused_in_a_sentence(guest: Guest, nothing: Any) -> None:
    app = guest()
    with app.test_request_context("/"), pytest.raises(ValueError, match="no tasks") as raised:
        accepted(nothing.apply_async())

    assert is_one_sentence(str(raised.value))


def test_longtask_twice_is_longtask_once(guest: Guest) -> None:
    app = guest()
    LongTask(app)
    add_start(app)

    started = app.test_client().post("/start")

    assert started.status_code == 202
    assert app.test_client().get(started.headers["Location"]).status_code == 200


def test_an_outage_on_an_unprotected_route_is_the_apps_own_affair() -> None:
    # Given a broker that is not running
    app = app_with({"broker_url": REDIS, "result_backend": REDIS}, TESTING=True)
    celery = LongTask().init_app(app)
    add_start(app)

    # Then the app can distinguish its error, and a protected route responds to it
    with pytest.raises(QueueAway):
        app.test_client().post("/start-failing")
    refused = app.test_client().post("/start")
    assert (refused.status_code, refused.mimetype) == (503, "application/problem+json")
    assert refused.headers["Retry-After"]
    close(celery)


def test_a_token_from_the_environment_protects_what_is_longtasks_own(
    monkeypatch: pytest.MonkeyPatch, guest: Guest
) -> None:
    monkeypatch.setenv("LONGTASK_API_TOKEN", token := "a-token-of-some-length-4711")
    app = guest()
    add_start(app)
    client = app.test_client()

    assert client.get("/status/some-id").status_code == 401
    assert client.get("/tasks").status_code == 401
    assert client.post("/start").status_code == 401
    shown = {"Authorization": f"Bearer {token}"}
    started = client.post("/start", headers=shown)
    assert started.status_code == 202
    assert client.get(started.headers["Location"], headers=shown).status_code == 200


def test_a_secret_key_that_is_missing_is_told_in_the_log(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_with({"broker_url": database, "result_backend": database})
    celery = LongTask().init_app(app)
    add_start(app)
    with caplog.at_level(logging.WARNING):
        client = app.test_client()
        assert [client.post("/start").status_code for _ in range(2)] == [202, 202]

    said = [each.getMessage() for each in caplog.records if "SECRET_KEY" in each.getMessage()]
    assert len(said) == 1
    assert client.get("/tasks").json == {"tasks": []}
    close(celery)


def test_a_task_called_as_a_function_reports_to_nobody(guest: Guest) -> None:
    app = guest()
    with app.app_context():
        assert report("Bob") == "Bob"
        assert report.run("Bob") == "Bob"


def test_an_eager_task_has_a_bar_that_ends(guest: Guest) -> None:
    app = guest()
    app.extensions["celery"].conf.task_always_eager = True
    add_start(app)
    client = app.test_client()

    started = client.post("/start")
    assert (started.status_code, started.json["state"]) == (202, "SUCCESS")
    end = client.get(started.headers["Location"]).json
    assert (end["state"], end["result"]) == ("SUCCESS", "Ann")
    failed = client.post("/start-failing")
    assert failed.status_code == 202
    end = client.get(failed.headers["Location"]).json
    assert (end["state"], end["status"]) == ("FAILURE", "row 4 has no name")


def test_an_eager_task_without_redis_says_that_redis_is_away() -> None:
    app = app_with({"broker_url": REDIS, "result_backend": REDIS, "task_always_eager": True})
    app.config["TESTING"] = True
    celery = LongTask().init_app(app)
    add_start(app)

    with pytest.raises((QueueAway, StoreAway), match="127"):
        app.test_client().post("/start-failing")
    close(celery)


def test_a_worker_that_is_given_the_flask_app_is_told_what_it_needs(
    tmp_path: Path, database: str
) -> None:
    (tmp_path / "app.py").write_text(
        "from flask import Flask\n"
        "from flask_longtask import LongTask\n"
        "app = Flask(__name__)\n"
        f"app.config['CELERY'] = {{'broker_url': {database!r}, 'result_backend': {database!r}}}\n"
        "LongTask(app)\n"
        "tasks = app.extensions['celery']\n"
    )

    worker = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "app", "worker"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert worker.returncode != 0
    assert "celery -A app.tasks worker" in worker.stderr
    assert "Traceback" not in worker.stderr


def test_a_broker_in_memory_takes_tasks(database: str) -> None:
    app = app_with({"broker_url": "memory://", "result_backend": database})
    celery = LongTask().init_app(app)
    add_start(app)

    started = app.test_client().post("/start")

    assert (started.status_code, started.json["state"]) == (202, "PENDING")
    close(celery)
