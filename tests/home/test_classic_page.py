"""The classic tutorial's app and page work with LongTask beside its own status route or in its place."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin

import pytest
import requests
from playwright.sync_api import Page, expect
from redis import Redis

from tests.home.servers import PATIENCE, HomeWorker, Site
from tests.processes import wait_until

LAST = {
    "state": "SUCCESS",
    "current": 100,
    "total": 100,
    "status": "Task completed!",
    "result": 42,
}


class Classic(NamedTuple):
    url: str
    redis: Redis

    def let_go_on(self) -> None:
        """A long task stops in the middle until then."""
        self.redis.rpush("go on", "go")


@pytest.fixture(scope="module", params=["no", "beside", "instead"])
def classic(
    request: pytest.FixtureRequest, folder: Path, new_database: Callable[[], str]
) -> Iterator[Classic]:
    """The app without LongTask, with LongTask beside its own status route, and with LongTask in place of this route."""
    name, settings = (
        f"classic-{request.param}",
        {"REDIS_URL": new_database(), "LONGTASK": request.param},
    )
    site = Site(name, folder, "tests.home.classic.site:app", **settings)
    worker = HomeWorker(f"{name}-worker", folder, "tests.home.classic.site:celery", **settings)
    redis = Redis.from_url(settings["REDIS_URL"])
    yield Classic(site.url, redis)
    redis.close()
    site.stop()
    worker.stop()


def test_its_page_shows_progress_and_the_result(classic: Classic, page: Page) -> None:
    page.goto(classic.url)
    page.get_by_role("button", name="Start a long calculation").click()

    bar = page.locator(".bar")
    expect(bar.locator(".message")).to_have_text("Charging battery 3...")
    expect(bar.locator(".percent")).to_have_text("42%")
    classic.let_go_on()
    expect(bar.locator(".result")).to_have_text("Result: 42")
    expect(bar.locator(".percent")).to_have_text("100%")
    expect(bar.locator(".message")).to_have_text("Task completed!")
    states = (bar.get_attribute("data-seen") or "").split()
    assert [*dict.fromkeys(states)] in (["PENDING", "PROGRESS", "SUCCESS"], ["PROGRESS", "SUCCESS"])


def test_its_page_shows_a_failure(classic: Classic, page: Page) -> None:
    page.goto(classic.url)
    page.get_by_role("button", name="Start one that fails").click()

    bar = page.locator(".bar")
    expect(bar.locator(".result")).to_have_text("Result: FAILURE")
    expect(bar.locator(".message")).to_have_text("the fuse has blown")


def test_its_client_is_told_the_same_at_the_end(classic: Classic) -> None:
    started = requests.post(f"{classic.url}/longtask", timeout=PATIENCE)
    assert started.status_code == 202
    classic.let_go_on()
    address = urljoin(classic.url, started.headers["Location"])

    def told() -> dict[str, Any]:
        return dict(requests.get(address, timeout=PATIENCE).json())

    wait_until(lambda: told()["state"] not in ("PENDING", "PROGRESS"), describe=told)
    end = told()
    assert {name: end[name] for name in LAST} == LAST
