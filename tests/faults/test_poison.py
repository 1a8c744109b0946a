"""Messages that Celery has not written: none does further harm, and the task of each fails."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest
import requests
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.faults.system import System
from tests.processes import PATIENCE, RabbitServer, RedisServer, Worker, wait_until

pytestmark = pytest.mark.long

#: Texts that a stranger may push and that are not messages at all.
GARBAGE = [
    b"x",
    b"",
    b"5",
    b"[]",
    b"{}",
    b"null",
    b'"text"',
    b"\xff\xfe",
    b"[" * 5000,
    b'{"properties": 5}',
    b'{"properties": {"delivery_tag": "\xff"}}',
]


@pytest.fixture(scope="module")
def systems(folder: Path, rabbit_server: RabbitServer) -> Iterator[dict[str, System]]:
    broker = RedisServer("poison-broker", folder)
    brokers = {"redis": None, "second-redis": broker, "rabbitmq": rabbit_server}
    systems = {name: System(f"poison-{name}", folder, each) for name, each in brokers.items()}
    yield systems
    for system in systems.values():
        system.stop()
    broker.stop()


@pytest.fixture(params=["redis", "second-redis", "rabbitmq"])
def system(request: pytest.FixtureRequest, systems: dict[str, System]) -> System:
    return systems[request.param]


@pytest.fixture
def worker(system: System) -> Iterator[Worker]:
    worker = system.workers.get("worker") or system.worker("worker")
    pid = worker.pid
    yield worker
    # Whatever was in the messages, the worker is alive with all its pool processes.
    assert worker.runs
    assert worker.pid == pid
    log = worker.log.read_text()
    assert "WorkerLostError" not in log
    assert "Frequent restarts" not in log


def rejected(system: System) -> int:
    """How many messages were put aside, by /health."""
    found = re.findall(r"(\d+) messages? could not be used", str(system.health().get("warnings")))
    return sum(map(int, found))


def message_of(system: System, task: str = "quick") -> dict[str, Any]:
    """A message as Celery writes it, of a task that is recorded and whose message was not delivered."""
    task_id = system.start(task, countdown=3600)
    headers = {
        "id": task_id,
        "task": f"tests.faults.tasks.{task}",
        "lang": "py",
        "root_id": task_id,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "timelimit": [None, None],
        "eta": None,
        "expires": None,
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "origin": "a stranger",
    }
    body = [[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    return {"headers": headers, "body": body}


def send(
    system: System,
    headers: dict[str, Any],
    body: Any,
    content_type: str = "application/json",
) -> None:
    """Send a message with any content, without Celery."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    with kombu.Connection(system.broker_url) as connection:
        connection.Producer().publish(
            text,
            routing_key="celery",
            headers=headers,
            content_type=content_type,
            content_encoding="utf-8",
        )


def stored(headers: dict[str, Any]) -> dict[str, Any]:
    """The message of a task without arguments, as Kombu keeps it in Redis."""
    return {
        "body": base64.b64encode(b"[[], {}, {}]").decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": {
            "delivery_tag": "tag",
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "body_encoding": "base64",
            "priority": 0,
        },
    }


def change(part: str, **fields: Any) -> Callable[[dict[str, Any]], None]:
    def damage(message: dict[str, Any]) -> None:
        message[part].update(fields)

    return damage


def body(value: Any) -> Callable[[dict[str, Any]], None]:
    def damage(message: dict[str, Any]) -> None:
        message["body"] = value

    return damage


#: Faults that a message may have on any broker.
DAMAGES = {
    "a null body": body(None),
    "a body that is not JSON": body(b"{"),
    "a body that is not text": body(b"\xff\xff"),
    "a body of two parts": body([[], {}]),
    "arguments that are a number": body([1, {}, {}]),
    "keyword arguments that are a list": body([[], [], {}]),
    "followers that are a number": body([[], {}, 5]),
    "a chain of numbers": body([[], {}, {"chain": [1, 2]}]),
    "callbacks that are text": body([[], {}, {"callbacks": "text"}]),
    "a time limit that is text": change("headers", timelimit="soon"),
    "a time limit of one": change("headers", timelimit=[1]),
    "time limits that are text": change("headers", timelimit=["1", "2"]),
    "a negative time limit": change("headers", timelimit=[-5, None]),
    "an eta that is no time": change("headers", eta="tomorrow"),
    "an eta that is a number": change("headers", eta=5),
    "an eta before all time": change("headers", eta="0001-01-01T00:00:00+14:00"),
    "an expiry that is a list": change("headers", expires=[]),
    "retries that are text": change("headers", retries="often"),
    "a name that is a list": change("headers", task=["quick"]),
    "a parent that is a number": change("headers", parent_id=5),
    "stamps that are a number": change("headers", stamped_headers=5),
    "a compression that does not exist": change("headers", compression="squeeze"),
}


def test_a_message_that_cannot_be_read_ends_its_task_and_nothing_else(
    system: System, worker: Worker
) -> None:
    before = rejected(system)

    # When messages arrive that no worker can handle, and one that is right
    damaged = {}
    for name, damage in DAMAGES.items():
        message = message_of(system)
        damage(message)
        damaged[name] = message["headers"]["id"]
        send(system, message["headers"], message["body"])
    right = system.start("quick")

    # Then the task of the right one is run, and the other tasks have failed, with the reason
    system.wait([right], state="SUCCESS")
    system.wait(damaged.values(), state="FAILURE")
    for status in system.statuses(damaged.values()):
        assert status["status"].startswith("Its message cannot be used: "), status
    expected = before + len(DAMAGES)
    wait_until(lambda: rejected(system) == expected, describe=lambda: rejected(system))


def test_a_message_without_an_id_is_put_aside(system: System, worker: Worker) -> None:
    before = rejected(system)
    message = message_of(system)
    nameless = {**message["headers"]}
    del nameless["id"]
    for headers in (
        nameless,
        {**message["headers"], "id": None},
        {**message["headers"], "id": 5},
        {},
    ):
        send(system, headers, message["body"])
    send(system, message["headers"], message["body"], content_type="application/x-python-serialize")

    system.wait([system.start("quick")], state="SUCCESS")
    wait_until(lambda: rejected(system) == before + 5, describe=lambda: rejected(system))
    wait_until(lambda: "cannot be used" in worker.log.read_text())


def test_what_is_no_message_at_all_is_put_aside(systems: dict[str, System]) -> None:
    system = systems["redis"]
    worker = system.workers.get("worker") or system.worker("worker")
    before = rejected(system)
    real = json.dumps(stored(message_of(system)["headers"]))
    variants = []
    for part, value in [
        ("body_encoding", "no-such"),
        ("delivery_tag", None),
        ("delivery_tag", 5),
        ("delivery_tag", []),
    ]:
        message = json.loads(real)
        message["properties"][part] = value
        variants.append(json.dumps(message).encode())
    for part in ("properties", "body"):
        message = json.loads(real)
        message[part] = 5
        variants.append(json.dumps(message).encode())
    for bad in [*GARBAGE, *variants]:
        system.redis.lpush("celery", bad)

    system.wait([system.start("quick")], state="SUCCESS")
    expected = before + len(GARBAGE) + len(variants)
    wait_until(lambda: rejected(system) == expected, describe=lambda: rejected(system))
    assert worker.runs
    assert system.redis.llen("celery") == 0


def test_a_null_delivery_info_is_no_hindrance(systems: dict[str, System]) -> None:
    system = systems["redis"]
    system.clear()
    message = message_of(system, "quick")
    text = stored(message["headers"])
    text["properties"] |= {"delivery_tag": "t", "delivery_info": None}
    # A lost worker holds a message, and entries that no worker has written
    system.redis.hset("longtask:held:gone", "t", json.dumps(["celery", "celery", json.dumps(text)]))
    system.redis.hset("longtask:held:gone", "u", b"\xff no JSON")
    system.redis.hset("longtask:held:gone", "v", json.dumps(["celery", "celery", "x"]))
    system.redis.zadd("longtask:workers", {"gone": 1})
    worker = system.worker("worker")

    system.wait([message["headers"]["id"]], state="SUCCESS")
    wait_until(lambda: rejected(system) == 2, describe=lambda: rejected(system))
    assert worker.runs


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=10),
    st.just([]),
    st.just({}),
    st.just([[1], {"a": None}]),
    st.just({"__type__": "datetime", "__value__": "soon"}),
)


@st.composite
def damaged(draw: st.DrawFn, text: str) -> bytes:
    """A message with a part replaced or removed, perhaps in its body, or with its text changed."""
    message = json.loads(text)
    message["body"] = json.loads(base64.b64decode(message["body"]))
    places = list(places_in(message))
    for _ in range(draw(st.integers(1, 2))):
        holder, name = draw(st.sampled_from(places))
        if draw(st.booleans()) and isinstance(holder, dict):
            holder.pop(name, None)
        else:
            holder[name] = draw(JUNK)
    if draw(st.booleans()) or not isinstance(message.get("body"), str):
        body = json.dumps(message.get("body")).encode()
        message["body"] = base64.b64encode(body).decode()
    result = json.dumps(message).encode()
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(result) - 1))
        result = result[:at] + draw(st.binary(max_size=3)) + result[at + draw(st.integers(0, 2)) :]
    return result


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, part in list(items):
        yield value, name
        if isinstance(part, dict | list):
            yield from places_in(part)


def test_no_damage_to_a_message_stops_a_worker(systems: dict[str, System]) -> None:
    system = systems["redis"]
    system.clear()
    worker = system.worker("worker")
    real = json.dumps(stored(message_of(system)["headers"]))
    messages: list[bytes] = []

    @given(damaged(real))
    @settings(max_examples=500)
    def collect(message: bytes) -> None:
        messages.append(message)

    collect()
    system.redis.lpush("celery", *messages)
    system.wait([system.start("quick")], state="SUCCESS")

    # The tasks of messages that are right after all have been run, or are scheduled; no message is left behind.
    assert system.redis.llen("celery") == 0
    assert worker.runs
    log = worker.log.read_text()
    assert "WorkerLostError" not in log
    assert "connection to broker lost" not in log
    (worker_id,) = system.redis.hkeys("longtask:worker-info")
    held = f"longtask:held:{worker_id.decode()}"
    # Except for the first, which waits for its eta.
    wait_until(lambda: system.redis.hlen(held) == 1, describe=lambda: system.redis.hgetall(held))


def test_a_copy_of_a_message_does_not_end_its_task(systems: dict[str, System]) -> None:
    # Given a task that a worker holds until its eta
    system = systems["redis"]
    system.clear()
    system.worker("worker")
    task_id = system.start("quick", countdown=10)
    (worker_id,) = (name.decode() for name in system.redis.hkeys("longtask:worker-info"))
    (held,) = wait_until(lambda: system.redis.hvals(f"longtask:held:{worker_id}"))

    # When its message arrives again, as after a push whose answer was lost
    system.redis.lpush("celery", json.loads(held)[2])

    wait_until(lambda: not system.redis.llen("celery"))
    system.wait([task_id], state="SUCCESS", attempt=1)
    assert rejected(system) == 0


def test_a_message_of_version_1_is_run_or_ends_its_task(system: System, worker: Worker) -> None:
    message = {"task": "tests.faults.tasks.quick", "args": [], "kwargs": {}}
    send(system, {}, {**message, "id": f"{system.name}-right"})
    send(system, {}, {**message, "id": f"{system.name}-wrong", "eta": "tomorrow"})

    system_has = f"{system.name}-right", f"{system.name}-wrong"
    wait_until(lambda: all(task_or_none(system, task_id) for task_id in system_has))
    system.wait([system_has[0]], state="SUCCESS")
    system.wait([system_has[1]], state="FAILURE")


def task_or_none(system: System, task_id: str) -> Any:
    return requests.get(f"{system.web.url}/status/{task_id}", timeout=PATIENCE).ok


def test_broadcasts_that_cannot_be_read_do_no_harm(systems: dict[str, System]) -> None:
    system = systems["redis"]
    system.clear()
    worker = system.worker("worker")

    for text in ("{}", "5", "x", "[]", '{"properties": {"delivery_tag": "t"}}'):
        system.redis.publish("/0.celery.pidbox", text)

    system.wait([system.start("quick")], state="SUCCESS")
    assert worker.runs
    assert "Connection to broker lost" not in worker.log.read_text()
    assert rejected(system) == 0


def test_no_damage_to_a_message_of_rabbitmq_stops_a_worker(systems: dict[str, System]) -> None:
    system = systems["rabbitmq"]
    worker = system.workers.get("worker") or system.worker("worker")
    real = json.dumps(stored(message_of(system)["headers"]))
    with kombu.Connection(system.broker_url) as connection:
        producer = connection.Producer()

        @given(damaged(real))
        @settings(max_examples=200, suppress_health_check=list(HealthCheck))
        def publish(text: bytes) -> None:
            try:
                message = json.loads(text)
                headers, body = message["headers"], base64.b64decode(message["body"])
                content = {"content_type": message["content-type"], "content_encoding": "utf-8"}
                producer.publish(body, routing_key="celery", headers=headers, **content)
            except Exception:  # what AMQP has no form for, no stranger can send either
                assume(False)

        publish()

    system.wait([system.start("quick")], state="SUCCESS")
    assert worker.runs
    log = worker.log.read_text()
    assert "WorkerLostError" not in log
    assert "connection to broker lost" not in log.lower()
