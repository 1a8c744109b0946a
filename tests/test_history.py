"""What a task logs and how its attempts end, as clients get it: in a real worker, over HTTP and as a stream."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from redis import Redis

from flask_longtask import LongTask, Task
from flask_longtask.testing import eager
from tests import tasks
from tests.processes import PATIENCE, RedisServer, WebServer, wait_until
from tests.test_http import GARBAGE, RECORDS, put_celerys, put_ours
from tests.test_tasks import extra_worker

STREAM = {"Accept": "text/event-stream"}

#: A queue that no worker serves.
UNSERVED = "unserved-history"

History = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.usefixtures("app", "worker")


@pytest.fixture
def history(client: Any) -> History:
    """Return a function that requests the history of a task."""

    def history(task_id: str, **query: Any) -> dict[str, Any]:
        response = client.get(f"/status/{task_id}/history", query_string=query)
        assert response.status_code == 200, response.text
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Vary"] == "Accept"
        return dict(response.json)

    return history


@pytest.fixture
def texts(history: History) -> Callable[[str], list[str]]:
    return lambda task_id: [line["text"] for line in history(task_id)["lines"]]


def outcomes(history: dict[str, Any]) -> list[tuple[str | None, str | None]]:
    return [(it["outcome"], it["error"]) for it in history["attempts"]]


# -- lines -----------------------------------------------------------------------------------------


def test_lines_are_told_while_the_task_runs_and_after_its_end(
    redis: Redis, history: History, texts: Any, ended: Any
) -> None:
    lines: list[Any] = ["one", ["two\nthree", "warning"], ["four", "ERROR"]]
    task_id = tasks.logging.delay(lines).id
    wait_until(lambda: len(texts(task_id)) == 4)

    told = history(task_id)
    assert outcomes(told) == [(None, None)]
    assert [(it["number"], it["level"], it["attempt"], it["text"]) for it in told["lines"]] == [
        (1, "info", 1, "one"),
        (2, "warning", 1, "two"),
        (3, "warning", 1, "three"),
        (4, "error", 1, "four"),
    ]
    assert told["attempts"][0]["started"] <= told["lines"][0]["time"]
    assert [it["text"] for it in history(task_id, after=3)["lines"]] == ["four"]

    tasks.release(redis, task_id)
    status = ended(task_id)
    told = history(task_id)
    assert outcomes(told) == [("succeeded", None)]
    assert told["lines"][-1]["text"] == "done"
    assert told["attempts"][0]["finished"] == status["finished"]


def test_attempts_that_retry_and_fail_have_their_errors_and_their_lines(
    history: History, ended: Any
) -> None:
    task_id = tasks.logging_and_failing.delay().id
    ended(task_id)

    told = history(task_id)
    assert outcomes(told) == [("retry", "No answer"), ("raised", ("row 4 has no name " * 30)[:200])]
    assert [(it["attempt"], it["text"]) for it in told["lines"]] == [
        (1, "attempt 1"),
        (2, "attempt 2"),
    ]


def test_no_line_is_lost_when_a_retry_starts_before_its_attempt_has_ended(
    redis: Redis, texts: Any
) -> None:
    task_id = tasks.logging_until_its_retry_runs.delay().id
    wait_until(lambda: redis.llen(f"tests:{task_id}") == 2)
    wait_until(lambda: texts(task_id) == ["attempt 1", "attempt 2"])


def test_a_cancelled_task_tells_what_it_logged_when_it_cleaned_up(
    client: Any, redis: Redis, history: History, texts: Any
) -> None:
    task_id = tasks.logging_when_cancelled.delay().id
    wait_until(lambda: texts(task_id) == ["started"])
    client.delete(f"/status/{task_id}")

    wait_until(lambda: texts(task_id) == ["started", "cleaned up"])
    assert outcomes(history(task_id)) == [("cancelled", None)]
    assert 0 < redis.ttl(f"longtask:lines:{task_id}") <= redis.ttl(f"longtask:task:{task_id}")  # type: ignore[operator]


def test_a_million_lines_do_not_stop_a_task_and_the_last_ones_are_kept(
    history: History, texts: Any, ended: Any
) -> None:
    task_id = tasks.logging_many.delay(1_000_000).id
    assert ended(task_id)["state"] == "SUCCESS"

    lines = history(task_id)["lines"]
    assert [line["text"] for line in lines] == [f"line {n}" for n in range(999_501, 1_000_001)]
    assert lines[-1]["number"] == 1_000_000


@pytest.mark.parametrize(
    "pool", ["prefork", "threads", "solo", pytest.param("gevent", marks=pytest.mark.long)]
)
def test_a_task_with_keep_log_keeps_what_its_loggers_log_and_no_other_does(
    redis_server: RedisServer, folder: Path, history: History, texts: Any, ended: Any, pool: str
) -> None:
    queue = f"queue-{uuid.uuid4()}"
    options = ("--pool", pool, "-Q", queue)
    with extra_worker(folder, redis_server, *options) as worker:
        quiet = tasks.not_keeping.apply_async(queue=queue).id
        ended(quiet)
        task_id = tasks.logging_by_loggers.apply_async(("not to be told",), queue=queue).id
        ended(task_id)
        log = worker.log.read_text()

    assert texts(quiet) == []
    lines = history(task_id)["lines"]
    first, second, third, *traceback = [(it["level"], it["text"]) for it in lines]
    assert (first, second, third) == (
        ("info", "3 rooms"),
        ("warning", "of another logger"),
        ("error", "it failed"),
    )
    assert traceback[0] == ("error", "Traceback (most recent call last):")
    # `self.log` in a task that is called as a function does nothing
    assert traceback[-2:] == [("error", "LookupError: no such room"), ("info", "helped")]
    assert "not to be told" not in json.dumps(history(task_id))
    # They are in the worker's log as well
    assert "3 rooms" in log
    assert "for the worker's log only" in log


def test_in_a_plain_call_nothing_is_logged_or_kept(redis: Redis) -> None:
    before = redis.dbsize()
    tasks.helping("nobody hears this")
    tasks.helping.apply(("nor this",))
    assert redis.dbsize() == before


def test_an_attribute_of_an_authors_own_takes_precedence() -> None:
    app = Flask("own")
    app.config["CELERY"] = {"broker_url": "memory://", "result_backend": "redis://127.0.0.1:1"}
    celery = LongTask().init_app(app)

    class Base(Task):
        def log(self, text: object, level: str = "info") -> None:
            heard.append(text)

    heard: list[object] = []

    @celery.task(bind=True, base=Base, keep_log=True)  # type: ignore[untyped-decorator]
    def talking(self: Any) -> None:
        self.log("own")

    with eager(app):
        talking.delay()
    assert talking.keep_log
    assert heard == ["own"]


# -- over HTTP -------------------------------------------------------------------------------------


def test_what_does_not_exist_has_no_history(client: Any) -> None:
    for task_id in (uuid.uuid4(), "x" * 300):
        for headers in ({}, STREAM):
            assert client.get(f"/status/{task_id}/history", headers=headers).status_code == 404


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "9" * 30, ""])
def test_after_must_be_a_number(client: Any, after: str) -> None:
    response = client.get(f"/status/{uuid.uuid4()}/history", query_string={"after": after})
    assert (response.status_code, response.json["field"]) == (400, "after")


def test_the_id_of_a_task_may_be_any_text(client: Any, history: History) -> None:
    task_id = tasks.noting.apply_async(task_id="no slash/history", queue=UNSERVED).id
    location = client.get("/status", query_string={"id": task_id})
    assert location.json["tasks"][task_id]
    from flask_longtask.web.ids import TaskIdConverter  # noqa: PLC0415

    encoded = TaskIdConverter.to_url(None, task_id)  # type: ignore[arg-type]
    assert history(encoded) == {"attempts": [], "lines": []}
    assert client.get(f"/status/{encoded}").json["task_id"] == task_id


@pytest.mark.parametrize("stored", RECORDS.values(), ids=RECORDS.keys())
def test_whatever_is_on_record_there_is_a_history(
    redis: Redis, history: History, stored: bytes
) -> None:
    assert history(put_ours(redis, str(uuid.uuid4()), stored))["lines"] == []


@pytest.mark.parametrize("stored", GARBAGE.values(), ids=GARBAGE.keys())
def test_whatever_celery_has_stored_there_is_a_history(
    redis: Redis, history: History, stored: bytes
) -> None:
    task_id = put_celerys(redis, str(uuid.uuid4()), stored)
    assert history(task_id) == {"attempts": [], "lines": []}


def test_nonsense_in_the_lists_is_left_out(redis: Redis, history: History) -> None:
    task_id = put_ours(redis, str(uuid.uuid4()), {"format": 1, "attempt": 2, "lines": "many"})
    good = [7, 1.5, "info", 1, "good \ud800"]
    nonsense = [b"\xff", b"[" * 9999, b"null", b"[1,2,3,4]", b'{"number": 1e400}', json.dumps(good)]
    redis.rpush(f"longtask:lines:{task_id}", *nonsense)
    redis.rpush(f"longtask:attempts:{task_id}", *nonsense)

    told = history(task_id)
    assert [attempt["number"] for attempt in told["attempts"]] == [2]
    assert [line["text"] for line in told["lines"]] == ["good ?"]


def test_an_app_may_forbid_it(redis_server: RedisServer) -> None:
    app = Flask("guarded")
    app.config["CELERY"] = dict.fromkeys(("broker_url", "result_backend"), redis_server.url())
    asked: list[tuple[str, str]] = []

    def authorize(task: dict[str, Any], action: str) -> bool:
        asked.append((task["task_id"], action))
        return False

    LongTask(app, authorize=authorize)
    task_id = tasks.noting.apply_async(queue=UNSERVED).id
    for headers in ({}, STREAM):
        response = app.test_client().get(f"/status/{task_id}/history", headers=headers)
        assert response.status_code == 403
    assert asked == [(task_id, "read")] * 2


def test_the_history_of_a_task_is_one_round_trip(
    app: Any, client: Any, ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = tasks.logging_many.delay(3).id
    ended(task_id)
    sent: list[str] = []
    store = app.extensions["celery"].backend.store
    pool = type(store.client.connection_pool)
    get_connection = pool.get_connection

    def count(self: Any, *args: Any, **options: Any) -> Any:
        sent.append("")
        return get_connection(self, *args, **options)

    client.get(f"/status/{task_id}/history")  # loads the script
    monkeypatch.setattr(pool, "get_connection", count)
    assert len(client.get(f"/status/{task_id}/history").json["lines"]) == 3
    assert len(sent) == 1


# -- as a stream -----------------------------------------------------------------------------------


class Events:
    """A stream as a browser reads it: pairs of an id and the data."""

    def __init__(self, web: WebServer, task_id: str, **headers: str) -> None:
        self.response = requests.get(
            f"{web.url}/status/{task_id}/history",
            headers={**STREAM, **headers},
            stream=True,
            timeout=PATIENCE,
        )
        assert self.response.headers["Content-Type"].startswith("text/event-stream")
        self._lines = self.response.iter_lines(chunk_size=1)

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        number = -1
        for line in self._lines:
            name, _, value = line.decode().partition(": ")
            if name == "id":
                number = int(value)
            elif name == "data":
                yield number, json.loads(value)


def test_a_stream_begins_with_the_whole_and_goes_on_with_what_is_new_until_the_end(
    web: WebServer, redis: Redis, texts: Any
) -> None:
    task_id = tasks.logging.delay(["one", "two"]).id
    wait_until(lambda: texts(task_id) == ["one", "two"])

    events = iter(Events(web, task_id))
    number, first = next(events)
    assert (number, [line["text"] for line in first["lines"]]) == (2, ["one", "two"])
    assert outcomes(first) == [(None, None)]
    tasks.release(redis, task_id)
    rest = list(events)

    assert [line["number"] for _, event in rest for line in event["lines"]] == [3]
    assert rest[-1][0] == 3
    assert outcomes(rest[-1][1]) == [("succeeded", None)]


def test_a_browser_that_reconnects_gets_no_line_twice(web: WebServer, ended: Any) -> None:
    task_id = tasks.logging_many.delay(5).id
    ended(task_id)
    ((number, event),) = Events(web, task_id, **{"Last-Event-ID": "3"})
    assert [line["number"] for line in event["lines"]] == [4, 5]
    assert number == 5
    ((number, event),) = Events(web, task_id, **{"Last-Event-ID": "nonsense"})
    assert len(event["lines"]) == 5


def test_lines_are_news_even_if_the_status_stays_the_same(web: WebServer, redis: Redis) -> None:
    task_id = tasks.noting.apply_async(queue=UNSERVED).id
    events = iter(Events(web, task_id))
    assert next(events) == (0, {"attempts": [], "lines": []})

    redis.rpush(f"longtask:lines:{task_id}", json.dumps([1, 1.5, "info", 1, "one"]))
    number, event = next(events)

    assert (number, event["lines"][0]["text"]) == (1, "one")


def test_a_stream_ends_when_the_task_is_gone(web: WebServer, redis: Redis) -> None:
    task_id = tasks.noting.apply_async(queue=UNSERVED).id
    events = iter(Events(web, task_id))
    next(events)
    redis.delete(f"longtask:task:{task_id}")
    assert next(events)[1] == {"task_id": task_id}
    assert list(events) == []


def test_a_run_leaves_no_thread_behind_if_only_a_handler_of_its_end_logs(texts: Any) -> None:
    task_ids = [tasks.logging_at_its_end.delay().id for _ in range(8)]
    wait_until(lambda: all(texts(task_id) == ["over"] for task_id in task_ids))
    counts = [tasks.counting_trackers.delay() for _ in range(8)]
    assert [count.get(timeout=PATIENCE) for count in counts] == [0] * 8


def test_a_task_of_which_only_the_task_says_that_its_result_is_ignored_ends(
    app: Flask, ended: Any
) -> None:
    result = app.extensions["celery"].send_task("tests.tasks.without_a_result")
    assert ended(result.id)["state"] == "SUCCESS"


def test_a_stream_goes_on_while_the_task_runs_though_its_family_has_failed(
    client: Any, web: WebServer, redis: Redis, texts: Any
) -> None:
    task_id = tasks.logging_after_a_child_has_failed.delay().id
    wait_until(lambda: client.get(f"/status/{task_id}").json["state"] == "FAILURE")
    wait_until(lambda: texts(task_id) == ["started a child"])

    events = iter(Events(web, task_id))
    next(events)
    tasks.release(redis, task_id)
    rest = list(events)

    assert [line["text"] for _, event in rest for line in event["lines"]] == ["done"]
    assert outcomes(rest[-1][1]) == [("succeeded", None)]


def test_an_attempt_to_be_retried_says_why_although_its_result_is_ignored(
    client: Any, history: History
) -> None:
    task_id = tasks.retrying_later.delay().id
    wait_until(lambda: client.get(f"/status/{task_id}").json["state"] == "RETRY")

    assert outcomes(history(task_id)) == [("retry", "No answer")]
    assert "No answer" in client.get(f"/status/{task_id}").json["status"]
    client.delete(f"/status/{task_id}")
