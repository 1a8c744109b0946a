"""A Redis that is empty before each test, and the store on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from flask_longtask.store import Store
from tests.processes import RedisServer
from tests.store.actors import EXPIRES, Worker


@pytest.fixture(scope="session")
def store_server(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer("store-redis", folder)
    yield server
    server.stop()


@pytest.fixture
def redis(store_server: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(store_server.url()) as client:
        client.flushall()
        yield client


@pytest.fixture
def store(redis: Redis) -> Store:
    return Store(redis, expires=EXPIRES)


@pytest.fixture
def worker(store: Store) -> Worker:
    return Worker(store, "worker")


@pytest.fixture(scope="session")
def store_on_empty_redis(store_server: RedisServer) -> Iterator[Store]:
    """For Hypothesis, which goes through many examples in one test. Each empties it itself."""
    with Redis.from_url(store_server.url(1)) as client:
        yield Store(client, expires=EXPIRES)
