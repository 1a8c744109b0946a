"""`Idempotency-Key`: a request that comes twice starts one task, whatever happens between the two."""

import io
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from celery import chain, chord, group
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from flask_longtask import accepted, started_before
from flask_longtask.store.clients import claims as of_store
from flask_longtask.store.clients.claims import TURN_SECONDS
from flask_longtask.web.kept import kept
from flask_longtask.web.protection import idempotency
from tests import tasks
from tests.processes import PATIENCE, RedisServer, WebServer, free_port, wait_until

QUICK = {"steps": 1, "delay": 0}

#: A queue that no worker serves: what is put there stays there and can be counted.
UNSERVED = "unserved-idempotency"


@pytest.fixture
def key() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def request_with(app: Any, key: str) -> Callable[..., Any]:
    """Be in a request with the key, as the code of a protected route is."""

    @contextmanager
    def request_with(path: str = "/start", **body: Any) -> Iterator[None]:
        headers = {"Idempotency-Key": body.pop("key", key), "Accept": "application/json"}
        with app.test_request_context(path, method="POST", headers=headers, **body):
            idempotency.check_key()
            yield

    return request_with


@contextmanager
def counted(redis: Redis, number: int) -> Iterator[None]:
    """So many messages are published meanwhile."""
    before = redis.llen(UNSERVED)
    yield
    assert redis.llen(UNSERVED) - before == number


def submit() -> str:
    return str(tasks.noting.apply_async(queue=UNSERVED).id)


# -- the same request --------------------------------------------------------------------------------


def test_the_same_request_again_is_answered_with_the_same_task(client: Any, key: str) -> None:
    first, second = [
        client.post("/longtask", json=QUICK, headers={"Idempotency-Key": key}) for _ in range(2)
    ]

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.headers["Location"] == second.headers["Location"]
    assert first.json["task_id"] == second.json["task_id"]
    assert uuid.UUID(first.json["task_id"]).version == 4


def test_it_is_published_once(request_with: Any, redis: Redis) -> None:
    with counted(redis, 1):
        started = set()
        for _ in range(3):
            with request_with(json=QUICK):
                started.add(submit())
    assert len(started) == 1


def test_a_browser_that_sends_its_form_again_comes_to_the_same_page(client: Any, key: str) -> None:
    headers = {"Idempotency-Key": key, "Accept": "text/html"}
    first, second = [client.post("/longtask", data=QUICK, headers=headers) for _ in range(2)]

    assert (first.status_code, second.status_code) == (303, 303)
    assert first.headers["Location"] == second.headers["Location"]


def test_a_task_that_has_ended_is_still_the_one_of_its_key(
    client: Any, key: str, worker: Any, ended: Any
) -> None:
    headers = {"Idempotency-Key": key}
    task_id = client.post("/longtask", json=QUICK, headers=headers).json["task_id"]
    ended(task_id)

    again = client.post("/longtask", json=QUICK, headers=headers)

    assert (again.status_code, again.json["task_id"]) == (202, task_id)
    assert again.json["state"] == "SUCCESS"


def test_a_cancelled_task_is_not_started_again(request_with: Any, client: Any) -> None:
    with request_with():
        task_id = submit()
    client.delete(f"/status/{task_id}")

    with request_with():
        assert submit() == task_id


def test_once_a_task_is_forgotten_its_key_is_free(request_with: Any, redis: Redis) -> None:
    with request_with():
        task_id = submit()
    redis.delete(f"longtask:task:{task_id}")

    with request_with(), counted(redis, 1):
        assert submit() != task_id


def test_a_key_is_kept_no_longer_than_results_are(
    app: Any, request_with: Any, redis: Redis
) -> None:
    with request_with():
        task_id = submit()
        claim = idempotency._claim(0)

    # As long as its task is open, and then as long as that
    assert redis.ttl(f"longtask:claim:{claim.name}") == -1
    app.extensions["celery"].backend.cancel(task_id)
    expires = app.config["CELERY"]["result_expires"]
    assert expires - 60 < redis.ttl(f"longtask:claim:{claim.name}") <= expires


# -- another request ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"json": {"steps": 2, "delay": 0}},
        {"data": QUICK},
        {"json": QUICK, "query_string": "x=1"},
        {},
    ],
    ids=["another body", "another kind of body", "another query", "no body"],
)
def test_the_same_key_for_another_request_is_refused(client: Any, key: str, other: Any) -> None:
    headers = {"Idempotency-Key": key}
    client.post("/longtask", json=QUICK, headers=headers)

    response = client.post("/longtask", headers=headers, **other)

    assert (response.status_code, response.mimetype) == (422, "application/problem+json")
    assert "Idempotency-Key" in response.json["detail"]


def test_another_key_another_address_and_no_key_are_each_a_task_of_their_own(
    app: Any, request_with: Any, key: str, redis: Redis
) -> None:
    with counted(redis, 5):
        started = []
        for address, other in [("/start", key), ("/start", "other" + key), ("/else", key)]:
            with request_with(address, key=other):
                started.append(submit())
        for _ in range(2):
            with app.test_request_context("/start", method="POST"):
                started.append(submit())
    assert len(set(started)) == 5


def test_a_key_has_no_meaning_where_nothing_is_started(client: Any, key: str) -> None:
    headers = {"Idempotency-Key": key}
    task_id = client.post("/longtask", json=QUICK, headers=headers).json["task_id"]

    assert client.get(f"/status/{task_id}", headers=headers).status_code == 200
    assert client.get("/status/x", headers={"Idempotency-Key": ""}).status_code == 404


# -- the body ----------------------------------------------------------------------------------------


def upload(content: bytes = b"a,b\n1,2\n", name: str = "rows.csv", **fields: str) -> dict[str, Any]:
    return {"data": {"file": (io.BytesIO(content), name), **fields}}


@pytest.mark.parametrize(
    "other",
    [upload(b"a,b\n1,3\n"), upload(name="other.csv"), upload(note="x")],
    ids=["another file of the same length", "another name", "another field"],
)
def test_an_upload_is_told_from_another(request_with: Any, other: Any) -> None:
    with request_with(**upload()):
        task_id = submit()

    with request_with(**upload()):
        assert submit() == task_id
    with request_with(**other), pytest.raises(idempotency.KeyReused):
        submit()


def test_an_upload_is_read_piece_by_piece_and_left_as_it_was() -> None:
    sizes = []

    class Upload(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            sizes.append(size)
            return super().read(size)

    content = os.urandom(1024) * 5 * 1024
    upload = Upload(content)
    upload.seek(7)

    digest = idempotency._file_digest(upload)

    assert upload.tell() == 7
    assert set(sizes) == {1024 * 1024}
    assert digest == idempotency._file_digest(Upload(content))
    assert digest != idempotency._file_digest(Upload(content[:-1] + bytes([content[-1] ^ 1])))


# -- the key -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["", " ", '""', "x" * 256, '"a"b"', "a b", "ä", "\x7f", '"\\a"'])
def test_a_key_that_is_none_is_refused_by_name(client: Any, bad: str) -> None:
    response = client.post("/longtask", json=QUICK, headers={"Idempotency-Key": bad})

    assert (response.status_code, response.mimetype) == (400, "application/problem+json")
    assert response.json["field"] == "Idempotency-Key"


@pytest.mark.parametrize("good", ["x", "x" * 255, '"a b"', '"a\\"b"', "a,b;c=1", "'", "~!#"])
def test_any_other_key_will_do(request_with: Any, good: str) -> None:
    with request_with(f"/{uuid.uuid4()}", key=good):
        assert submit()


def test_a_key_in_quotation_marks_is_the_same_key_without(client: Any, key: str) -> None:
    quoted, bare = [
        client.post("/longtask", json=QUICK, headers={"Idempotency-Key": text}).json["task_id"]
        for text in (f'"{key}"', key)
    ]
    assert quoted == bare


# -- routes that do more -----------------------------------------------------------------------------


def test_each_of_several_tasks_of_a_request_is_the_same_again(
    request_with: Any, redis: Redis
) -> None:
    def start_three() -> list[str]:
        with request_with():
            return [submit() for _ in range(3)]

    with counted(redis, 3):
        first = start_three()
        assert start_three() == first
    assert len(set(first)) == 3


def test_what_a_failed_request_had_not_started_is_started_by_the_next(
    request_with: Any, redis: Redis
) -> None:
    with request_with():
        first = submit()

    with request_with(), counted(redis, 1):
        again, second = submit(), submit()

    assert again == first
    assert second != first


@pytest.mark.parametrize(
    "canvas",
    [
        lambda: chain(tasks.noting.si(), tasks.noting.si(), tasks.noting.si()),
        lambda: chord([tasks.noting.si(), tasks.noting.si()], tasks.noting.si()),
    ],
    ids=["a chain", "a chord"],
)
def test_a_workflow_is_the_same_again(request_with: Any, redis: Redis, canvas: Any) -> None:
    def start() -> Any:
        with request_with():
            return accepted(canvas().apply_async(queue=UNSERVED)).json

    before = redis.llen(UNSERVED)
    first = start()
    with counted(redis, 0):
        second = start()

    assert redis.llen(UNSERVED) > before
    assert first["task_id"] == second["task_id"]
    assert first["state"] == "PENDING"


def test_a_group_is_not_published_again(request_with: Any, redis: Redis) -> None:
    with counted(redis, 3):
        for _ in range(2):
            with request_with():
                group(tasks.noting.si() for _ in range(3)).apply_async(queue=UNSERVED)


def test_a_route_that_chooses_the_id_itself_is_told_the_one_that_counts(request_with: Any) -> None:
    chosen = [str(uuid.uuid4()) for _ in range(2)]
    results = []
    for task_id in chosen:
        with request_with():
            results.append(tasks.noting.apply_async(task_id=task_id, queue=UNSERVED).id)

    assert results == [chosen[0], chosen[0]]


def test_a_route_can_ask_before_it_does_anything_else(request_with: Any) -> None:
    with request_with(json=QUICK):
        assert started_before() is None
        task_id = submit()

    with request_with(json=QUICK):
        assert started_before().id == task_id
        assert submit() == task_id  # asking is not starting
    with request_with(json={}), pytest.raises(idempotency.KeyReused):
        started_before()
    with request_with(json=QUICK, key="another"):
        assert started_before() is None


@pytest.mark.parametrize("comes_to_nothing", [False, True])
def test_who_asks_meanwhile_waits_until_the_first_has_been_answered(
    request_with: Any, monkeypatch: pytest.MonkeyPatch, comes_to_nothing: bool
) -> None:
    # However long this process may be kept from going on
    monkeypatch.setattr(idempotency, "BUSY_PATIENCE", PATIENCE)
    monkeypatch.setattr(of_store, "TURN_SECONDS", PATIENCE)

    def ask() -> Any:
        with request_with(json=QUICK):
            return started_before()

    task_id = None
    with ThreadPoolExecutor(1) as pool:
        with request_with(json=QUICK):
            assert started_before() is None
            second = pool.submit(ask)
            time.sleep(0.2)
            assert not second.done()
            if not comes_to_nothing:
                task_id = submit()
            time.sleep(0.2)
            assert not second.done()
        earlier = second.result(timeout=PATIENCE)

    assert (earlier and earlier.id) == task_id


@pytest.mark.long
def test_as_long_as_a_request_takes_the_same_one_is_refused_and_soon_after_its_process_has_died_is_not(
    app: Any, request_with: Any
) -> None:
    claims = app.extensions["celery"].backend.store.claims

    def is_refused(key: str) -> bool:
        try:
            with request_with(key=key, json=QUICK):
                return started_before() is not None
        except idempotency.KeyBusy:
            return True

    def long_request() -> tuple[str, Any] | None:
        key = str(uuid.uuid4())
        with request_with(key=key, json=QUICK):
            assert started_before() is None
            turn = kept().pop("turn")
        ended = time.monotonic() + 1.5 * TURN_SECONDS
        refused = 0
        while time.monotonic() < ended:
            if not is_refused(key):
                return None
            refused += 1
        return (key, turn) if refused > 2 else None

    # Given a request that takes longer than its turn would last by itself
    # (but for a process that has stood still for so long, and so could not renew it)
    key, turn = wait_until(long_request)

    # When its process dies
    claims._turns.discard(turn)

    # Then the key is free again
    wait_until(lambda: not is_refused(key))


def test_outside_of_a_request_nothing_is_claimed(app: Any, redis: Redis) -> None:
    assert started_before() is None
    with counted(redis, 2):
        assert submit() != submit()
    with app.app_context():
        assert idempotency.FlaskRequests().claim() is None


# -- when something goes wrong -----------------------------------------------------------------------


def test_a_request_that_could_not_be_published_can_be_sent_again(
    app: Any, request_with: Any, monkeypatch: pytest.MonkeyPatch, redis: Redis
) -> None:
    with monkeypatch.context() as outage, request_with():
        outage.setattr(
            "kombu.messaging.Producer.publish",
            lambda *args, **kwargs: (_ for _ in ()).throw(OperationalError("away")),
        )
        with pytest.raises(OperationalError):
            submit()
        assert started_before() is None

    with request_with(), counted(redis, 1):
        submit()


def interrupted(request_with: Any, monkeypatch: pytest.MonkeyPatch, at: str) -> str:
    """The id of a task whose web process died at this point, so that nobody heard of it."""

    class Killed(BaseException):
        pass

    def die(*args: Any, **kwargs: Any) -> None:
        raise Killed

    task_id = str(uuid.uuid4())
    with monkeypatch.context() as death, request_with():
        death.setattr(at, die)
        with pytest.raises(Killed):
            tasks.noting.apply_async(task_id=task_id, queue=UNSERVED)
    return task_id


BEFORE = "kombu.messaging.Producer.publish"
AFTER = "flask_longtask.web.protection.idempotency.FlaskRequests.on_accepted"


def test_a_web_process_that_died_before_the_step_leaves_nothing_behind(
    request_with: Any, monkeypatch: pytest.MonkeyPatch, redis: Redis, client: Any
) -> None:
    lost = interrupted(request_with, monkeypatch, BEFORE)

    with request_with(), counted(redis, 1):
        assert submit() != lost
    assert client.get(f"/status/{lost}").status_code == 404


def test_a_web_process_that_died_after_the_step_has_started_the_task_of_the_key(
    request_with: Any, monkeypatch: pytest.MonkeyPatch, redis: Redis, worker: Any, ended: Any
) -> None:
    with counted(redis, 1):
        lost = interrupted(request_with, monkeypatch, AFTER)

    # When the client tries again, then it is given that task, which runs once
    with request_with(), counted(redis, 0):
        assert submit() == lost
    redis.lmove(UNSERVED, "celery", "LEFT", "LEFT")
    ended(lost)
    assert tasks.evidence(redis, lost) == ["ran"]


def test_a_task_whose_answer_was_lost_is_the_task_of_the_key(
    app: Any, request_with: Any, monkeypatch: pytest.MonkeyPatch, redis: Redis
) -> None:
    # Given a Redis whose answer to the step does not come
    store = app.extensions["celery"].backend.store.tasks
    accept = store.accept

    def cut_off(*args: Any, **options: Any) -> None:
        accept(*args, **options)
        raise RedisTimeoutError("no answer")

    with monkeypatch.context() as outage, request_with(), counted(redis, 1):
        outage.setattr(store, "accept", cut_off)
        with pytest.raises(OperationalError):
            submit()

    # When the client tries again, then nothing is started a second time
    with request_with(), counted(redis, 0):
        submit()


def test_without_a_key_a_task_whose_answer_was_lost_is_never_run(
    app: Any, monkeypatch: pytest.MonkeyPatch, redis: Redis, worker: Any, client: Any
) -> None:
    store = app.extensions["celery"].backend.store.tasks
    accept = store.accept
    lost = str(uuid.uuid4())

    def cut_off(*args: Any, **options: Any) -> None:
        accept(*args, **options)
        raise RedisTimeoutError("no answer")

    with monkeypatch.context() as outage, counted(redis, 1):
        outage.setattr(store, "accept", cut_off)
        with pytest.raises(OperationalError):
            tasks.noting.apply_async(task_id=lost, queue=UNSERVED)

    # The client was told that it could not be queued, so that it may start another
    submit()
    assert client.get(f"/status/{lost}").json["status"] == "It could not be queued"


# -- several processes at the same instant -----------------------------------------------------------


@pytest.fixture(scope="module")
def two_servers(folder: Path, redis_server: RedisServer) -> Iterator[list[WebServer]]:
    """Two web processes over a database that no worker looks at."""
    address = redis_server.url(database=5)
    servers = [WebServer(f"web-{name}", folder, address) for name in "ab"]
    yield servers
    for server in servers:
        server.stop()


def at_the_same_instant(
    servers: list[WebServer], headers: dict[str, str], bodies: list[Any]
) -> list[Any]:
    barrier = threading.Barrier(len(bodies))

    def ask(number: int) -> requests.Response:
        with requests.Session() as session:
            url = servers[number % len(servers)].url
            session.get(f"{url}/health", timeout=PATIENCE)
            barrier.wait()
            return session.post(
                f"{url}/longtask", json=bodies[number], headers=headers, timeout=PATIENCE
            )

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(ask, range(len(bodies))))


def test_two_processes_asked_at_the_same_instant_start_one_task(
    two_servers: list[WebServer], redis_server: RedisServer
) -> None:
    rounds = 25
    with Redis.from_url(redis_server.url(database=5)) as redis:
        before = redis.llen("celery")
        for _ in range(rounds):
            headers = {"Idempotency-Key": str(uuid.uuid4())}
            answers = at_the_same_instant(two_servers, headers, [QUICK] * 6)

            assert {answer.status_code for answer in answers} == {202}
            assert len({answer.json()["task_id"] for answer in answers}) == 1
            assert len({answer.headers["Location"].rpartition("/")[2] for answer in answers}) == 1
        assert redis.llen("celery") - before == rounds


def test_of_two_bodies_at_the_same_instant_one_is_refused(two_servers: list[WebServer]) -> None:
    for _ in range(5):
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        answers = at_the_same_instant(two_servers, headers, [{"steps": 1}, {"steps": 2}])

        assert sorted(answer.status_code for answer in answers) == [202, 422]


def test_while_the_broker_is_away_a_key_is_not_used_up(
    folder: Path, redis_server: RedisServer
) -> None:
    # Given a broker that is away, while the Redis that knows about tasks is there
    ours = redis_server.url(database=6)
    broker = f"redis://127.0.0.1:{free_port()}/0"
    away = WebServer("web-away", folder, ours, CELERY_BROKER_URL=broker)
    there = WebServer("web-there", folder, ours)
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    try:
        refused = requests.post(
            f"{away.url}/longtask", json=QUICK, headers=headers, timeout=PATIENCE
        )
        with Redis.from_url(ours) as stored:
            turns = stored.keys("longtask:turn:*")  # while there is one, the next request waits
        taken = requests.post(
            f"{there.url}/longtask", json=QUICK, headers=headers, timeout=PATIENCE
        )

        assert (refused.status_code, taken.status_code) == (503, 202)
        assert turns == []
    finally:
        away.stop()
        there.stop()
