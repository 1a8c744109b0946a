"""A Redis as others may have left it: with a memory policy that removes keys, or with keys of ours overwritten."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from redis import Redis

from flask_longtask.store.keys import KINDS, KINDS_BY_QUEUE, KINDS_BY_WORKER
from tests.faults.system import System
from tests.processes import PATIENCE, wait_until


@pytest.fixture(scope="module")
def system(folder: Path) -> Iterator[System]:
    system = System("as-found", folder)
    yield system
    system.stop()


@pytest.mark.parametrize(
    ("policy", "what"), [("allkeys-lru", "tasks"), ("volatile-ttl", "results")]
)
def test_a_policy_that_forgets_is_told(system: System, policy: str, what: str) -> None:
    warning = f"Redis may forget {what}: its maxmemory-policy is {policy}. Set it to noeviction."
    assert "warnings" not in system.health()

    system.redis.config_set("maxmemory", "1gb")
    system.redis.config_set("maxmemory-policy", policy)
    worker = system.worker("worker")

    assert system.health()["warnings"] == [warning]
    wait_until(lambda: warning in worker.log.read_text())

    # If Redis refuses new data, or has no bound, nothing is forgotten
    system.redis.config_set("maxmemory-policy", "noeviction")
    assert "warnings" not in system.health()
    system.redis.config_set("maxmemory-policy", policy)
    system.redis.config_set("maxmemory", "0")
    assert "warnings" not in system.health()
    system.clear()


def stored_as(kind: str) -> str:
    return "string" if kind in ("integer", "time") else kind


def put_another_type(redis: Redis, name: str, kind: str) -> None:
    pipeline = redis.pipeline()  # a worker writes to the key all the time
    pipeline.delete(name)
    if stored_as(kind) == "string":
        pipeline.sadd(name, "a stranger")
    else:
        pipeline.set(name, "a stranger")
    pipeline.execute()


@pytest.mark.long
def test_another_type_at_any_key_is_mended(system: System) -> None:
    worker = system.worker("worker")
    browser = requests.Session()
    browser.get(system.web.url, timeout=PATIENCE)
    url = f"{system.web.url}/longtask"
    quick = {"json": {"steps": 1, "delay": 0}, "timeout": PATIENCE}
    (worker_id,) = (name.decode() for name in system.redis.hkeys("longtask:worker-info"))
    kinds = {f"longtask:{name}": kind for name, kind in KINDS.items()}
    kinds |= {f"longtask:{name}:celery": kind for name, kind in KINDS_BY_QUEUE.items()}
    kinds |= {f"longtask:{name}:{worker_id}": kind for name, kind in KINDS_BY_WORKER.items()}
    problems = []

    for name, kind in kinds.items():
        # Given a task that runs
        running = system.start("working_until_released")
        system.wait([running], state="PROGRESS")

        put_another_type(system.redis, name, kind)
        system.release(running)  # so that its end is stored while the key is of the wrong type

        # Then every answer is a success or 503, and tasks can be started again within seconds
        ended = []

        def is_mended() -> bool:
            answers = [
                browser.post(url, **quick),
                browser.get(f"{system.web.url}/status/{running}", timeout=PATIENCE),  # noqa: B023
                browser.get(f"{system.web.url}/tasks", timeout=PATIENCE),
                browser.get(f"{system.web.url}/health", timeout=PATIENCE),
            ]
            codes = [answer.status_code for answer in answers]
            problems.extend((name, codes) for code in codes if code not in (200, 202, 503))  # noqa: B023
            ended.extend(a.json()["task_id"] for a in answers if a.status_code == 202)  # noqa: B023
            return codes == [202, 200, 200, 200]

        wait_until(is_mended)
        wait_until(is_mended)  # by every process
        system.wait(ended, state="SUCCESS")
        system.wait([running], state="SUCCESS")
        rightful = (stored_as(kind).encode(), b"none")
        wait_until(lambda: system.redis.type(name) in rightful)  # noqa: B023
    assert problems == []
    assert worker.runs


def test_another_type_where_a_browser_or_an_idempotency_key_has_its_place(system: System) -> None:
    system.clear()
    system.worker("worker")
    browser = requests.Session()
    browser.get(system.web.url, timeout=PATIENCE)
    url = f"{system.web.url}/longtask"
    keyed = {
        "json": {"steps": 1, "delay": 0},
        "headers": {"Idempotency-Key": "k"},
        "timeout": PATIENCE,
    }
    first = browser.post(url, **keyed)
    assert first.status_code == 202
    names = [
        *system.redis.scan_iter("longtask:browser:*"),
        *system.redis.scan_iter("longtask:claim:*"),
    ]
    assert len(names) == 2

    for name in names:
        for value in ("hash", "text"):
            system.redis.delete(name)
            if value == "hash":
                system.redis.hset(name, "a", "stranger")
            else:
                system.redis.set(name, '{"tasks": 5}')
            answer = browser.post(url, **keyed)
            assert answer.status_code == 202, (name, value, answer.text)
            assert browser.get(f"{system.web.url}/tasks", timeout=PATIENCE).status_code == 200
    listed = browser.get(f"{system.web.url}/tasks", timeout=PATIENCE).json()["tasks"]
    system.wait([task["task_id"] for task in listed], state="SUCCESS")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("number", "1.5"),
        ("number", "inf"),
        ("number", str(2**63 - 1)),
        ("calm", "1e300"),
        ("heartbeat", "nan"),
    ],
)
def test_a_number_that_is_none_is_mended(system: System, name: str, text: str) -> None:
    system.clear()
    system.worker("worker")

    system.redis.set(f"longtask:{name}", text)

    def starts() -> bool:
        url = f"{system.web.url}/start/quick"
        return requests.post(url, json={}, timeout=PATIENCE).status_code == 202

    wait_until(starts)
    wait_until(lambda: system.redis.get(f"longtask:{name}") != text.encode())


def test_a_worker_that_has_no_name_is_none(system: System) -> None:
    system.clear()
    worker = system.worker("worker")

    said = len(worker.log.read_text())
    system.redis.zadd("longtask:workers", {b"\xff": 1})

    assert system.health()["redis"] == "up"
    wait_until(lambda: system.redis.zscore("longtask:workers", b"\xff") is None)
    system.wait([system.start("quick")], state="SUCCESS")
    assert "heartbeat has failed" not in worker.log.read_text()[said:]


def test_what_is_held_as_no_message_is_does_not_stop_the_others(system: System) -> None:
    system.clear()
    entries = {
        "null": '["celery", "celery", null]',
        "object": '["celery", "celery", {}]',
        "text": "x",
        b"\xff": "x",
    }
    system.redis.hset("longtask:held:gone", mapping=entries)
    system.redis.zadd("longtask:workers", {"gone": 1})
    # A time in `calm` that no worker has set.
    system.redis.set("longtask:calm", "99999999999")

    system.worker("worker")

    wait_until(lambda: not system.redis.exists("longtask:held:gone"))
    wait_until(lambda: system.redis.zscore("longtask:workers", "gone") is None)
    assert system.redis.llen("longtask:rejected") == 3
