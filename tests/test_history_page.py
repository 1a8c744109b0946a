"""The history on a task's own page, in a real browser: how its attempts ended, and its log lines as they come."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from redis import Redis

from flask_longtask.json_text import pack
from tests import tasks
from tests.conftest import new_context
from tests.processes import RedisServer, WebServer, wait_until
from tests.test_page_script import GERMAN, foreign_words

pytestmark = pytest.mark.usefixtures("app", "worker")


@pytest.fixture(scope="module")
def site(redis_server: RedisServer, folder: Path) -> Iterator[WebServer]:
    server = WebServer("history-site", folder, redis_server.url(), app="tests.page.site:app")
    yield server
    server.stop()


def rows(page: Page) -> Locator:
    return page.locator(".longtask-lines tbody tr")


def texts(page: Page) -> list[str]:
    return rows(page).locator("td:last-child").all_inner_texts()


def attempts(page: Page) -> Locator:
    return page.locator(".longtask-attempts li")


def more(redis: Redis, task_id: str, first: int, number: int) -> None:
    """Add lines to a task that runs, as its worker would, but at once."""
    store = tasks.logging.app.backend.store
    (stored,) = store.tasks.read([task_id])
    record = dict(stored.record)
    lines = [
        f'[{n}, {record["started"]}, "info", 1, "line {n}"]' for n in range(first, first + number)
    ]
    redis.rpush(store.keys.lines(task_id), *lines)
    redis.set(store.keys.record(task_id), pack(record | {"lines": first + number - 1}))


def distance_to_end(page: Page) -> float:
    script = "box => box.scrollHeight - box.scrollTop - box.clientHeight"
    return float(page.locator(".longtask-lines").evaluate(script))


def test_lines_appear_as_they_come_and_the_last_are_there_at_the_end(
    page: Page, web: WebServer, redis: Redis
) -> None:
    task_id = tasks.logging.delay(["one", ["no space left", "warning"], "<b>three</b>"]).id
    page.goto(f"{web.url}/status/{task_id}")
    expect(rows(page)).to_have_count(3)
    assert texts(page) == ["one", "no space left", "<b>three</b>"]
    expect(rows(page).nth(1)).to_contain_text("warning")
    expect(rows(page).nth(1).locator("time")).to_be_visible()
    # One attempt that runs is told by the bar
    expect(page.locator(".longtask-attempts")).to_be_hidden()
    expect(rows(page).nth(1).locator("td").nth(2)).to_be_hidden()

    tasks.release(redis, task_id)

    expect(rows(page)).to_have_count(4)
    expect(page.locator(".longtask-word")).to_have_text("Done")
    assert texts(page)[-1] == "done"


def test_the_page_asks_no_more_when_the_task_has_ended(
    page: Page, web: WebServer, ended: Callable[[str], Any]
) -> None:
    task_id = tasks.logging_many.delay(3).id
    ended(task_id)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{web.url}/status/{task_id}")
    expect(rows(page)).to_have_count(3)
    page.wait_for_timeout(5000)  # two polls: that something does not happen cannot be awaited
    assert len([url for url in asked if "/history" in url and "static" not in url]) == 1
    assert texts(page) == ["line 1", "line 2", "line 3"]


def test_attempts_are_shown_as_soon_as_there_is_more_to_tell_than_that_the_first_one_runs(
    page: Page, web: WebServer, redis: Redis, ended: Callable[[str], Any]
) -> None:
    retried, failed = tasks.logging_and_failing.delay().id, tasks.failing.delay().id
    ended(retried)
    ended(failed)

    page.goto(f"{web.url}/status/{retried}")
    expect(attempts(page)).to_have_count(2)
    expect(attempts(page).first).to_contain_text("Attempt 1")
    expect(attempts(page).first).to_contain_text("Retry requested: No answer")
    expect(attempts(page).last).to_contain_text("Failed: row 4 has no name")
    # Then each line tells its attempt
    assert rows(page).locator("td:nth-child(3)").all_inner_texts() == ["1", "2"]

    page.goto(f"{web.url}/status/{failed}")
    expect(attempts(page)).to_have_count(1)
    expect(page.locator(".longtask-log")).to_be_hidden()

    running = tasks.reporting.delay({"current": 1, "total": 2}).id
    page.goto(f"{web.url}/status/{running}")
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "50")
    expect(page.locator(".longtask-attempts")).to_be_hidden()
    page.get_by_role("button", name="Cancel").click()
    expect(attempts(page)).to_contain_text("Attempt 1 Cancelled")
    tasks.release(redis, running)

    done = tasks.noting.delay().id
    ended(done)
    page.goto(f"{web.url}/status/{done}")
    expect(attempts(page)).to_contain_text("Attempt 1 Done")


def test_a_task_with_nothing_to_tell_shows_nothing(page: Page, web: WebServer) -> None:
    task_id = tasks.noting.apply_async(queue="unserved-history-page").id
    page.goto(f"{web.url}/status/{task_id}")
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.locator(".longtask-attempts")).to_be_hidden()
    expect(page.locator(".longtask-log")).to_be_hidden()


def test_the_end_is_followed_unless_a_person_has_scrolled_up(
    page: Page, web: WebServer, redis: Redis
) -> None:
    task_id = tasks.logging.delay([f"line {number}" for number in range(1, 101)]).id
    page.goto(f"{web.url}/status/{task_id}")
    expect(rows(page)).to_have_count(100)
    wait_until(lambda: distance_to_end(page) < 2)

    more(redis, task_id, 101, 20)
    expect(rows(page)).to_have_count(120)
    assert distance_to_end(page) < 2

    page.locator(".longtask-lines").evaluate("box => { box.scrollTop = 100; }")
    more(redis, task_id, 121, 20)
    expect(rows(page)).to_have_count(140)
    assert page.locator(".longtask-lines").evaluate("box => box.scrollTop") == 100

    # Who goes back to the end follows it again, and sees no more than a reload would show
    page.locator(".longtask-lines").evaluate("box => { box.scrollTop = box.scrollHeight; }")
    more(redis, task_id, 141, 500)
    expect(rows(page)).to_have_count(500)
    assert texts(page)[-1] == "line 640"
    assert distance_to_end(page) < 2
    tasks.release(redis, task_id)


def test_the_lines_can_be_copied_as_plain_text(
    browser: Browser, web: WebServer, ended: Callable[[str], Any]
) -> None:
    task_id = tasks.logging_and_failing.delay().id
    ended(task_id)
    context = new_context(browser, permissions=["clipboard-read", "clipboard-write"])
    try:
        page = context.new_page()
        page.goto(f"{web.url}/status/{task_id}")
        expect(rows(page)).to_have_count(2)
        page.get_by_role("button", name="Copy").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()").split("\n")
        assert [line.split("\t")[1:] for line in copied] == [
            ["info", "1", "attempt 1"],
            ["info", "2", "attempt 2"],
            [],
        ]
        expect(page.get_by_role("button", name="Copy", exact=True)).to_be_visible()
    finally:
        context.close()


def test_when_the_server_was_away_the_lines_go_on_without_gaps(
    page: Page,
    redis_server: RedisServer,
    folder: Path,
    redis: Redis,
    ended: Callable[[str], Any],
) -> None:
    web = WebServer("web-history-to-stop", folder, redis_server.url())
    try:
        task_id = tasks.logging.delay(["one"]).id
        page.goto(f"{web.url}/status/{task_id}")
        expect(rows(page)).to_have_count(1)
        web.stop()
        tasks.release(redis, task_id)
        ended(task_id)
        web.start()
        expect(page.locator(".longtask-word")).to_have_text("Done")
        expect(rows(page)).to_have_count(2)
        assert texts(page) == ["one", "done"]
    finally:
        web.stop()


def test_without_javascript_the_server_draws_what_it_knows(
    browser: Browser, web: WebServer, ended: Callable[[str], Any]
) -> None:
    task_id = tasks.logging_and_failing.delay().id
    ended(task_id)
    context = new_context(browser, java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(f"{web.url}/status/{task_id}")
        expect(attempts(page)).to_have_count(2)
        expect(attempts(page).first).to_contain_text("Retry requested: No answer")
        assert texts(page) == ["attempt 1", "attempt 2"]
        expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    finally:
        context.close()


@pytest.mark.parametrize("with_script", [True, False])
def test_every_word_of_a_german_history_is_german(
    browser: Browser, site: WebServer, ended: Callable[[str], Any], with_script: bool
) -> None:
    task_id = tasks.logging.delay([["Schritt 1", "warning"]]).id
    tasks.release(tasks.logging.app.backend.client, task_id)
    ended(task_id)
    failed = tasks.logging_and_failing.delay().id
    ended(failed)
    context = new_context(browser, java_script_enabled=with_script, extra_http_headers=GERMAN)
    try:
        page = context.new_page()
        page.goto(f"{site.url}/status/{task_id}")
        expect(rows(page)).to_have_count(2)
        if with_script:
            expect(page.get_by_role("button", name="Kopieren")).to_be_visible()
        assert foreign_words(rows(page).first.inner_text()) <= {"PM", "AM"}
        heads = page.locator(".longtask-log th").all_text_contents()
        assert foreign_words(" ".join(heads)) == set()
        page.goto(f"{site.url}/status/{failed}")
        expect(attempts(page)).to_have_count(2)
        expect(attempts(page).first).to_contain_text("Versuch 1")
        expect(attempts(page).first).to_contain_text("Neuer Versuch verlangt: No answer")
    finally:
        context.close()
