"""Fixtures for all tests: one real Redis, one real worker and one real web server, shared by all of them.

The app that the tests import uses the same Redis as the worker.
"""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from celery import _state
from hypothesis import HealthCheck, settings
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)
from redis import Redis

from tests.processes import (
    PATIENCE,
    Process,
    RedisServer,
    WebServer,
    Worker,
    environment,
    wait_until,
)

# The same examples in each run, without deadlines, so that the result does not depend on the run or the machine.
settings.register_profile(
    "stable",
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("stable")


BROWSER_ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]

expect.set_options(timeout=PATIENCE * 1000)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for the logs and data of all processes."""
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="session")
def redis_server(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer("redis", folder)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    """A client of the Redis of the app and the worker."""
    with Redis.from_url(redis_server.url()) as client:
        yield client


@pytest.fixture(scope="session")
def app(redis_server: RedisServer) -> Iterator[Any]:
    """The Flask app, in this process. `config.py` reads the environment when it is imported."""
    # Only during the import: otherwise Celery and LongTask would use these variables for other apps.
    with mock.patch.dict(os.environ, environment(redis_server.url())):
        from app import app  # noqa: PLC0415
    from flask_longtask.celery import sender  # noqa: PLC0415

    # A start fails if this process or Redis does not run for a second. On a busy test machine it may take longer.
    sender.PATIENCE = PATIENCE
    yield app
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()
    celery = app.extensions["celery"]
    celery.backend.store.client.close()
    celery.backend.client.close()
    celery.backend.result_consumer.stop()
    celery.close()


@pytest.fixture(autouse=True)
def celery_as_it_was() -> Iterator[None]:
    """Restore Celery's default app after each test, since a test may create another one."""
    default, current = _state.default_app, getattr(_state._tls, "current_app", None)
    yield
    _state.default_app, _state._tls.current_app = default, current


@pytest.fixture
def client(app: Any) -> Any:
    """A test client for each test, without the cookies of any other."""
    return app.test_client()


@pytest.fixture(scope="session")
def worker(redis_server: RedisServer, folder: Path) -> Iterator[Worker]:
    worker = Worker("worker", folder, redis_server.url(), "-c", "4")
    yield worker
    worker.stop()


@pytest.fixture(scope="session")
def web(redis_server: RedisServer, folder: Path) -> Iterator[WebServer]:
    server = WebServer("web", folder, redis_server.url())
    yield server
    server.stop()


@pytest.fixture
def status(client: Any) -> Callable[[str], dict[str, Any]]:
    """Return a function that requests the status of a task."""

    def status(task_id: str) -> dict[str, Any]:
        response = client.get(f"/status/{task_id}")
        assert response.status_code == 200, response.text
        return dict(response.json)

    return status


@pytest.fixture
def ended(status: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    """Return a function that waits for the end of a task and returns its status."""

    def ended(task_id: str) -> dict[str, Any]:
        wait_until(lambda: status(task_id)["finished"], describe=lambda: status(task_id))
        return status(task_id)

    return ended


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    assert program, "No browser: these tests need Chromium or Chrome on the PATH."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=BROWSER_ARGUMENTS, timeout=PATIENCE * 1000
        )
        yield browser
        browser.close()


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """Return a new browser context, with the timeout of the tests."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE * 1000)
    return context


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in a new browser context. An error in its console fails the test."""
    context = new_context(browser)
    page = context.new_page()
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # The browser itself logs every error response and every failed request. These are not errors of the page.
        if message.type in ("error", "warning") and not message.text.startswith(
            "Failed to load resource"
        ):
            errors.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


def pytest_configure() -> None:
    # As on Ctrl-C, so that the fixtures stop their processes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_unconfigure() -> None:
    """Stop the remaining processes, whose fixtures were interrupted while they waited for them."""
    for process in Process.all:
        process.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show the last lines of all processes with a failed test."""
    report = yield
    if report.failed:
        for process in Process.all:
            if process.log.exists():
                lines = process.log.read_text(errors="replace").splitlines()[-40:]
                report.sections.append((f"last lines of {process.name}", "\n".join(lines)))
    return report
