"""A request whose body is not whole is none: it is refused, and nothing starts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.processes import RedisServer, WebServer
from tests.raw_http import Answer, send

DATABASE = 12

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"
FILE = (
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="rows.csv"\r\n\r\n'
    b"a,b\r\n1,2\r\n--x--\r\n"
)
FIELD = b'--x\r\nContent-Disposition: form-data; name="steps"\r\n\r\n1\r\n--x--\r\n'

#: Whole bodies of this app's routes, by the way they are sent.
OURS = [
    ("/longtask", FORM, b"steps=10&delay=0"),
    ("/longtask", "application/json", b'{"steps": 1}' + b" " * 20),
    ("/longtask", MULTIPART, FIELD),
    ("/double", FORM, b"number=123456"),
    ("/tasks", FORM, b"type=0&x=1"),
    ("/mail", FORM, b"email=ann@example.com&x=1"),
    ("/users", FORM, b"username=ann&email=ann@example.com"),
    ("/imports", MULTIPART, FILE),
]

GUESTS = [
    ("/start", FORM, b"what=10000"),
    ("/start", "application/json", b'{"what": "x"}' + b" " * 20),
    ("/start", MULTIPART, FIELD),
]


def name(part: object) -> str:
    """Of a case in the list of tests."""
    return "body" if isinstance(part, bytes) else str(part).partition(";")[0]


@pytest.fixture(scope="module")
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(redis_server.url(DATABASE)) as client:
        yield client


@pytest.fixture(scope="module")
def ours(folder: Path, redis_server: RedisServer) -> Iterator[WebServer]:
    database = f"sqlite:///{folder / 'halves.db'}"
    server = WebServer("web-of-halves", folder, redis_server.url(DATABASE), DATABASE_URL=database)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def guests(folder: Path, redis_server: RedisServer) -> Iterator[WebServer]:
    server = WebServer("guest-of-halves", folder, redis_server.url(DATABASE), app="tests.guest:app")
    yield server
    server.stop()


def tasks(redis: Redis) -> int:
    return len(list(redis.scan_iter("longtask:task:*")))


def post(path: str, media_type: str, *headers: str) -> str:
    return "\r\n".join([f"POST {path} HTTP/1.1", f"Content-Type: {media_type}", *headers])


def assert_refused(answer: Answer, before: int, redis: Redis) -> None:
    assert answer.status == 400, answer
    assert "application/problem+json" in answer.head
    assert tasks(redis) == before


def cut_off(web: WebServer, redis: Redis, path: str, media_type: str, body: bytes) -> None:
    length = f"Content-Length: {len(body)}"
    before = tasks(redis)
    # Nothing of it, about half, all but the last byte.
    for end in (0, len(body) // 2, len(body) - 1):
        answer = send(web, post(path, media_type, length), body[:end])
        assert_refused(answer, before, redis)
        answer = send(web, post(path, media_type, length, "Idempotency-Key: k"), body[:end])
        assert_refused(answer, before, redis)
    whole = send(web, post(path, media_type, length), body)
    assert whole.status == 202, whole
    assert tasks(redis) > before


def chunked(body: bytes, size: bytes | None = None) -> bytes:
    size = b"%x" % len(body) if size is None else size
    return size + b"\r\n" + body + b"\r\n0\r\n\r\n"


def cut_chunks(web: WebServer, redis: Redis, path: str, media_type: str, body: bytes) -> None:
    head = post(path, media_type, "Transfer-Encoding: chunked")
    before = tasks(redis)
    sent = chunked(body)
    # In the chunk, before the last one, in the last one.
    for end in (len(body) // 2, sent.rindex(b"0\r\n\r\n"), len(sent) - 2):
        assert_refused(send(web, head, sent[:end]), before, redis)
    for size in (b"-1", b"+5", b"0x5", b"", b"5 5", b"g", b"\xff", b"1_0", b"9" * 9000):
        assert_refused(send(web, head, chunked(body, size)), before, redis)
    whole = send(web, head, sent)
    assert whole.status == 202, whole
    assert tasks(redis) > before


@pytest.mark.parametrize(("path", "media_type", "body"), OURS, ids=name)
def test_a_body_that_is_cut_off_starts_nothing(
    ours: WebServer, redis: Redis, path: str, media_type: str, body: bytes
) -> None:
    cut_off(ours, redis, path, media_type, body)


@pytest.mark.parametrize(
    ("path", "media_type", "body"), [case for case in OURS if case[0] != "/users"], ids=name
)
def test_chunks_that_are_cut_off_or_malformed_start_nothing(
    ours: WebServer, redis: Redis, path: str, media_type: str, body: bytes
) -> None:
    cut_chunks(ours, redis, path, media_type, body)


@pytest.mark.parametrize(("path", "media_type", "body"), GUESTS, ids=name)
def test_a_guest_who_reads_by_the_extension_starts_nothing_either(
    guests: WebServer, redis: Redis, path: str, media_type: str, body: bytes
) -> None:
    cut_off(guests, redis, path, media_type, body)
    cut_chunks(guests, redis, path, media_type, body)


def test_a_guest_who_asks_first_starts_nothing_either(guests: WebServer, redis: Redis) -> None:
    before = tasks(redis)
    head = post("/ask-first", FORM, "Idempotency-Key: k", "Content-Length: 60")

    assert_refused(send(guests, head, b"what=100000"), before, redis)


def test_a_guest_who_reads_by_himself_starts_nothing_with_the_middleware(
    folder: Path, redis_server: RedisServer, redis: Redis
) -> None:
    guest = WebServer(
        "guest-of-whole-bodies",
        folder,
        redis_server.url(DATABASE),
        app="tests.guest:app",
        WHOLE_BODIES="yes",
    )
    try:
        cut_off(guest, redis, "/start-by-itself", FORM, b"what=10000")
        cut_chunks(guest, redis, "/start-by-itself", FORM, b"what=10000")
    finally:
        guest.stop()


def test_half_a_request_cancels_nothing(ours: WebServer, redis: Redis) -> None:
    started = send(ours, post("/longtask", FORM, "Content-Length: 0"))
    place = started.head.partition("Location: http://127.0.0.1")[2].split()[0]

    for method in ("POST", "DELETE"):
        head = f"{method} {place} HTTP/1.1\r\nContent-Length: 60"
        assert send(ours, head, b"x=1").status == 400
    assert b'"PENDING"' in send(ours, f"GET {place} HTTP/1.1").body
    assert send(ours, f"DELETE {place} HTTP/1.1").status == 200


def test_it_is_said_that_the_body_is_not_whole(ours: WebServer) -> None:
    answer = send(ours, post("/longtask", FORM, "Content-Length: 60"), b"steps=10000")

    assert "application/problem+json" in answer.head
    assert b"The body is incomplete" in answer.body
    assert "Traceback" not in ours.log.read_text()
