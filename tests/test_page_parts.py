"""The parts of a family under its bar, in a real browser and without JavaScript."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, expect

from tests.conftest import new_context
from tests.processes import PATIENCE, RedisServer, WebServer
from tests.test_browser import in_state, tasks_of
from tests.test_page_script import cancel_all, moves, press


@pytest.fixture(scope="module")
def site(redis_server: RedisServer, folder: Path) -> Iterator[WebServer]:
    server = WebServer("parts-site", folder, redis_server.url(), app="tests.page.site:app")
    yield server
    server.stop()


pytestmark = pytest.mark.usefixtures("worker")


COUNT_ENDS = """
    document.addEventListener('longtask:end', () => { sessionStorage.ends = 1 + Number(sessionStorage.ends ?? 0); });
"""


def parts_of(page: Page) -> Locator:
    return page.locator(".longtask-part")


def open_parts(page: Page, site: WebServer, button: str, sentence: str, count: int) -> None:
    """Start a family, and open its bar into its parts as soon as the bar says this."""
    page.goto(site.url)
    press(page, button)
    expect(tasks_of(page)).to_contain_text(sentence)
    tasks_of(page).get_by_text(f"{count} parts").click()
    expect(parts_of(page)).to_have_count(count)


def test_a_family_opens_into_its_parts_which_stay_up_to_date(page: Page, site: WebServer) -> None:
    page.goto(site.url)
    asked: list[str] = []
    page.on("request", lambda request: "/parts" in request.url and asked.append(request.url))
    press(page, "Group")
    bar = tasks_of(page)
    moves(bar)
    expect(bar).to_contain_text("0 of 3 done, 3 running")
    expect(parts_of(page)).to_have_count(0)
    assert asked == []  # nobody looks

    bar.get_by_text("3 parts").click()
    expect(parts_of(page)).to_have_count(3)
    first = parts_of(page).first
    expect(first).to_contain_text("Stepping")
    expect(first).to_contain_text("Running Step")
    percents = [first.locator(".longtask-percent").inner_text()]
    expect(first.locator(".longtask-percent")).not_to_have_text(percents[0])

    # Each has a page of its own, and what is cancelled there is cancelled here
    first.get_by_role("link").click()
    expect(page.get_by_role("heading", name="Stepping")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(in_state(page, "Cancelled")).to_have_count(1)
    page.goto(site.url)
    bar.get_by_text("3 parts").click()
    expect(parts_of(page).filter(has_text="Cancelled")).to_have_count(1)
    expect(bar).to_contain_text("Failed Part")
    cancel_all(page)


def test_the_parts_of_a_large_family_come_in_pages_failed_ones_first(
    page: Page, site: WebServer
) -> None:
    page.goto(site.url)
    press(page, "Wide")
    tasks_of(page).get_by_text("60 parts").click()
    expect(parts_of(page).first).to_have_attribute("data-phase", "failed")
    expect(parts_of(page)).to_have_count(50)
    button = page.get_by_role("button", name="Show more")
    button.click()
    expect(parts_of(page)).to_have_count(60)
    expect(button).to_be_hidden()
    # The focus of the button, which is gone, goes to one of the lines that have come
    expect(parts_of(page).locator("a:focus")).to_have_count(1)
    expect(tasks_of(page)).to_contain_text("Failed Part 1 of 60, failing, failed: row")

    # The family has failed, but its other parts go on to their ends, and the list says so
    expect(page.locator(".longtask-part[data-phase=done]")).to_have_count(59)


def test_each_part_has_its_number_and_says_what_has_become_of_it(
    page: Page, site: WebServer
) -> None:
    open_parts(page, site, "Broken", "Failed Step 2 of 3, failing, failed: row 4 has no name", 3)
    lines = [
        re.compile(r"^2 Failing \w{8} Failed row 4 has no name"),
        re.compile(r"^3 Stepping \w{8} Not started because an earlier task failed"),
        re.compile(r"^1 Returning \w{8} Done Task completed! Result four"),
    ]
    expect(parts_of(page)).to_have_text(lines)
    # So does the page of the family without JavaScript
    address = tasks_of(page).locator(".longtask-head a").evaluate("link => link.href")
    html = requests.get(address, headers={"Accept": "text/html"}, timeout=PATIENCE).text
    text = " ".join(re.sub("<[^>]*>", " ", html).split())
    for words in ("3 Stepping", "Not started because an earlier task failed", "Result four"):
        assert words in text


def test_the_part_that_has_the_id_of_its_family_has_no_page_of_its_own(
    page: Page, site: WebServer
) -> None:
    open_parts(page, site, "Chain", "Step 2 of 2: stepping", 2)
    expect(parts_of(page).first).to_contain_text("Running")
    expect(parts_of(page).first.get_by_role("link")).to_have_count(0)
    expect(parts_of(page).last.get_by_role("link")).to_have_count(1)

    # On its own page the parts are open, and alive
    tasks_of(page).locator(".longtask-head").get_by_role("link").click()
    percent = parts_of(page).first.locator(".longtask-percent")
    before = percent.inner_text()
    expect(percent).not_to_have_text(before)
    cancel_all(page)


@pytest.mark.parametrize("live", ["false", "true"])
def test_the_other_parts_of_a_failed_family_are_followed_and_can_be_cancelled(
    page: Page, site: WebServer, live: str
) -> None:
    page.add_init_script(f"localStorage.setItem('longtask.live', '{live}'); {COUNT_ENDS}")
    page.goto(site.url)
    press(page, "Held")
    bar = tasks_of(page)
    expect(bar).to_contain_text("Failed Part 1 of 3, failing, failed")
    expect(bar.locator(".longtask-facts")).to_contain_text("1 still running 1 still waiting")

    # A part that is cancelled by itself counts no more, although the family had ended
    part = parts_of(page).filter(has_text="Running")
    bar.get_by_text("3 parts").click()
    address = part.get_by_role("link").evaluate("link => link.href")
    assert requests.delete(address, timeout=PATIENCE).status_code == 200
    expect(bar.locator(".longtask-facts")).not_to_contain_text("still running")
    expect(bar.locator(".longtask-facts")).to_contain_text("1 still waiting")

    # After a reload, too; and the button cancels what is left
    page.reload()
    bar.get_by_role("button", name="Cancel").click()
    expect(bar.get_by_role("button", name="Cancel")).to_be_hidden()
    expect(bar.locator(".longtask-facts")).not_to_contain_text("still")
    expect(bar).to_contain_text("Failed Part 1 of 3, failing, failed")
    assert page.evaluate("sessionStorage.ends") == "1"


def test_without_javascript_the_other_parts_of_a_failed_family_can_be_cancelled(
    browser: Browser, site: WebServer
) -> None:
    context = new_context(browser, java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(site.url)
        press(page, "Held")
        # The page reloads itself
        expect(tasks_of(page)).to_contain_text(
            "1 still running 1 still waiting", timeout=PATIENCE * 1000
        )
        page.get_by_role("button", name="Cancel").click()
        expect(tasks_of(page)).not_to_contain_text("still")
        expect(tasks_of(page)).to_contain_text("Failed Part 1 of 3, failing, failed")
        expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    finally:
        context.close()


def test_without_javascript_the_page_of_a_family_lists_its_parts(
    browser: Browser, site: WebServer
) -> None:
    context = new_context(browser, java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(site.url)
        press(page, "Wide")
        expect(page).to_have_url(re.compile(f"{site.url}/status/"))
        expect(parts_of(page)).to_have_count(50)
        page.get_by_role("link", name="Show more").click()
        # About ten: meanwhile some may have ended, and are the last now
        expect(page.get_by_role("heading", name="Group: 60 parts")).to_be_visible()
        expect(parts_of(page)).not_to_have_count(0)
        page.get_by_role("link", name="Back to the task").click()
        expect(parts_of(page).first).to_contain_text("Failed")
    finally:
        context.close()
