"""A Redis that is empty before each test, and the store on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import ConnectionPool, Redis

from flask_longtask.store import Store
from flask_longtask.testing.in_memory import new_redis
from tests.processes import RedisServer
from tests.store.actors import EXPIRES, Attempt, Worker, send


@pytest.fixture(scope="session")
def store_server(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer("store-redis", folder)
    yield server
    server.stop()


@pytest.fixture(params=["redis", "fakeredis"])
def redis(request: pytest.FixtureRequest) -> Iterator[Redis]:
    """A real Redis, and the one that `flask_longtask.testing` uses in its place."""
    if request.param == "fakeredis":
        with Redis(connection_pool=ConnectionPool(**new_redis())) as client:
            yield client
        return
    server: RedisServer = request.getfixturevalue("store_server")
    with Redis.from_url(server.url()) as client:
        client.flushall()
        yield client


@pytest.fixture
def store(redis: Redis) -> Store:
    return Store(redis, expires=EXPIRES)


@pytest.fixture
def worker(store: Store) -> Worker:
    return Worker(store, "worker")


@pytest.fixture
def running(store: Store, worker: Worker) -> Attempt:
    """The first attempt at the task "a"."""
    send(store, "a")
    return worker.run()


@pytest.fixture
def other(store: Store) -> Worker:
    return Worker(store, "other")


@pytest.fixture(scope="session")
def store_on_empty_redis(store_server: RedisServer) -> Iterator[Store]:
    """A store for Hypothesis, which runs many examples in one test. Each example empties the store itself."""
    with Redis.from_url(store_server.url(1)) as client:
        yield Store(client, expires=EXPIRES)
