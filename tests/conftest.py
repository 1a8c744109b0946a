"""What the tests stand on: one real Redis, one real worker and one real web server for all of them.

The app that the tests import talks to the same Redis as the worker.
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

# The same examples in each run, so that a run that was green is green again, however busy the machine.
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
    """For the log and the data of every process."""
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="session")
def redis_server(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer("redis", folder)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    """A look behind the scenes: what the app and the worker have stored."""
    with Redis.from_url(redis_server.url()) as client:
        yield client


@pytest.fixture(scope="session")
def app(redis_server: RedisServer) -> Iterator[Any]:
    """The Flask app, in this process. `config.py` reads the environment when it is imported."""
    # No longer than that: Celery and LongTask would take some of it for the settings of any app.
    with mock.patch.dict(os.environ, environment(redis_server.url())):
        from app import app  # noqa: PLC0415
    from flask_longtask.celery import sender  # noqa: PLC0415

    # A start is refused where this process or Redis was not run for a second: here it may take longer.
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
    """An app that is made by a test is not to be the default one of the tests that come after."""
    default, current = _state.default_app, getattr(_state._tls, "current_app", None)
    yield
    _state.default_app, _state._tls.current_app = default, current


@pytest.fixture
def client(app: Any) -> Any:
    """A browser of its own for each test: it has the cookies of no other."""
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
    """What a client is told about a task now."""

    def status(task_id: str) -> dict[str, Any]:
        response = client.get(f"/status/{task_id}")
        assert response.status_code == 200, response.text
        return dict(response.json)

    return status


@pytest.fixture
def ended(status: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    """The same once the task has ended."""

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
    """A window without a past, in which no action gives up before the tests do."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE * 1000)
    return context


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window of a browser that was never here before. An error in its console fails the test."""
    context = new_context(browser)
    page = context.new_page()
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # The browser's own word about an answer that is an error, or about none, is no fault of the page.
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
    # As on Ctrl-C: what the fixtures have started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_unconfigure() -> None:
    """Stop what is left: a process whose fixture was interrupted while it waited for it."""
    for process in Process.all:
        process.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show with a failed test what the processes have said."""
    report = yield
    if report.failed:
        for process in Process.all:
            if process.log.exists():
                lines = process.log.read_text(errors="replace").splitlines()[-40:]
                report.sections.append((f"the last that {process.name} printed", "\n".join(lines)))
    return report
