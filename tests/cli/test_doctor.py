"""`flask longtask doctor`: each thing that people get wrong is found, and what is right is left alone."""

import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from flask_longtask.store import Queue, Store
from flask_longtask.versions import VERSION
from tests.cli.conftest import Site
from tests.faults.clocks import clock_off_by
from tests.processes import PATIENCE, RedisServer, WebServer, Worker


def findings(site: Site, *arguments: str) -> dict[str, list[tuple[str, str]]]:
    """What is found, by the name of the check: "ok", "mend" or "could not be checked", and the sentence."""
    found: dict[str, list[tuple[str, str]]] = {}
    for check in site.json("doctor", *arguments)["checks"]:
        found.setdefault(check["check"], []).append((check["verdict"], check["text"]))
    return found


def test_of_an_app_that_is_well_it_says_so(site: Site, cli_worker: Worker) -> None:
    done = site.run("doctor")

    assert {line.partition("  ")[0].strip() for line in done.stdout.splitlines()} == {"ok"}
    assert done.returncode == 0


def test_it_exits_with_1_where_something_is_to_be_mended(idle: Site) -> None:
    done = idle.run("doctor")

    assert done.returncode == 1
    assert (
        "mend                  workers: No worker is running. "
        "Start one: celery -A tests.cli.site.celery worker.\n"
    ) in done.stdout


def test_the_command_that_is_set_is_the_one_it_names(idle: Site) -> None:
    idle.environment["LONGTASK_WORKER_COMMAND"] = "make worker"

    assert findings(idle)["workers"] == [("mend", "No worker is running. Start one: make worker.")]


def test_it_finds_what_is_wrong_in_an_app(cli_redis: RedisServer) -> None:
    found = findings(Site("tests.cli.careless:app", cli_redis.url(2)))

    (secret_key,), (routes,), tasks = found["secret key"], found["routes"], found["tasks"]
    (transport,) = found["transport"]
    assert secret_key[0] == routes[0] == transport[0] == "mend"
    assert secret_key[1].startswith("SECRET_KEY is not set")
    assert routes[1].startswith("The app's own routes hide those of Longtask at /tasks.")
    assert [verdict for verdict, _ in tasks] == ["mend", "mend"]
    assert tasks[0][1].startswith("acks_late is off for tests.cli.careless.early:")
    assert tasks[1][1].startswith("reject_on_worker_lost is off for tests.cli.careless.unlucky:")
    assert transport[1].startswith("broker_transport is set to redis:")


def test_without_redis_it_says_where_none_answers_and_checks_the_rest(away: Site) -> None:
    found = findings(away)

    address = away.environment["REDIS_URL"]
    for check, setting in (("store", "result_backend"), ("broker", "broker_url")):
        ((verdict, text),) = found[check]
        assert verdict == "mend"
        assert text.startswith(f"No answer from {address}: ")
        assert setting in text
    assert found["secret key"][0][0] == "ok"
    unknown = [name for name, found in found.items() if found[0][0] == "could not be checked"]
    assert {"eviction", "append-only file", "workers", "queues", "clocks"} <= {*unknown}


def test_a_redis_that_is_too_old_is_to_be_mended(folder: Path) -> None:
    # Given a Redis that does not know HELLO, as those before 6.0
    server = RedisServer("cli-old", folder, False, "--rename-command", "HELLO", "")
    try:
        found = findings(Site("tests.cli.site:app", server.url()))
    finally:
        server.stop()

    too_old = f"redis://127.0.0.1:{server.port}/0 is a Redis older than 6.0. Use 6.2 or newer."
    assert found["store"] == found["broker"] == [("mend", too_old)]


def test_no_password_is_shown(cli_redis: RedisServer) -> None:
    url = cli_redis.url(2).replace("127.0.0.1", ":geheim@127.0.0.1")

    done = Site("tests.cli.site:app", url).run("doctor")

    assert "geheim" not in done.stdout + done.stderr


def test_a_redis_that_forgets_tasks_is_to_be_mended(folder: Path) -> None:
    options = ("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
    server = RedisServer("cli-forgetful", folder, False, *options)
    try:
        found = findings(Site("tests.cli.site:app", server.url()))
    finally:
        server.stop()

    assert found["eviction"] == [
        (
            "mend",
            "Redis removes tasks when its memory is full: its maxmemory-policy is allkeys-lru. "
            "Run redis-cli config set maxmemory-policy noeviction, and set the same in redis.conf.",
        )
    ]
    ((verdict, text),) = found["append-only file"]
    assert (verdict, text[:18]) == ("mend", "appendonly is off:")


def test_a_worker_of_another_version_or_with_a_wrong_clock_is_to_be_mended(
    idle: Site, cli_redis: RedisServer
) -> None:
    # Given the heartbeats of three workers: as ours are, of an older version, and of one that does not tell its own
    with (
        Redis.from_url(cli_redis.url(1)) as client,
        beating(Store(client), same=VERSION, old="0.0.1", oldest=""),
    ):
        found = findings(idle)

    assert found["versions"] == [
        ("mend", f"old runs Longtask 0.0.1, but this command runs {VERSION}. Restart the worker."),
        (
            "mend",
            f"oldest runs an older Longtask, but this command runs {VERSION}. Restart the worker.",
        ),
    ]
    assert found["workers"] == [("ok", "old, oldest, same run.")]


@pytest.mark.parametrize(("seconds", "side"), [(3600, "ahead of"), (-3600, "behind")])
def test_a_host_whose_clock_is_wrong_is_to_be_mended(
    cli_redis: RedisServer, seconds: int, side: str
) -> None:
    wrong = Site("tests.cli.site:app", cli_redis.url(2), **clock_off_by(seconds))

    ((verdict, text),) = findings(wrong)["clocks"]

    assert verdict == "mend"
    assert text.startswith("The clock of this host is 3,")
    assert f"seconds {side} that of Redis." in text


def test_the_host_of_a_worker_whose_clock_is_wrong_is_to_be_mended(
    cli_redis: RedisServer, folder: Path
) -> None:
    worker = Worker(
        *("cli-late", folder, cli_redis.url(3), "-c", "1"),
        app="tests.cli.site.celery",
        **clock_off_by(-3600),
    )
    try:
        ((verdict, text),) = findings(Site("tests.cli.site:app", cli_redis.url(3)))["clocks"]
    finally:
        worker.stop()

    assert verdict == "mend"
    assert text.startswith("The clock of the host of cli-late@tests is 3,")


def test_a_queue_that_nobody_serves_is_to_be_mended_once_something_waits_there(
    idle: Site, cli_redis: RedisServer
) -> None:
    with Redis.from_url(cli_redis.url(1)) as client:
        Store(client).tasks.accept(
            "1", {"task": "work"}, Queue("typo", ["typo"]), "1", message="{}"
        )

        assert findings(idle)["queues"] == [
            (
                "mend",
                "1 message waits in the queue typo, which no worker serves. "
                "Start a worker with -Q typo, or correct task_routes.",
            )
        ]


def test_a_message_that_was_put_aside_is_told(idle: Site, cli_redis: RedisServer) -> None:
    with Redis.from_url(cli_redis.url(1)) as client:
        Store(client).messages.put_aside("It is no message.", queue="celery", text="x")

        ((verdict, text),) = findings(idle)["messages"]

    assert verdict == "mend"
    assert text.startswith("1 message was put aside")


# The way to the browser.


@pytest.fixture(scope="module")
def web(cli_redis: RedisServer, folder: Path) -> Iterator[WebServer]:
    server = WebServer("cli-web", folder, cli_redis.url(), app="tests.cli.site:app")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def buffering(web: WebServer) -> Iterator[str]:
    """The address of a proxy that hands an answer on when it has all of it."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            request = urllib.request.Request(web.url + self.path, headers=dict(self.headers))
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                body = response.read()
            self.send_response(200)
            self.send_header("Content-Type", response.headers["Content-Type"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_stream_that_comes_at_once_is_well_and_leaves_nothing_open(
    site: Site, web: WebServer
) -> None:
    assert findings(site, "--url", web.url)["streams"] == [
        ("ok", f"The first event of a stream from {web.url} arrives at once.")
    ]
    assert [t for t in site.json("list")["tasks"] if t["task"] == "doctor"] == []
    assert [q["name"] for q in site.json("queues")["queues"]] == ["celery"]


def test_a_proxy_that_holds_a_stream_back_is_to_be_mended(site: Site, buffering: str) -> None:
    ((verdict, text),) = findings(site, "--url", buffering)["streams"]

    assert verdict == "mend"
    assert text.startswith(f"A proxy in front of the app at {buffering} holds a stream back")


@pytest.mark.parametrize(
    ("path", "verdict", "start"),
    [
        ("/elsewhere", "could not be checked", "{url}/status/doctor-"),
        ("", "mend", "No answer from "),
    ],
)
def test_an_address_where_the_app_is_not_is_told(
    site: Site, idle: Site, web: WebServer, away: Site, path: str, verdict: str, start: str
) -> None:
    nobody = away.environment["REDIS_URL"].replace("redis:", "http:").removesuffix("/0")
    url = web.url + path if path else nobody

    ((found, text),) = findings(site, "--url", url)["streams"]

    assert found == verdict
    assert text.startswith(start.format(url=url))


class beating:
    """Workers with a heartbeat each half second, by their names and versions."""

    def __init__(self, store: Store, **versions: str) -> None:
        self._store, self._versions = store, versions
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _beat(self) -> None:
        for name, version in self._versions.items():
            self._store.workers.beat(name, name, ["celery"], lapse=60, version=version)

    def _run(self) -> None:
        while not self._has_ended.wait(0.5):
            self._beat()

    def __enter__(self) -> None:
        self._beat()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        self._thread.join()
