"""An app with an operators' page, in this process or as real servers, on a Redis that is empty before each test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from flask import Flask
from redis import Redis

from flask_longtask import LongTask
from flask_longtask.store import Store
from tests.processes import RedisServer, WebServer, Worker


@pytest.fixture(scope="session")
def operated(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer("operated-redis", folder)
    yield server
    server.stop()


@pytest.fixture
def new_app(operated: RedisServer) -> Iterator[Callable[..., Flask]]:
    """Return a function that makes an app. It takes the arguments of LongTask, and settings."""
    with Redis.from_url(operated.url(1)) as client:
        client.flushdb()
    with ExitStack() as stack:

        def new_app(
            authorize: Any = None, identify: Any = None, prefix: str = "", **settings: Any
        ) -> Flask:
            app = Flask("operated")
            app.config.update(SECRET_KEY="operated", **settings)
            address = operated.url(1)
            app.config["CELERY"] = {"broker_url": address, "result_backend": address}
            LongTask(app, authorize=authorize, identify=identify, url_prefix=prefix)
            celery: Celery = app.extensions["celery"]
            stack.callback(celery.close)
            stack.callback(celery.backend.store.client.close)
            return app

        yield new_app


@pytest.fixture
def app(new_app: Callable[..., Flask]) -> Flask:
    """An app whose page is open to whoever is at this machine."""
    return new_app(LONGTASK_OPERATE_ON_LOOPBACK=True)


@pytest.fixture
def store(app: Flask) -> Store:
    store: Store = app.extensions["celery"].backend.store
    return store


@pytest.fixture
def redis_of_app(store: Store) -> Redis:
    """The client of the store, for what a test does to Redis itself."""
    return store.client


@pytest.fixture(scope="module")
def site(operated: RedisServer, folder: Path) -> Iterator[WebServer]:
    server = WebServer(
        "operated-site",
        folder,
        operated.url(),
        app="tests.operate.site:app",
        LONGTASK_OPERATE_ON_LOOPBACK="yes",
    )
    yield server
    server.stop()


@pytest.fixture(scope="module")
def site_redis(operated: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(operated.url()) as client:
        client.flushdb()
        yield client


@pytest.fixture(scope="module")
def worker(operated: RedisServer, site_redis: Redis, folder: Path) -> Iterator[Worker]:
    worker = new_worker(operated, folder)
    yield worker
    worker.stop()


def new_worker(operated: RedisServer, folder: Path, name: str = "operated-worker") -> Worker:
    options = ("-c", "2", "-Q", "celery")
    return Worker(name, folder, operated.url(), *options, app="tests.operate.site:celery")
