"""Fixtures for these tests: a separate Redis, and a database for each app."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from flask import Flask

from flask_longtask import LongTask
from tests.processes import Process, RedisServer


@pytest.fixture(scope="session")
def home_redis(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer("home-redis", folder, False, "--databases", "200")
    yield server
    server.stop()


_databases = count(1)


@pytest.fixture(scope="session")
def new_database(home_redis: RedisServer) -> Callable[[], str]:
    """Return a function that returns the URL of an unused database."""
    return lambda: home_redis.url(next(_databases))


@pytest.fixture
def database(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    """A list of processes. The fixture stops them at the end of the test."""
    started: list[Process] = []
    yield started
    for process in started:
        process.stop()


@pytest.fixture
def guest(database: str) -> Iterator[Callable[..., Flask]]:
    """Return a function that creates an app with LongTask and a Redis, and passes `options` to LongTask."""
    made: list[Flask] = []

    def guest(name: str = "guest", url: str = database, **options: Any) -> Flask:
        app = Flask(name)
        app.config["SECRET_KEY"] = name
        if "celery" not in options:
            app.config["CELERY"] = {"broker_url": url, "result_backend": url}
        LongTask(app, **options)
        made.append(app)
        return app

    yield guest
    for app in made:
        close(app.extensions["longtask"].celery)


def close(celery: Celery) -> None:
    celery.backend.store.client.close()
    celery.backend.client.close()
    celery.backend.result_consumer.stop()
    celery.close()
