"""Messages that are not what Celery writes, and how one gets into the queue of each broker."""

import base64
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import amqp
import kombu

if TYPE_CHECKING:
    from tests.chaos.system.whole import System

QUEUE = "celery"


def _message(**changed: Any) -> dict[str, Any]:
    """A message as Celery and kombu write it, but for what is changed."""
    task_id = str(uuid4())
    body = json.dumps(
        [["poison", 0.2], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    )
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": "tests.chaos.system.tasks.silent",
            "id": task_id,
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": task_id,
            "parent_id": None,
            "origin": "poison",
        },
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        },
        **changed,
    }


def _with(part: str, **changed: Any) -> dict[str, Any]:
    """The same with some fields of one part changed; None takes a field away."""
    message = _message()
    changed = {**message[part], **changed}
    message[part] = {name: value for name, value in changed.items() if value is not ...}
    return message


def messages() -> Mapping[str, str]:
    """By name, what is pushed."""
    damaged = {
        "no delivery tag": _with("properties", delivery_tag=...),
        "no id": _with("headers", id=...),
        "an id that is a list": _with("headers", id=[1]),
        "a null delivery_info": _with("properties", delivery_info=None),
        "a null body": _message(body=None),
        "a body that is no base64": _message(body="%%%"),
        "a body that is no JSON": _message(body=base64.b64encode(b"\xff{").decode()),
        "a body of the wrong shape": _message(body=base64.b64encode(b'{"a": 1}').decode()),
        "an unknown body_encoding": _with("properties", body_encoding="rot13"),
        "an unknown content type": _message(**{"content-type": "application/x-python-pickle"}),
        "an unknown content encoding": _message(**{"content-encoding": "rot-13"}),
        "an odd time limit": _with("headers", timelimit="soon"),
        "an odd eta": _with("headers", eta="tomorrow"),
        "an unknown task": _with("headers", task="tests.chaos.system.tasks.nobody_knows"),
        "no headers": _message(headers=None),
        "no properties": _message(properties=None),
    }
    bare = {text: text for text in ("x", "5", "[]", "{}", "null", '"text"')}
    return {**bare, **{name: json.dumps(message) for name, message in damaged.items()}}


def put(system: "System", which: float) -> str:
    """Put one into the queue, and say which."""
    known = messages()
    name = [*known][int(which * len(known))]
    if system.rabbit is None:
        system.redis.lpush(QUEUE, known[name])
        return f"poison: {name}"
    with kombu.Connection(system.rabbit.url(), connect_timeout=2) as connection:
        channel = connection.default_channel
        channel.basic_publish(_for_rabbitmq(known[name]), routing_key=QUEUE)
    return f"poison: {name}"


def _for_rabbitmq(text: str) -> amqp.Message:
    """The same for a broker that has headers and properties of its own: what it can carry of it."""
    try:
        message = json.loads(text)
        return amqp.Message(
            base64.b64decode(message["body"]),
            application_headers=dict(message["headers"]),
            content_type=message["content-type"],
            content_encoding=message["content-encoding"],
            correlation_id=message["properties"]["correlation_id"],
            delivery_mode=2,
        )
    except (ValueError, TypeError, KeyError):
        return amqp.Message(text, content_type="application/json", content_encoding="utf-8")
