"""The page's Live switch in a real browser: one stream instead of polls, and polls again where it fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect

from tests.processes import RedisServer, WebServer, Worker
from tests.test_browser import in_state, start, tasks_of


@pytest.fixture
def own_web(redis_server: RedisServer, folder: Path) -> Iterator[WebServer]:
    server = WebServer("web-live", folder, redis_server.url())
    yield server
    server.stop()


@pytest.fixture
def asked(page: Page) -> list[Request]:
    """The requests for the state of bars."""
    requests: list[Request] = []
    page.on("request", lambda request: "/status?" in request.url and requests.append(request))
    return requests


def streams(requests: list[Request]) -> int:
    return sum(request.resource_type == "eventsource" for request in requests)


def test_live_one_stream_tells_of_all_bars_and_the_choice_is_kept(
    page: Page, web: WebServer, worker: Worker, asked: list[Request]
) -> None:
    # Given a page that is live, and two tasks
    page.goto(web.url)
    page.get_by_label("Live").check()
    start(page, steps=25, delay=0.2, count=2)

    # Then their bars move between two polls, and nothing is polled
    expect(in_state(page, "Running")).to_have_count(2)
    page.wait_for_timeout(500)
    asked.clear()
    texts = set()
    for _ in range(12):
        texts.add(tasks_of(page).first.locator(".longtask-percent").text_content())
        page.wait_for_timeout(100)
    assert len(texts) >= 4
    assert asked == []

    # And their ends are told, after which nothing is asked any more
    expect(in_state(page, "Done")).to_have_count(2, timeout=20_000)
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
    start(page, steps=60, delay=0.2)

    # Then the bar moves all the same
    expect(in_state(page, "Running")).to_have_count(1)
    page.wait_for_timeout(4500)
    assert any(request.resource_type == "fetch" for request in asked)

    # When streams come through again
    page.unroute("**/status?*")
    with page.expect_request(lambda request: request.resource_type == "eventsource"):
        pass
    page.wait_for_timeout(500)
    asked.clear()
    page.wait_for_timeout(2500)
    assert asked == []


def test_not_live_the_page_polls(
    page: Page, web: WebServer, worker: Worker, asked: list[Request]
) -> None:
    page.goto(web.url)
    expect(page.get_by_label("Live")).not_to_be_checked()
    start(page, steps=30, delay=0.1)
    expect(in_state(page, "Running")).to_have_count(1)

    page.wait_for_timeout(2500)

    assert asked
    assert streams(asked) == 0
