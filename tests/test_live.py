"""The page's Live switch in a real browser: one stream instead of polls, and polls again where it fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, Request, expect

from tests.processes import PATIENCE, RedisServer, WebServer, Worker, wait_until
from tests.test_browser import in_state, start, tasks_of


@pytest.fixture
def own_web(redis_server: RedisServer, folder: Path) -> Iterator[WebServer]:
    server = WebServer("web-live", folder, redis_server.url())
    yield server
    server.stop()


@pytest.fixture
def asked(page: Page) -> list[Request]:
    """The requests for the state of bars."""
    asked: list[Request] = []
    page.on("request", lambda request: "/status?" in request.url and asked.append(request))
    return asked


def streams(asked: list[Request]) -> int:
    return sum(request.resource_type == "eventsource" for request in asked)


def is_poll(request: Request) -> bool:
    return request.resource_type == "fetch" and "/status?" in request.url


def is_quiet(page: Page, asked: list[Request]) -> bool:
    """Whether nothing is asked for longer than the pause between two polls."""
    asked.clear()
    page.wait_for_timeout(2500)
    return not asked


def test_live_one_stream_tells_of_all_bars_and_the_choice_is_kept(
    page: Page, web: WebServer, worker: Worker, asked: list[Request]
) -> None:
    # Given a page that is live, and two tasks
    page.goto(web.url)
    page.get_by_label("Live").check()
    start(page, steps=1000, delay=0.05, count=2)

    # Then their bars move, and nothing is polled
    expect(in_state(page, "Running")).to_have_count(2)
    wait_until(lambda: is_quiet(page, asked))
    texts: set[str | None] = set()

    def move() -> bool:
        texts.add(tasks_of(page).first.locator(".longtask-percent").text_content())
        page.wait_for_timeout(100)
        return len(texts) >= 4

    wait_until(move)
    assert asked == []

    # And their ends are told, after which nothing is asked any more
    ids = [task.get_attribute("data-task-id") for task in tasks_of(page).all()]
    for task_id in ids:  # a bar moves when its task ends
        requests.delete(f"{web.url}/status/{task_id}", timeout=PATIENCE).raise_for_status()
    expect(in_state(page, "Cancelled")).to_have_count(2)
    page.wait_for_timeout(2500)
    assert asked == []

    # And after a reload the page is live still
    page.reload()
    expect(page.get_by_label("Live")).to_be_checked()


def test_live_the_page_polls_where_the_stream_fails_and_is_live_again_afterwards(
    page: Page, own_web: WebServer, worker: Worker, asked: list[Request]
) -> None:
    # Given a page that is live, whose streams do not come through
    page.route(
        "**/status?*",
        lambda route: (
            route.abort() if route.request.resource_type == "eventsource" else route.continue_()
        ),
    )
    page.goto(own_web.url)
    page.get_by_label("Live").check()
    start(page, steps=1000, delay=0.2)

    # Then the bar moves all the same
    expect(in_state(page, "Running")).to_have_count(1)
    with page.expect_request(is_poll):
        pass

    # When streams come through again
    with page.expect_response(lambda answer: answer.request.resource_type == "eventsource"):
        page.unroute("**/status?*")
    wait_until(lambda: is_quiet(page, asked))
    page.get_by_role("button", name="Cancel").click()
    expect(in_state(page, "Cancelled")).to_have_count(1)


def test_not_live_the_page_polls(
    page: Page, web: WebServer, worker: Worker, asked: list[Request]
) -> None:
    page.goto(web.url)
    expect(page.get_by_label("Live")).not_to_be_checked()
    start(page, steps=1000, delay=0.2)
    expect(in_state(page, "Running")).to_have_count(1)

    asked.clear()
    wait_until(lambda: page.wait_for_timeout(100) or len(asked) >= 2)

    assert streams(asked) == 0
    page.get_by_role("button", name="Cancel").click()
    expect(in_state(page, "Cancelled")).to_have_count(1)
