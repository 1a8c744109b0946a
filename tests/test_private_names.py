"""The contract with Celery and Kombu: each private name that is used exists, takes what it is given, and does its work.

Without any server. What is tested is the installed libraries, by the list in flask_longtask/celery/private.py.
"""

import inspect
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from unittest.mock import MagicMock

import celery
import kombu
import pytest
from celery.app.amqp import AMQP
from celery.app.task import Context
from celery.backends.base import Backend
from celery.backends.redis import RedisBackend
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from redis import ConnectionPool

from flask_longtask.celery import sentinel
from flask_longtask.celery.backend import RedisBackend as OurBackend
from flask_longtask.celery.broker import transport
from flask_longtask.celery.private import PRIVATE_NAMES, PrivateName
from tests.private_names import PACKAGE, Use, descendants, private_names_of, uses

#: Celery imports our backends by name. Without this import, none may exist yet that replaces anything.
assert sentinel

BY_NAME = {private.name: private for private in PRIVATE_NAMES}

#: The arguments of each call: ours, or the library's where it calls our replacement.
CALLED_WITH: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "_get_result_meta": (("result", "SUCCESS", None, None), {}),
    "_get_pool": ((), {"host": "127.0.0.1", "socket_timeout": 1.0}),
    "_get": (("a queue",), {}),
    "_put": (("a queue", {}), {"mandatory": False}),
    "_brpop_start": ((), {}),
    "_brpop_read": ((), {}),
    "_deliver": (({}, "a queue"), {}),
    "_get_message_priority": (({},), {"reverse": False}),
}

Check = Callable[[], None]
CHECKS: dict[str, Check] = {}


def checks(name: str) -> Callable[[Check], Check]:
    """The decorated function checks what this private name does for us."""

    def register(check: Check) -> Check:
        CHECKS[name] = check
        return check

    return register


# -- the list and the source -------------------------------------------------------------------------


def _owner(private: PrivateName) -> Any:
    """Return the class that has the name. Raises if the library no longer has the class."""
    parts = private.owner.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: Any = __import__(".".join(parts[:length]), fromlist=["_"])
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(private.owner)


def _is_listed(use: Use) -> bool:
    private = BY_NAME.get(use.name)
    # Where the source does not show the type of the object, the name alone must match.
    return private is not None and (not use.owners or _owner(private) in use.owners)


def test_every_private_name_that_is_used_is_listed() -> None:
    assert [str(use) for use in uses() if not _is_listed(use)] == []


def test_every_private_name_that_is_listed_is_used() -> None:
    used = {use.name for use in uses() if _is_listed(use)}
    assert sorted(BY_NAME.keys() - used) == []


def test_every_private_name_is_listed_once_with_its_reason_and_has_its_check() -> None:
    assert len(BY_NAME) == len(PRIVATE_NAMES)
    assert sorted(CHECKS) == sorted(BY_NAME)
    assert [private.name for private in PRIVATE_NAMES if not private.reason.endswith(".")] == []


# -- the contract ------------------------------------------------------------------------------------


@pytest.mark.parametrize("private", PRIVATE_NAMES, ids=lambda private: private.name)
def test_a_private_name_is_there_and_does_what_it_is_used_for(private: PrivateName) -> None:
    owner = _owner(private)
    inherited = {name for cls in owner.__mro__ for name in private_names_of(cls)}
    assert private.name in inherited, f"{private.owner} has no {private.name} any more"
    if private.kind in ("called", "replaced"):
        _takes_what_it_is_given(private, owner)
    CHECKS[private.name]()


def _takes_what_it_is_given(private: PrivateName, owner: type) -> None:
    arguments, options = CALLED_WITH[private.name]
    functions = {getattr(owner, private.name)}
    if private.kind == "replaced":
        ours = {getattr(cls, private.name) for cls in descendants(owner)}
        replacements = {function for function in ours if function.__module__.startswith(PACKAGE)}
        assert replacements, "Nothing of ours stands in its place."
        functions |= replacements
    for function in functions:
        inspect.signature(function).bind("self", *arguments, **options)


# -- Celery's sender and result backend --------------------------------------------------------------


@contextmanager
def _celery() -> Iterator[celery.Celery]:
    app = celery.Celery("contract", broker="memory://", set_as_current=False)
    yield app
    app.close()


@checks("_tasks")
def a_task_is_added_to_it_when_it_is_first_used_and_the_app_goes_on_unfinished() -> None:
    with _celery() as app:

        @app.task(shared=False)
        def work() -> None: ...

        assert list(app._tasks) == []
        name = work.name
        assert list(app._tasks) == [name]
        assert not app.finalized
        assert app.tasks is app._tasks


@checks("_get_result_meta")
def a_result_document_has_the_keys_that_a_client_of_celery_reads() -> None:
    with _celery() as app:
        backend = Backend(app)
        ended = backend._get_result_meta({"answer": 42}, "SUCCESS", "a traceback", None)
        running = backend._get_result_meta({"current": 1}, "PROGRESS", None, None)
    assert ended.keys() == {"status", "result", "traceback", "children", "date_done"}
    assert (ended["status"], ended["result"]) == ("SUCCESS", {"answer": 42})
    assert ended["traceback"] == "a traceback"
    assert isinstance(ended["date_done"], str)
    assert running["date_done"] is None


@checks("_get_pool")
def every_connection_of_the_backend_is_of_a_pool_that_it_made() -> None:
    pools = []

    class Recorder(RedisBackend):
        def _get_pool(self, **parameters: Any) -> Any:
            pools.append(super()._get_pool(**parameters))
            return pools[-1]

    with _celery() as app:
        backend = Recorder(app=app, url="redis://127.0.0.1:1/0")
        assert isinstance(backend.client.connection_pool, ConnectionPool)
        assert backend.client.connection_pool in pools
        pool = backend._get_pool(host="example", socket_timeout=7)
    assert pool.connection_kwargs["host"] == "example"
    assert pool.connection_kwargs["socket_timeout"] == 7


# -- Kombu's channel for Redis -----------------------------------------------------------------------


class Wire:
    """A connection to Redis that notes what is sent."""

    def __init__(self) -> None:
        self._sock, self.other_end = socket.socketpair()
        self.sent: list[tuple[Any, ...]] = []
        self.is_connected = True

    def send_command(self, *command: Any) -> None:
        self.sent.append(command)

    def disconnect(self) -> None:
        self.is_connected = False

    def close(self) -> None:
        self._sock.close()
        self.other_end.close()


class Client:
    """The methods of redis-py's client that a channel uses. Answers with what it was given."""

    def __init__(self) -> None:
        self.connection = Wire()
        self.answers: list[Any] = []
        self.pushed: list[tuple[str, str]] = []

    def ping(self) -> bool:
        return True

    def parse_response(self, connection: Wire, command: str, **options: Any) -> Any:
        return self.answers.pop(0)

    def lpush(self, key: str, text: str) -> None:
        self.pushed.append((key, text))


class _WithoutServer:
    """Makes one of Kombu's channels use a `Client`."""

    @cached_property
    def client(self) -> Client:
        return Client()

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Client]:
        yield self.client

    def _size(self, queue: str) -> int:
        return 0


class KombuChannel(_WithoutServer, kombu_redis.Channel):  # type: ignore[misc]
    """Kombu's own channel."""


class OurChannel(_WithoutServer, transport.Channel):
    """The same with leases."""


@contextmanager
def _channel(kind: Any = KombuChannel) -> Iterator[Any]:
    connection = kombu.Connection("redis://127.0.0.1:1/0", transport=kombu_redis.Transport)
    channel = kind(connection.transport)
    poller, wire = channel.connection.cycle, channel.client.connection
    try:
        yield channel
    finally:
        poller.close()
        wire.close()


def _message(**properties: Any) -> dict[str, Any]:
    place = {"exchange": "", "routing_key": "a queue"}
    properties = {"delivery_info": place, "delivery_tag": "a tag", **properties}
    return {
        "body": "{}",
        "headers": {},
        "content-type": "application/json",
        "properties": properties,
    }


def _consume(channel: Any, *queues: str) -> list[Any]:
    """Consume from queues. Returns the list that their messages are added to."""
    received: list[Any] = []
    for queue in queues:
        channel.basic_consume(queue, True, received.append, f"tag of {queue}")
    return received


@checks("_get")
def a_message_is_got_by_it() -> None:
    class Channel(KombuChannel):
        def _get(self, queue: str) -> Any:
            return {**_message(), "headers": {"queue": queue}}

    with _channel(Channel) as channel:
        assert channel.basic_get("a queue", no_ack=True).headers == {"queue": "a queue"}


@checks("_put")
def publishing_ends_in_it_once_for_each_queue() -> None:
    put = []

    class Channel(KombuChannel):
        def _put(self, queue: str, message: Any, **options: Any) -> None:
            put.append((queue, message, options))

        def get_table(self, exchange: str) -> Any:
            return [("key", None, "one"), ("key", None, "two"), ("another key", None, "three")]

    with _channel(Channel) as channel:
        direct, by_exchange = _message(), _message()
        channel.basic_publish(direct, "", "a queue", mandatory=True)
        assert put == [("a queue", direct, {"mandatory": True})]
        put.clear()
        channel.basic_publish(by_exchange, "an exchange", "key")
        assert sorted(queue for queue, _, _ in put) == ["one", "two"]

    with _channel() as channel:
        message = _message()
        kombu_redis.Channel._put(channel, "a queue", message)
        [(key, text)] = channel.client.pushed
        assert (key, json.loads(text)) == ("a queue", message)


@checks("_brpop_start")
def the_poller_calls_it_when_nothing_is_awaited() -> None:
    with _channel() as channel:
        _consume(channel, "a queue")
        channel.connection.cycle.on_poll_start()
        [command] = channel.client.connection.sent
        assert command[0] == "BRPOP"

    with _channel(OurChannel) as channel:
        _consume(channel, "a queue")
        channel.connection.cycle.on_poll_start()
        [command] = channel.client.connection.sent
        assert command[0] == "EVAL"


@checks("_brpop_read")
def the_poller_and_close_read_the_answer_by_it() -> None:
    with _channel() as channel:
        assert channel.handlers["BRPOP"] == channel._brpop_read

    with _channel(OurChannel) as channel:
        channel.connection.channels.append(channel)
        channel._in_poll = channel.client.connection
        channel.client.answers.append(None)
        channel.close()
        assert channel.client.answers == []
        assert channel._in_poll is None

    with _channel(OurChannel) as channel:
        received = _consume(channel, "a queue")
        cycle, wire = channel.connection.cycle, channel.client.connection
        cycle.on_poll_start()
        channel.client.answers.append([b"a queue", json.dumps(_message()).encode(), b"a tag"])
        cycle.on_readable(wire._sock.fileno())
        assert [message.delivery_tag for message in received] == ["a tag"]
        # No answer is awaited any more, so the channel asks for the next message.
        cycle.on_poll_start()
        assert len(wire.sent) == 2


@checks("_in_poll")
def the_poller_asks_once_more_only_when_it_is_false() -> None:
    for kind in (KombuChannel, OurChannel):
        with _channel(kind) as channel:
            _consume(channel, "a queue")
            cycle, wire = channel.connection.cycle, channel.client.connection
            cycle.on_poll_start()
            assert channel._in_poll is wire
            cycle.on_poll_start()
            assert len(wire.sent) == 1
            channel._in_poll = None
            cycle.on_poll_start()
            assert len(wire.sent) == 2


@checks("_brpop_sent_at")
def the_poller_drops_a_connection_on_which_no_answer_comes() -> None:
    for kind in (KombuChannel, OurChannel):
        with _channel(kind) as channel:
            _consume(channel, "a queue")
            cycle, wire = channel.connection.cycle, channel.client.connection
            cycle.on_poll_start()
            assert abs(channel._brpop_sent_at - time.monotonic()) < 60
            cycle.maybe_check_brpop_health()
            assert wire.is_connected
            channel._brpop_sent_at -= 1000
            cycle.maybe_check_brpop_health()
            assert not wire.is_connected


@checks("_queue_cycle")
def the_queues_that_are_consumed_take_turns() -> None:
    with _channel() as channel:
        _consume(channel, "one", "two", "three")
        assert channel._queue_cycle.consume(3) == ["one", "two", "three"]
        channel._queue_cycle.rotate("one")
        assert channel._queue_cycle.consume(3) == ["two", "three", "one"]
        channel.basic_cancel("tag of two")
        assert sorted(channel._queue_cycle.consume(3)) == ["one", "three"]


@checks("_deliver")
def a_message_comes_to_the_consumer_of_its_queue_or_is_rejected() -> None:
    rejected = []

    class Channel(OurChannel):
        def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
            rejected.append((delivery_tag, requeue))

    with _channel(Channel) as channel:
        received = _consume(channel, "a queue")
        channel.connection.channels.append(channel)
        channel.connection._deliver(_message(), "a queue")
        assert [message.delivery_tag for message in received] == ["a tag"]
        channel.connection._deliver(_message(), "another queue")
        assert rejected == [("a tag", True)]
        channel.connection.channels.remove(channel)


@checks("_get_message_priority")
def a_priority_is_within_its_bounds() -> None:
    with _channel() as channel:
        given = [5, -1, 99, None, "high"]
        priorities = [
            channel._get_message_priority(_message(priority=p), reverse=False) for p in given
        ]
        assert priorities == [5, 0, 9, 0, 0]


@checks("_expires")
def it_holds_the_queues_with_a_time_to_live() -> None:
    with _channel() as channel:
        channel.queue_declare("short", arguments={"x-expires": 5000})
        channel.queue_declare("long")
        assert channel._expires.get("short") == 5000
        assert channel._expires.get("long") is None


# -- important public names -------------------------------------------------------------------------


def test_kombus_poller_finds_on_our_qos_all_that_it_calls_on_its_own() -> None:
    assert issubclass(transport.QoS, virtual.QoS)
    with _channel(OurChannel) as channel:
        _consume(channel, "a queue")
        channel.connection.cycle.on_poll_init(MagicMock())
        channel.connection.cycle.maybe_restore_messages()
        assert channel.qos.can_consume()
        assert channel.client.connection.sent == []


def test_celerys_sender_can_be_had_without_its_being_stored() -> None:
    with _celery() as app:
        sender = AMQP(app)
        made = AMQP.send_task_message.func(sender)
        assert "send_task_message" not in vars(sender)
        assert made.__code__ is sender.send_task_message.__code__


def test_a_revoked_task_tells_what_was_to_follow_it_in_a_chain() -> None:
    stored = []

    class Recorder(OurBackend):
        def store_result(self, task_id: str, result: Any, state: str, **options: Any) -> None:
            stored.append((task_id, str(result), state))

        def _record_of(self, task_id: str) -> dict[str, Any]:
            return {}  # there is no Redis

    with _celery() as app:
        chain = [{"task": "a", "options": {"task_id": name}} for name in ("last", "next")]
        request = Context(id="first", chain=chain)
        backend = Recorder(app=app, url="redis://127.0.0.1:1/0")
        backend.mark_as_revoked("first", "cancelled", request=request, store_result=False)
    assert stored == [(name, "cancelled", "REVOKED") for name in ("first", "last", "next")]


def test_our_lists_are_those_to_which_kombu_pushes() -> None:
    for priority in range(10):
        with _channel(OurChannel) as channel:
            kombu_redis.Channel._put(channel, "a queue", _message(priority=priority))
            [(key, _)] = channel.client.pushed
            number = channel.priority_steps.index(channel.priority(priority))
            assert channel._lists("a queue")[number] == key


def test_kombu_makes_no_batches_on_our_channel() -> None:
    with _channel(OurChannel) as channel:
        assert not kombu.Producer(channel).supports_batch_publish
