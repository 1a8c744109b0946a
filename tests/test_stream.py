"""Push: streams of a task's changes, and requests that wait for its end."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis

from flask_longtask.web.streams import readers
from flask_longtask.web.streams.subscription import LOOK_INTERVAL
from tests import tasks
from tests.processes import (
    PATIENCE,
    Process,
    RedisServer,
    WebServer,
    environment,
    free_port,
    wait_until,
)

STREAM = {"Accept": "text/event-stream"}

#: A queue that no worker serves: what is put there changes only as a test says.
UNSERVED = "unserved-stream"


class Events:
    """A stream as a client reads it: one event after the other, comments left out."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._events = self._parse(chunks)

    @staticmethod
    def _parse(chunks: Iterator[bytes]) -> Iterator[tuple[str, Any]]:
        text = ""
        for chunk in chunks:
            text += chunk.decode()
            *blocks, text = text.split("\n\n")
            for block in blocks:
                lines = [line for line in block.split("\n") if not line.startswith(":")]
                fields = dict(line.split(": ", 1) for line in lines)
                if "data" in fields:
                    yield fields.get("event", "message"), json.loads(fields["data"])

    def named(self) -> tuple[str, Any]:
        """The next event with its name."""
        return next(self._events)

    def next(self) -> dict[str, Any]:
        """The next status object."""
        name, document = self.named()
        assert name == "message", (name, document)
        return dict(document)

    def until(self, **expected: Any) -> dict[str, Any]:
        """The first status object that says this."""
        while not expected.items() <= (task := self.next()).items():
            pass
        return task

    def rest(self) -> list[dict[str, Any]]:
        return [document for _, document in self._events]


@contextmanager
def stream(url: str, timeout: float = PATIENCE) -> Iterator[Events]:
    with requests.get(url, headers=STREAM, stream=True, timeout=timeout) as response:
        assert response.status_code == 200, response.text
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        yield Events(response.iter_content(None))


def stream_request(task_id: str) -> bytes:
    head = f"GET /status/{task_id} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    return head.encode()


@contextmanager
def stream_here(client: Any, url: str) -> Iterator[Events]:
    """The same in this process, where nothing is sent that has not been asked for."""
    response = client.get(url, headers=STREAM, buffered=False)
    assert response.status_code == 200, response.text
    try:
        yield Events(iter(response.response))
    finally:
        response.close()


@pytest.fixture
def submit(app: Any) -> Any:
    return lambda: str(tasks.noting.apply_async(queue=UNSERVED).id)


@pytest.fixture
def report(app: Any) -> Any:
    """As a worker would: tell how far a task is, or how it has ended."""
    backend = app.extensions["celery"].backend

    def report(task_id: str, current: int, state: str = "PROGRESS") -> None:
        backend.store_result(task_id, {"current": current, "total": 10}, state)

    return report


def watchers(redis: Redis, task_id: str) -> int:
    """Subscriptions that Redis has to this task's changes."""
    return int(redis.pubsub_numsub(f"celery-task-meta-{task_id}")[0][1])


def test_a_stream_tells_the_present_state_then_each_change_and_ends_with_the_task(
    web: WebServer, submit: Any, report: Any
) -> None:
    task_id = submit()
    report(task_id, 1)

    with stream(f"{web.url}/status/{task_id}") as events:
        assert events.next()["current"] == 1
        report(task_id, 2)
        assert events.next()["current"] == 2
        report(task_id, 10, "SUCCESS")
        assert events.next()["state"] == "SUCCESS"
        assert events.rest() == []


def test_each_event_is_what_a_poll_is_told(web: WebServer, submit: Any, report: Any) -> None:
    task_id = submit()
    report(task_id, 10, "SUCCESS")

    with stream(f"{web.url}/status/{task_id}") as events:
        told = events.rest()

    assert told == [requests.get(f"{web.url}/status/{task_id}", timeout=PATIENCE).json()]


def test_a_real_task_can_be_followed_from_start_to_end(web: WebServer, worker: Any) -> None:
    form = {"steps": 3, "delay": 0.5}

    def is_followed() -> bool:
        started = requests.post(f"{web.url}/longtask", data=form, timeout=PATIENCE)
        with stream(started.headers["Location"]) as events:
            told = events.rest()

        assert told[-1]["state"] == "SUCCESS"
        assert [task["current"] for task in told] == sorted(task["current"] for task in told)
        return {1, 2, 3} <= {task["current"] for task in told}

    # A slow reader is told the newest state only, and on a busy machine anybody may be slow
    wait_until(is_followed)


def test_a_change_is_told_long_before_the_next_look(
    web: WebServer, submit: Any, report: Any
) -> None:
    def median() -> float:
        task_id, delays = submit(), []
        with stream(f"{web.url}/status/{task_id}") as events:
            events.next()
            for current in range(1, 10):
                reported = time.monotonic()
                report(task_id, current)
                events.until(current=current)
                delays.append(time.monotonic() - reported)
        return sorted(delays)[len(delays) // 2]

    # It is some milliseconds; the benchmark measures it. A busy machine may take longer, but not each time.
    wait_until(lambda: median() < LOOK_INTERVAL / 4)


def test_an_unknown_task_is_not_found_before_a_stream_begins(web: WebServer) -> None:
    response = requests.get(f"{web.url}/status/{uuid.uuid4()}", headers=STREAM, timeout=PATIENCE)

    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"


def test_one_stream_follows_many_tasks_until_all_have_ended(
    web: WebServer, submit: Any, report: Any
) -> None:
    first, second, unknown = submit(), submit(), str(uuid.uuid4())

    with stream(f"{web.url}/status?id={first}&id={second}&id={unknown}") as events:
        assert [events.next()["task_id"], events.next()["task_id"]] == [first, second]
        assert events.named() == ("gone", {"task_id": unknown})
        # What they wait for may change meanwhile, and is told as well
        report(second, 10, "SUCCESS")
        events.until(task_id=second, state="SUCCESS")
        report(first, 3)
        events.until(task_id=first, current=3)
        report(first, 4, "REVOKED")
        events.until(task_id=first, state="REVOKED")
        assert events.rest() == []


def test_a_change_between_the_first_look_and_the_subscription_is_not_lost(
    client: Any, submit: Any, report: Any
) -> None:
    task_id = submit()
    with stream_here(client, f"/status/{task_id}") as events:
        assert events.next()["state"] == "PENDING"  # nothing is subscribed to before this is sent
        report(task_id, 10, "SUCCESS")
        events.until(state="SUCCESS")


def test_one_subscription_serves_all_watchers_and_ends_with_the_last(
    client: Any, redis: Redis, submit: Any, report: Any
) -> None:
    task_id = submit()
    with stream_here(client, f"/status/{task_id}") as one:
        with stream_here(client, f"/status/{task_id}") as other:
            report(task_id, 1)
            for events in (one, other):
                events.until(current=1)
            assert watchers(redis, task_id) == 1
        report(task_id, 2)
        one.until(current=2)
        assert watchers(redis, task_id) == 1
    wait_until(lambda: watchers(redis, task_id) == 0)


def test_a_slow_reader_is_told_the_newest_state_only(client: Any, submit: Any, report: Any) -> None:
    task_id = submit()
    with stream_here(client, f"/status/{task_id}") as slow:
        slow.next()
        report(task_id, 1)
        slow.until(current=1)
        with stream_here(client, f"/status/{task_id}") as quick:
            quick.next()
            for current in range(2, 9):
                report(task_id, current)
                quick.until(current=current)
        assert slow.next()["current"] == 8


def test_little_is_kept_for_a_client_that_does_not_read(
    web: WebServer, app: Any, submit: Any
) -> None:
    backend = app.extensions["celery"].backend
    task_id, count = submit(), 300
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.settimeout(PATIENCE)
        stalled.connect(("127.0.0.1", web.port))
        stalled.sendall(stream_request(task_id))
        with stream(f"{web.url}/status/{task_id}") as events:
            for current in range(1, count + 1):
                meta = {"current": current, "total": count, "pages": "x" * 15_000}
                backend.store_result(task_id, meta, "PROGRESS")
                events.until(current=current)
        text = b""
        while b'"current": %d' % count not in text:
            more = stalled.recv(65_536)
            assert more, text[-1000:]
            text += more
    assert len(text) < count * 15_000 / 10


@pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="The system cannot drop such a client."
)
def test_a_client_that_reads_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "PATIENCE", 1)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        client, _ = listener.accept()
        with client:
            readers.bound({"gunicorn.socket": client})
            with pytest.raises(TimeoutError, match="timed out"):
                client.sendall(bytes(50_000_000))


def test_what_changes_without_a_message_is_told_too(client: Any, redis: Redis, submit: Any) -> None:
    ahead, task_id = submit(), submit()
    with stream_here(client, f"/status/{task_id}") as events:
        events.next()
        redis.delete(f"longtask:task:{task_id}", f"celery-task-meta-{task_id}")
        name, document = events.named()
        while name != "gone":
            name, document = events.named()
    assert document == {"task_id": task_id}
    assert ahead != task_id


def test_a_client_that_is_gone_is_noticed(
    web: WebServer, redis: Redis, submit: Any, report: Any
) -> None:
    task_id = submit()
    with socket.create_connection(("127.0.0.1", web.port), timeout=PATIENCE) as client:
        client.sendall(stream_request(task_id))
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        wait_until(lambda: watchers(redis, task_id) == 1)

    def noticed() -> bool:
        report(task_id, int(time.monotonic() * 50) % 10)  # a comment does the same every 15 seconds
        return watchers(redis, task_id) == 0

    wait_until(noticed)


def test_a_lost_subscription_is_renewed_and_nothing_is_missed(
    client: Any, redis: Redis, submit: Any, report: Any
) -> None:
    task_id = submit()
    with stream_here(client, f"/status/{task_id}") as events:
        events.next()
        report(task_id, 1)
        events.until(current=1)

        for subscribed in redis.client_list(_type="pubsub"):
            if subscribed["psub"] == "0":  # the worker's own are patterns
                redis.client_kill_filter(_id=subscribed["id"])
        report(task_id, 2)

        name, document = events.named()
        while name != "message" or document["current"] != 2:
            name, document = events.named()
        wait_until(lambda: watchers(redis, task_id) == 1)


def test_a_redis_that_hangs_is_told_of_and_the_stream_goes_on_afterwards(folder: Path) -> None:
    redis_server = RedisServer("redis-stream", folder)
    web = WebServer("web-stream", folder, redis_server.url())
    try:
        started = requests.post(f"{web.url}/longtask", timeout=PATIENCE)
        with stream(started.headers["Location"]) as events:
            events.next()
            redis_server.pause()
            try:
                name, document = events.named()
                while name == "message":
                    name, document = events.named()
                assert (name, document["status"]) == ("problem", 503)
            finally:
                redis_server.resume()
            while name != "message":  # Redis may have been away for a second look
                name, document = events.named()
            assert document["state"] == "PENDING"
            assert requests.delete(started.headers["Location"], timeout=PATIENCE).status_code == 200
            assert events.until(state="REVOKED")
    finally:
        web.stop()
        redis_server.stop()


def test_the_stop_of_the_server_ends_its_streams_at_once(
    redis_server: RedisServer, folder: Path, submit: Any
) -> None:
    # Without their end gunicorn waits this out, and cuts them off.
    patient = {"GUNICORN_CMD_ARGS": f"--graceful-timeout {PATIENCE:g}"}
    web = WebServer("web-stopped", folder, redis_server.url(), **patient)
    try:
        with stream(f"{web.url}/status/{submit()}") as events:
            events.next()
            os.kill(web.pid, signal.SIGTERM)
            events.rest()
        wait_until(lambda: not web.runs)
        assert "graceful timeout" not in web.log.read_text()
    finally:
        web.stop()


def test_streams_work_under_the_development_server(
    redis_server: RedisServer, folder: Path, submit: Any, report: Any
) -> None:
    port, task_id = free_port(), submit()
    server = Process(
        "development",
        [sys.executable, "app.py"],
        folder,
        {**environment(redis_server.url()), "PORT": str(port)},
    )
    try:
        server.wait_for(lambda: answers(f"http://127.0.0.1:{port}/health"))
        with stream(f"http://127.0.0.1:{port}/status/{task_id}") as events:
            events.next()
            report(task_id, 10, "SUCCESS")
            assert events.until(state="SUCCESS")
            assert events.rest() == []
    finally:
        server.stop()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=PATIENCE).ok
    except requests.ConnectionError:
        return False


def test_curl_shows_a_stream(web: WebServer, submit: Any, report: Any) -> None:
    task_id = submit()
    report(task_id, 10, "SUCCESS")

    command = ["curl", "-sN", "-H", "Accept: text/event-stream", f"{web.url}/status/{task_id}"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert text.startswith("retry: 2000\n\ndata: {")
    assert text.endswith("}\n\n")


# -- Prefer: wait ------------------------------------------------------------------------------------


def test_a_client_that_prefers_to_wait_is_answered_when_the_task_ends(
    web: WebServer, submit: Any, report: Any
) -> None:
    task_id = submit()
    begin = time.monotonic()
    threading.Timer(0.5, report, (task_id, 10, "SUCCESS")).start()

    response = requests.get(
        f"{web.url}/status/{task_id}", headers={"Prefer": "wait=30"}, timeout=PATIENCE
    )

    assert response.json()["state"] == "SUCCESS"
    assert response.headers["Preference-Applied"] == "wait=30"
    assert time.monotonic() - begin > 0.4


def test_a_client_that_prefers_to_wait_is_answered_when_the_time_is_up(
    web: WebServer, submit: Any
) -> None:
    begin = time.monotonic()

    response = requests.get(
        f"{web.url}/status/{submit()}",
        headers={"Prefer": "respond-async, wait=1"},
        timeout=PATIENCE,
    )

    assert response.json()["state"] == "PENDING"
    assert response.headers["Preference-Applied"] == "wait=1"
    assert time.monotonic() - begin >= 1


@pytest.mark.parametrize(
    "prefer", ["", "wait", "wait=soon", "wait=-1", "awaits=5", "handling=lenient"]
)
def test_a_preference_that_is_no_time_to_wait_is_ignored(
    client: Any, submit: Any, prefer: str
) -> None:
    response = client.get(f"/status/{submit()}", headers={"Prefer": prefer})

    assert response.json["state"] == "PENDING"
    assert "Preference-Applied" not in response.headers


def test_an_ended_task_is_not_waited_for_and_nobody_waits_longer_than_a_proxy_would(
    client: Any, submit: Any, report: Any
) -> None:
    task_id = submit()
    report(task_id, 10, "SUCCESS")

    response = client.get(f"/status/{task_id}", headers={"Prefer": 'wait="9999"; foo=1'})

    assert response.json["state"] == "SUCCESS"
    assert response.headers["Preference-Applied"] == "wait=50"


def test_a_server_of_one_request_at_a_time_is_not_held_up(
    folder: Path, redis_server: RedisServer, submit: Any
) -> None:
    # gunicorn's default: a process that serves one request after the other
    url = redis_server.url(0)
    web = WebServer("web-sync", folder, url, GUNICORN_CMD_ARGS="--worker-class sync")
    task_id = submit()

    # The stream tells how the task is, and when to ask again, and ends
    answer = requests.get(f"{web.url}/status/{task_id}", headers=STREAM, timeout=PATIENCE)
    assert answer.text.startswith("retry: 2000\n\n")
    assert [task["task_id"] for task in Events(iter([answer.content])).rest()] == [task_id]

    # And nobody waits for a task's end
    headers = {"Prefer": "wait=50"}
    answer = requests.get(f"{web.url}/status/{task_id}", headers=headers, timeout=PATIENCE)
    assert answer.json()["state"] == "PENDING"
    assert "Preference-Applied" not in answer.headers
