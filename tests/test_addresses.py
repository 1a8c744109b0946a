"""Whom a request comes from and for whom it is: forwarded addresses, and the names that the site goes by."""

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.processes import PATIENCE, Process, RedisServer, WebServer, environment, free_port
from tests.raw_http import Answer, send

DATABASE = 13

QUICK = {"steps": 1, "delay": 0}
BROWSER = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"


# -- the client's address ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def behind(folder: Path, redis_server: RedisServer) -> Iterator[WebServer]:
    """A server behind a proxy, which takes one start a minute from each client."""
    server = WebServer(
        "web-behind-one",
        folder,
        redis_server.url(DATABASE),
        LONGTASK_TRUSTED_PROXIES="1",
        LONGTASK_RATE_LIMIT="1/minute",
    )
    yield server
    server.stop()


@pytest.fixture
def start(behind: WebServer) -> Callable[[str], int]:
    """Start a task as a client of this address, and return the answer's status."""

    def start(forwarded_for: str) -> int:
        answer = requests.post(
            f"{behind.url}/longtask",
            json=QUICK,
            headers={"X-Forwarded-For": forwarded_for.encode()},
            timeout=PATIENCE,
        )
        return answer.status_code

    return start


#: The last part of addresses that no other test has used.
unused = itertools.count(1)


@pytest.mark.parametrize("form", ["{}:5678", '"{}:5678"', "{}:1", "::ffff:{}", "[::ffff:{}]:443"])
def test_an_ipv4_address_is_one_client_however_it_is_written(
    start: Callable[[str], int], form: str
) -> None:
    number = next(unused)
    address, other = f"192.0.2.{number}", f"198.51.100.{number}"

    assert start(address) == 202
    assert start(form.format(address)) == 429
    # Not all of those that are written so are one
    assert start(form.format(other)) == 202
    assert start(other) == 429


@pytest.mark.parametrize("form", ["{}", "[{}]:443", "[{}]", '"[{}]"', '"[{}]:443"', "{}%eth0"])
def test_of_ipv6_a_network_is_one_client_however_it_is_written(
    start: Callable[[str], int], form: str
) -> None:
    network = f"2001:db8:0:{next(unused)}"

    assert start(f"{network}::1") == 202
    assert start(form.format(f"{network}::2")) == 429
    assert start(form.format(f"2001:db8:1:{next(unused)}::1")) == 202


NO_ADDRESSES = [
    *(
        "unknown",
        "_hidden",
        "localhost",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.2.3.4:",
        "1.2.3.4:x",
    ),
    *("[::1", "::1]", "[]", "[1.2.3.4]x", ":::", "12345::", "x" * 1000, "1.2.3.4/24", "ä"),
    *("0x7f.1", "%", "[::1]:99999999", "-1"),
]


def test_who_cannot_be_told_is_one_client_with_all_of_these(start: Callable[[str], int]) -> None:
    answers = [start(text) for text in NO_ADDRESSES]

    assert answers == [202] + [429] * (len(NO_ADDRESSES) - 1), answers


@pytest.mark.parametrize("nothing", ["", ",", '""', ", ,"])
def test_without_a_forwarded_address_the_proxy_counts(
    start: Callable[[str], int], nothing: str
) -> None:
    assert start(nothing) in (202, 429)
    assert start("127.0.0.1") == 429


# -- the name of the site ----------------------------------------------------------------------------

MALFORMED = [
    *("a b", "[::1", "x:abc", "a..b", f"{'a' * 64}.example", "", "x:0", "x:99999", "a/b", "a@b"),
    *("http://127.0.0.1", "ä", "[::1]x", "127.0.0.1, evil.example", ".", "..", ":5000", "%41"),
]

PATHS = ["/", "/longtask", "/status/x", "/static/style.css", "/health", "/nowhere"]


@pytest.fixture(scope="module")
def web(folder: Path, redis_server: RedisServer) -> Iterator[WebServer]:
    """A server as run.sh starts it; what it starts is run by nobody."""
    server = WebServer("web-on-loopback", folder, redis_server.url(DATABASE))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def anyhow(folder: Path, redis_server: RedisServer) -> Iterator[WebServer]:
    """A server behind a proxy, which is asked for by any name."""
    server = WebServer(
        "web-of-any-name", folder, redis_server.url(DATABASE), LONGTASK_TRUSTED_PROXIES="1"
    )
    yield server
    server.stop()


def assert_refused(answer: Answer) -> None:
    assert answer.status == 400, answer
    assert "application/problem+json" in answer.head, answer
    assert "Location" not in answer.head


@pytest.mark.parametrize("host", MALFORMED)
@pytest.mark.parametrize("accept", ["Accept: */*", BROWSER], ids=["a program", "a browser"])
def test_a_malformed_host_is_refused(
    web: WebServer, anyhow: WebServer, host: str, accept: str
) -> None:
    for path in PATHS:
        for method in ("GET", "POST"):
            head = f"{method} {path} HTTP/1.1\r\n{accept}"
            for server in (web, anyhow):
                assert_refused(send(server, head, host=host))
            if host and "," not in host:  # of several a proxy's own is the last
                assert_refused(send(anyhow, f"{head}\r\nX-Forwarded-Host: {host}"))


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.", "10.0.0.1"]
)
@pytest.mark.parametrize("accept", ["Accept: */*", BROWSER], ids=["a program", "a browser"])
def test_on_loopback_only_its_own_names_are_believed(
    web: WebServer, host: str, accept: str
) -> None:
    for name in (host, f"{host}:{web.port}"):
        for path in PATHS:
            answer = send(web, f"GET {path} HTTP/1.1\r\n{accept}", host=name)
            assert_refused(answer)
            assert b"TRUSTED_HOSTS" in answer.body


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("port", ["", ":80", ":5000", ":65535"])
def test_by_the_names_of_loopback_it_is_reached_at_any_port(
    web: WebServer, host: str, port: str
) -> None:
    answer = send(web, "POST /longtask HTTP/1.1\r\nContent-Length: 0", host=f"{host}{port}")

    assert answer.status == 202
    place = f"http://{host}{port.removeprefix(':80')}/status/"
    assert f"Location: {place}" in answer.head


def test_behind_a_proxy_any_name_is_believed_that_is_one(anyhow: WebServer) -> None:
    for host in ("tasks.example.org", "tasks.example.org:8443", "10.0.0.1", "[2001:db8::1]:5000"):
        answer = send(anyhow, "POST /longtask HTTP/1.1\r\nContent-Length: 0", host=host)
        assert f"Location: http://{host}/status/" in answer.head
        head = f"POST /longtask HTTP/1.1\r\nContent-Length: 0\r\nX-Forwarded-Host: {host}"
        assert f"Location: http://{host}/status/" in send(anyhow, head).head


def test_a_program_that_names_no_host_is_answered_as_before_there_were_any(web: WebServer) -> None:
    assert send(web, "GET /health HTTP/1.0", host=None).status == 200


@pytest.mark.parametrize("host", MALFORMED)
@pytest.mark.parametrize("accept", ["Accept: */*", BROWSER], ids=["a program", "a browser"])
def test_in_a_guests_app_no_host_leads_to_an_error_or_to_an_address_of_nowhere(
    guest: WebServer, host: str, accept: str
) -> None:
    answer = send(guest, f"POST /start HTTP/1.1\r\nContent-Length: 0\r\n{accept}", host=host)

    assert answer.status in (202, 303, 400), answer
    assert "http:///" not in answer.head
    assert send(guest, f"GET /status/x HTTP/1.1\r\n{accept}", host=host).status in (400, 404)
    assert "Traceback" not in guest.log.read_text()


@pytest.fixture(scope="module")
def guest(folder: Path, redis_server: RedisServer) -> Iterator[WebServer]:
    server = WebServer(
        "guest-of-any-name", folder, redis_server.url(DATABASE), app="tests.guest:app"
    )
    yield server
    server.stop()


# -- the dashboard -----------------------------------------------------------------------------------


class Flower(Process):
    """The dashboard, as run.sh starts it."""

    def __init__(self, folder: Path, redis_url: str, **settings: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "celery", "-A", "celery_worker", "flower"]
        settings = {**environment(redis_url), "FLOWER_PORT": str(self.port), **settings}
        super().__init__("flower-of-names", command, folder, settings)
        self.wait_for(lambda: self.ask("127.0.0.1") is not None)

    def ask(self, host: str, path: str = "/healthcheck") -> int | None:
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            return requests.get(url, headers={"Host": host}, timeout=PATIENCE).status_code
        except requests.ConnectionError:
            return None


@pytest.mark.parametrize("prefix", ["", "/flower"])
def test_the_dashboard_is_reached_by_its_own_names_only(
    folder: Path, redis_server: RedisServer, prefix: str
) -> None:
    settings = {"TRUSTED_HOSTS": "tasks.example.org", "FLOWER_URL_PREFIX": prefix}
    flower = Flower(folder, redis_server.url(DATABASE), **settings)
    try:
        for path in ("/", "/tasks", "/healthcheck", "/api/workers", "/static/js/flower.js", "/x"):
            for host in ("evil.example", "127.0.0.1.evil.example", "a b", "10.0.0.1", "[::1"):
                assert flower.ask(host, prefix + path) == 400, (host, path)
                assert flower.ask(f"{host}:{flower.port}", prefix + path) == 400, (host, path)
        for host in ("127.0.0.1", "localhost", "tasks.example.org"):
            assert flower.ask(host, f"{prefix}/healthcheck") == 200
            assert flower.ask(f"{host}:{flower.port}", f"{prefix}/tasks") == 200
    finally:
        flower.stop()


@pytest.mark.parametrize(
    "prefix",
    [".evil.example", "@evil.example", "//evil.example", "?x", "#x", "\\evil", "\xff", "/a b"],
)
@pytest.mark.parametrize("accept", ["Accept: */*", BROWSER], ids=["a program", "a browser"])
def test_a_prefix_that_is_no_path_counts_for_none(
    anyhow: WebServer, prefix: str, accept: str
) -> None:
    head = f"POST /longtask HTTP/1.1\r\n{accept}\r\nContent-Length: 0"

    answer = send(anyhow, f"{head}\r\nX-Forwarded-Prefix: {prefix}")

    assert answer.status in (202, 303)
    assert "\r\nLocation: http://127.0.0.1/status/" in answer.head
