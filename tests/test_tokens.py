"""LONGTASK_API_TOKEN under attack: guessing, odd bytes, ways out of the site, planted sessions, timing."""

import hmac
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
import requests
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from redis import Redis

from flask_longtask.store.clients.guesses import PERIOD, Guesses
from flask_longtask.store.keys import Keys
from flask_longtask.web.protection import token as token_module
from tests.processes import PATIENCE, RedisServer, WebServer
from tests.raw_http import send

DATABASE = 15

TOKEN = "correct-horse-battery-stäple"
MOST = 10

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(redis_server.url(DATABASE)) as client:
        client.flushdb()
        yield client


@pytest.fixture(scope="module")
def servers(folder: Path, redis_server: RedisServer) -> Iterator[list[WebServer]]:
    """Two web servers with one Redis, behind a proxy, so that a test can be any client."""
    settings = {
        "LONGTASK_API_TOKEN": TOKEN,
        "LONGTASK_WRONG_TOKENS": str(MOST),
        "LONGTASK_TRUSTED_PROXIES": "1",
    }
    servers = [
        WebServer(f"web-guessed-{n}", folder, redis_server.url(DATABASE), **settings)
        for n in range(2)
    ]
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def web(servers: list[WebServer]) -> WebServer:
    return servers[0]


def show(web: WebServer, token: str, address: str, path: str = "/tasks") -> requests.Response:
    headers = {"Authorization": f"Bearer {token}".encode(), "X-Forwarded-For": address}
    return requests.get(f"{web.url}{path}", headers=headers, timeout=PATIENCE)


def give(web: WebServer, address: str, token: str = TOKEN, **fields: str) -> requests.Response:
    return requests.post(
        f"{web.url}/session",
        data={"token": token, **fields},
        headers={**BROWSER, "X-Forwarded-For": address},
        timeout=PATIENCE,
        allow_redirects=False,
    )


# -- guessing ----------------------------------------------------------------------------------------


def test_after_ten_wrong_tokens_none_is_looked_at_any_more(web: WebServer) -> None:
    address = "192.0.2.1"
    assert show(web, TOKEN, address).status_code == 200

    for number in range(MOST):  # in a header and in a form, together
        wrong = give(web, address, "x") if number % 2 else show(web, f"x{number}", address)
        assert wrong.status_code == 401

    for answer in (show(web, "x", address), show(web, TOKEN, address), give(web, address)):
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert "Set-Cookie" not in answer.headers
    answer = show(web, TOKEN, address)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "wrong tokens" in answer.json()["detail"]


def test_others_are_not_barred_and_neither_is_what_needs_no_token(web: WebServer) -> None:
    with requests.Session() as session:
        session.headers["X-Forwarded-For"] = "192.0.2.2"
        session.post(f"{web.url}/session", json={"token": TOKEN}, timeout=PATIENCE)
        for _ in range(MOST + 1):
            last = show(web, "x", "192.0.2.2")
        assert last.status_code == 429

        assert show(web, TOKEN, "192.0.2.3").status_code == 200
        for path in ("/health", "/static/style.css", "/longtask/static/longtask.js"):
            assert show(web, "x", "192.0.2.2", path).status_code == 200
        # A session is no guess
        assert session.get(f"{web.url}/tasks", timeout=PATIENCE).status_code == 200


def test_all_web_servers_count_together(servers: list[WebServer]) -> None:
    answers = [show(servers[n % 2], "x", "192.0.2.4").status_code for n in range(MOST + 2)]

    assert answers == [401] * MOST + [429] * 2
    assert [show(server, TOKEN, "192.0.2.4").status_code for server in servers] == [429] * 2


def test_a_subscriber_has_no_more_guesses_for_having_many_addresses(web: WebServer) -> None:
    for number in range(MOST + 1):
        last = show(web, "x", f"2001:db8:0:1::{number}")
    assert last.status_code == 429
    assert show(web, TOKEN, "2001:db8:0:2::1").status_code == 200


def test_what_is_counted_is_removed_after_a_minute(web: WebServer, redis: Redis) -> None:
    for _ in range(2):
        show(web, "x", "192.0.2.5")

    assert redis.get("longtask:guesses:192.0.2.5") == b"2"
    assert 0 < redis.ttl("longtask:guesses:192.0.2.5") <= PERIOD


def test_redis_is_not_asked_about_a_right_token(web: WebServer, redis: Redis) -> None:
    def counted() -> int:
        return int(redis.info("commandstats")["cmdstat_incrby"]["calls"])

    show(web, "x", "192.0.2.6")
    before = counted()
    for _ in range(5):
        assert show(web, TOKEN, "192.0.2.6").status_code == 200
    assert counted() == before
    show(web, "x", "192.0.2.6")
    assert counted() == before + 1


def test_a_burst_has_no_more_guesses(web: WebServer) -> None:
    with ThreadPoolExecutor(40) as pool:
        answers = [*pool.map(lambda n: show(web, f"x{n}", "192.0.2.7").status_code, range(40))]

    assert Counter(answers) == {401: MOST, 429: 40 - MOST}


@pytest.mark.parametrize("how", ["is stopped", "hangs"])
def test_while_redis_is_away_the_right_token_passes_and_guessing_has_its_end(
    folder: Path, how: str
) -> None:
    redis_server = RedisServer("redis-of-tokens", folder)
    settings = {"LONGTASK_API_TOKEN": TOKEN, "LONGTASK_WRONG_TOKENS": str(MOST)}
    web = WebServer("web-of-tokens", folder, redis_server.url(), **settings)

    def ask(token: str) -> int:
        return show(web, token, "", "/openapi.json").status_code

    try:
        redis_server.stop() if how == "is stopped" else redis_server.pause()
        assert ask(TOKEN) == 200
        with ThreadPoolExecutor(40) as pool:
            answers = [*pool.map(ask, ["x"] * 40)]
        assert Counter(answers) == {401: MOST, 429: 40 - MOST}
        assert ask(TOKEN) == 429
        assert "Traceback" not in web.log.read_text()
    finally:
        web.stop()
        redis_server.stop()


def test_of_so_many_a_process_remembers_what_they_have_shown(redis: Redis) -> None:
    guesses = Guesses(redis, Keys("bounded:"), remembered=3)
    for number in range(5):
        assert guesses.count(str(number), most=1) == 0  # as many as may be

    barred = [bool(guesses.seconds_barred(str(number), most=1)) for number in range(5)]
    assert barred == [False, False, True, True, True]
    assert 0 < guesses.count("0", most=1) <= PERIOD  # Redis knows all of them
    assert 0 < guesses.seconds_barred("0", most=1) <= PERIOD


# -- odd bytes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        *(r'{"token": "\ud800"}', r'{"token": "\udfff\ud800"}', r'{"token": "\u0000"}'),
        *('{"token": "' + "x" * 60_000 + '"}', '{"token": {}}', '{"token": 1}'),
    ],
)
def test_whatever_is_in_json_is_a_wrong_token_at_most(web: WebServer, body: str) -> None:
    head = (
        "POST /session HTTP/1.1\r\nContent-Type: application/json\r\nX-Forwarded-For: 198.51.100.1"
    )
    assert send(web, f"{head}\r\nContent-Length: {len(body)}", body.encode()).status == 401


@pytest.mark.parametrize("odd", [b"\xff", b"\xed\xa0\x80", b"%ff", b"%ED%A0%80", b"\x00", b"+"])
def test_whatever_is_in_a_form_is_a_wrong_token_at_most(web: WebServer, odd: bytes) -> None:
    head = (
        "POST /session HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"X-Forwarded-For: 198.51.100.2\r\nContent-Length: {6 + len(odd)}"
    )
    assert send(web, head, b"token=" + odd).status in (400, 401)


@pytest.mark.parametrize("odd", ["\xff", "\xed\xa0\x80", "\xc3", "ä" * 100, "\x80\x81", "="])
def test_whatever_is_in_a_header_is_a_wrong_token_at_most(web: WebServer, odd: str) -> None:
    head = f"GET /tasks HTTP/1.1\r\nX-Forwarded-For: 198.51.100.3\r\nAuthorization: Bearer {odd}"
    assert send(web, head).status == 401
    assert send(web, head.replace("Bearer ", "Bearer")).status == 401


@pytest.mark.parametrize("odd", [b"\xff\xfe", b"\xed\xa0\x80", "s3cret-tök".encode()])
def test_credentials_that_are_no_text_are_no_token(web: WebServer, odd: bytes) -> None:
    for scheme in (b"Basic ", b"Bearer ", b"Digest ", b""):
        headers = {"Authorization": scheme + odd}
        answer = requests.get(f"{web.url}/tasks", headers=headers, timeout=PATIENCE)
        assert answer.status_code in (401, 429)


def test_a_token_that_is_not_ascii_is_taken_in_both_ways_of_sending_it(web: WebServer) -> None:
    head = "GET /tasks HTTP/1.1\r\nX-Forwarded-For: 198.51.100.4\r\nAuthorization: Bearer "

    assert send(web, head + TOKEN).status == 200
    assert send(web, head + TOKEN.encode().decode("latin-1")).status == 200


def test_a_body_that_nobody_may_send_is_not_read(web: WebServer) -> None:
    for length in (60, 10**9):
        head = f"POST /longtask HTTP/1.1\r\nAccept: text/html\r\nContent-Length: {length}"
        answer = send(web, f"{head}\r\nContent-Type: application/x-www-form-urlencoded", b"a=b")
        assert answer.status == 401, answer
        assert b'name="token"' in answer.body


# -- ways out of the site ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        *("", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example"),
        *("/\t/evil.example", "/%09/evil.example", "/%2509/evil.example", "/\n/evil.example"),
        *("/\r\n/evil.example", "/%0d%0aSet-Cookie: a=b", "\t//evil.example", " //evil.example"),
        *("/%5Cevil.example", "/%2Fevil.example", "/%2f%2fevil.example", "/%255Cevil.example"),
        *(
            "https://evil.example",
            "https:evil.example",
            "HTTPS:/evil.example",
            "javascript:alert(1)",
        ),
        *(
            "evil.example",
            "@evil.example",
            ".evil.example",
            "/\x00/evil.example",
            "/\x7f/evil.example",
        ),
        *("/\x0b/evil.example", "/%01", "/\u0085/evil.example", "/\u2028/evil.example"),
    ],
)
def test_after_the_token_nobody_is_sent_elsewhere(web: WebServer, place: str) -> None:
    answer = give(web, "198.51.100.5", next=place)

    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


@pytest.mark.parametrize(
    "place", ["/", "/outbox?y=1", "/status/a%20b", "/status/x?next=//y", "/status/caf%C3%A9#x"]
)
def test_after_the_token_one_is_where_one_wanted_to_be(web: WebServer, place: str) -> None:
    assert give(web, "198.51.100.5", next=place).headers["Location"] == place


# -- sessions ----------------------------------------------------------------------------------------


def test_a_planted_session_is_worthless_once_the_token_is_given(web: WebServer) -> None:
    # Given a session that is an attacker's, with a list of its own, before the token was asked for
    serializer = SecureCookieSessionInterface().get_signing_serializer(app_with_the_key_of_tests())
    assert serializer is not None
    planted = serializer.dumps({"longtask": "known-to-the-attacker", "longtask_owner": "192.0.2.9"})
    address = {"X-Forwarded-For": "198.51.100.6"}

    with requests.Session() as victim:
        victim.headers.update(address)
        victim.cookies.set("session", planted, domain="127.0.0.1")
        victim.post(f"{web.url}/session", json={"token": TOKEN}, timeout=PATIENCE)
        victim.post(f"{web.url}/longtask", json={"steps": 1, "delay": 0}, timeout=PATIENCE)
        assert len(victim.get(f"{web.url}/tasks", timeout=PATIENCE).json()["tasks"]) == 1
        session = serializer.loads(victim.cookies["session"])

    # Then it opens nothing, and what it named is not where the victim's tasks are
    cookies = {"session": planted}
    assert requests.get(f"{web.url}/tasks", cookies=cookies, timeout=PATIENCE).status_code == 401
    assert session["longtask"] != "known-to-the-attacker"
    assert "longtask_owner" not in session
    headers = {"Authorization": f"Bearer {TOKEN}".encode()}
    seen = requests.get(f"{web.url}/tasks", cookies=cookies, headers=headers, timeout=PATIENCE)
    assert seen.json() == {"tasks": []}


def app_with_the_key_of_tests() -> Flask:
    app = Flask("tests")
    app.secret_key = "tests"
    return app


# -- timing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shown", ["", "x", TOKEN[:-1], TOKEN, TOKEN + "x", "x" * 100_000, "\ud800"]
)
def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch, shown: str) -> None:
    compared = []

    class Recorder:
        @staticmethod
        def compare_digest(one: bytes, other: bytes) -> bool:
            compared.append((one, other))
            return hmac.compare_digest(one, other)

    monkeypatch.setattr(token_module, "hmac", Recorder)
    app = Flask("tests")
    app.config["LONGTASK_API_TOKEN"] = TOKEN

    with app.app_context():
        assert token_module.API.is_right(shown) == (shown == TOKEN)

    # Whatever was shown, as often, and of the same length
    assert len(compared) == 2
    assert {len(part) for pair in compared for part in pair} == {sha256().digest_size}
