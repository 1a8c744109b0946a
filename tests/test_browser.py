"""The page in a real browser: what a person sees who starts tasks, waits, cancels, reloads and loses the server."""

import re
from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect
from redis import Redis

from tests.conftest import new_context
from tests.processes import RedisServer, WebServer, Worker, wait_until


@pytest.fixture
def own_web(redis_server: RedisServer, folder: Path) -> Iterator[WebServer]:
    """A web server that a test may stop."""
    server = WebServer("web-to-stop", folder, redis_server.url())
    yield server
    server.stop()


@pytest.fixture
def own_web_without_worker(redis_server: RedisServer, folder: Path) -> Iterator[WebServer]:
    server = WebServer("web-alone", folder, redis_server.url(database=3))
    yield server
    server.stop()


def start(page: Page, *, steps: int, delay: float, count: int = 1) -> None:
    """Fill in the form and send it, as a person does."""
    page.get_by_label("How many").fill(str(count))
    if not page.get_by_label("Steps").is_visible():
        page.get_by_text("How long it takes").click()
    page.get_by_label("Steps").fill(str(steps))
    page.get_by_label("Seconds per step").fill(str(delay))
    page.get_by_role("button", name="Start", exact=True).click()


def tasks_of(page: Page) -> Locator:
    return page.get_by_role("article")


def percent(task: Locator) -> int:
    return int(task.get_by_role("progressbar").get_attribute("aria-valuenow") or -1)


def in_state(page: Page, word: str) -> Locator:
    """The tasks that the page says are in a state."""
    return tasks_of(page).filter(has=page.get_by_text(word, exact=True))


def test_five_tasks_move_one_is_cancelled_and_after_a_reload_all_are_still_there(
    page: Page, web: WebServer, worker: Worker
) -> None:
    # Given the page, and five tasks started from it
    page.goto(web.url)
    start(page, steps=1000, delay=0.2, count=5)
    expect(tasks_of(page)).to_have_count(5)

    # Then the bars of those that run move: the worker has four places
    expect(in_state(page, "Running")).to_have_count(4)
    expect(page.get_by_role("progressbar")).to_have_count(4)
    running = in_state(page, "Running")
    for number in range(4):
        expect(running.nth(number).get_by_role("progressbar")).to_have_attribute(
            "aria-valuenow", re.compile("[1-9]")
        )
        expect(running.nth(number).locator(".longtask-percent")).to_have_text(
            re.compile(r"left · [1-9]\d*%")
        )
    before = percent(running.first)
    page.wait_for_function(
        "before => Number(document.querySelector('[data-phase=running] [role=progressbar]').ariaValueNow) > before",
        arg=before,
    )

    # When one of them is cancelled
    chosen = running.first.get_attribute("data-task-id")
    task = page.locator(f"[data-task-id='{chosen}']")
    task.get_by_role("button", name="Cancel").click()

    # Then it says so, its button is gone, and the one that waited has its place
    expect(task).to_contain_text("Cancelled")
    expect(task.get_by_role("button", name="Cancel")).to_be_hidden()
    expect(in_state(page, "Running")).to_have_count(4)

    # When the page is loaded again, then all five are back, and those that run go on from where they were
    before = percent(in_state(page, "Running").first)
    page.reload()
    expect(tasks_of(page)).to_have_count(5)
    expect(in_state(page, "Cancelled")).to_have_attribute("data-task-id", str(chosen))
    expect(in_state(page, "Running")).to_have_count(4)
    assert percent(in_state(page, "Running").first) >= before

    for remaining in (3, 2, 1, 0):
        in_state(page, "Running").first.get_by_role("button", name="Cancel").click()
        expect(in_state(page, "Running")).to_have_count(remaining)


def test_a_task_that_has_ended_shows_its_result_and_a_full_bar(
    page: Page, web: WebServer, worker: Worker
) -> None:
    page.goto(web.url)
    start(page, steps=3, delay=0.1)

    task = in_state(page, "Done")
    expect(task.get_by_text("42", exact=True)).to_be_visible()
    expect(task).to_contain_text("Long task")
    expect(task.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    expect(task.get_by_role("button", name="Cancel")).to_be_hidden()

    # And it can be put away for good
    task.get_by_role("button", name="Hide").click()
    expect(tasks_of(page)).to_have_count(0)
    page.reload()
    expect(page.get_by_text("Nothing here yet")).to_be_visible()


def test_all_bars_of_the_page_are_refreshed_by_one_request(
    page: Page, web: WebServer, worker: Worker
) -> None:
    page.goto(web.url)
    start(page, steps=1000, delay=1, count=3)
    expect(tasks_of(page)).to_have_count(3)

    with page.expect_request(
        lambda request: "/status?" in request.url and request.url.count("id=") == 3
    ):
        pass

    for number in range(3):
        tasks_of(page).nth(number).get_by_role("button", name="Cancel").click()
    expect(in_state(page, "Cancelled")).to_have_count(3)


def test_a_task_of_milliseconds_is_asked_about_soon_and_the_rest_every_two_seconds(
    page: Page, web: WebServer, worker: Worker
) -> None:
    page.goto(web.url)
    requests: list[Request] = []
    page.on("request", lambda it: it.resource_type == "fetch" and requests.append(it))

    # When tasks are started that are done at once, beside one that takes longer
    start(page, steps=1000, delay=1)
    numbers = count(1)

    def polls() -> list[float]:
        """Those that were answered: of others it is not known when they were sent."""
        found = [sent(request) for request in requests if "/status?" in request.url]
        return [at for at in found if at > 0]

    def is_asked_about_soon() -> bool:
        requests.clear()
        start(page, steps=1, delay=0)
        expect(in_state(page, "Done")).to_have_count(next(numbers))
        (started,) = [sent(request) for request in requests if request.method == "POST"]
        return any(0 < poll - started < 1900 for poll in polls())

    # Then one is asked about soon after its start, though not each where all is slow
    wait_until(is_asked_about_soon)

    # And all that still runs every two seconds
    requests.clear()
    wait_until(lambda: page.wait_for_timeout(100) or len(polls()) >= 3)
    assert min(later - earlier for earlier, later in pairwise(polls())) > 1900

    in_state(page, "Running").get_by_role("button", name="Cancel").click()
    expect(in_state(page, "Cancelled")).to_have_count(1)


def sent(request: Request) -> float:
    """When, in milliseconds."""
    return float(request.timing["startTime"])


def test_when_the_server_is_away_the_page_says_so_keeps_its_bars_and_goes_on_by_itself(
    page: Page, own_web: WebServer, worker: Worker
) -> None:
    # Given a task that runs
    page.goto(own_web.url)
    start(page, steps=1000, delay=0.2)
    bar = page.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", re.compile("[1-9]"))
    before = percent(tasks_of(page))

    # When the server stops
    own_web.stop()

    # Then the page says so and keeps the bar
    expect(page.get_by_text("The server does not answer.").first).to_be_visible()
    expect(page.get_by_text("Trying again")).to_be_visible()
    assert percent(tasks_of(page)) >= before

    # When it is back, then the page goes on by itself, the task having gone on all along
    before = percent(tasks_of(page))
    own_web.start()
    expect(page.get_by_text("Trying again")).to_be_hidden()
    page.wait_for_function(
        "before => Number(document.querySelector('[role=progressbar]').ariaValueNow) > before",
        arg=before,
    )
    expect(in_state(page, "Running")).to_have_count(1)

    page.get_by_role("button", name="Cancel").click()
    expect(in_state(page, "Cancelled")).to_have_count(1)


def test_when_no_worker_is_there_the_page_says_so_and_how_to_start_one(
    page: Page, own_web_without_worker: WebServer, redis_server: RedisServer, folder: Path
) -> None:
    page.goto(own_web_without_worker.url)
    start(page, steps=2, delay=0)

    banner = page.locator(".longtask-banner").get_by_text("No worker is running.")
    expect(banner).to_be_visible()
    expect(page.get_by_text("celery -A celery_worker worker")).to_be_visible()

    # And once one is there the task is done and the page is calm again
    worker = Worker(
        "worker-at-last", folder, redis_server.url(database=3), "-c", "1", "--without-mingle"
    )
    try:
        expect(in_state(page, "Done")).to_have_count(1)
        expect(banner).to_be_hidden()
    finally:
        worker.stop()


def test_a_value_the_server_refuses_is_named_at_its_field(page: Page, web: WebServer) -> None:
    page.goto(web.url)
    # Given a browser that would let it pass
    page.locator("form[action='/longtask']").evaluate("form => { form.noValidate = true; }")

    start(page, steps=1001, delay=1)

    field = page.get_by_label("Steps")
    expect(page.get_by_role("alert")).to_contain_text("must be a whole number from 1 to 1,000")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    expect(tasks_of(page)).to_have_count(0)


def test_the_page_of_one_task_is_alive_and_can_cancel_it(
    page: Page, web: WebServer, worker: Worker
) -> None:
    page.goto(web.url)
    start(page, steps=1000, delay=0.1)
    expect(tasks_of(page)).to_have_count(1)
    page.goto(f"{web.url}/status/{tasks_of(page).get_attribute('data-task-id')}")

    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", re.compile("[1-9]"))
    page.get_by_role("button", name="Cancel").click()

    expect(in_state(page, "Cancelled")).to_have_count(1)


def test_a_cancelled_task_is_started_again_by_its_bar_and_the_new_bar_is_on_top(
    page: Page, web: WebServer, worker: Worker
) -> None:
    page.goto(web.url)
    start(page, steps=1000, delay=0.1)
    task_id = tasks_of(page).get_attribute("data-task-id")
    old = page.locator(f"[data-task-id='{task_id}']")
    again = old.get_by_role("button", name="Start again")
    expect(old.get_by_role("button", name="Cancel")).to_be_visible()
    expect(again).to_be_hidden()
    old.get_by_role("button", name="Cancel").click()

    again.click()

    expect(tasks_of(page)).to_have_count(2)
    new = tasks_of(page).first
    expect(new).to_contain_text(f"Repeats {str(task_id)[:8]}")
    expect(new).to_have_attribute("data-phase", "running")
    expect(old).to_have_attribute("data-phase", "cancelled")
    # And the new bar has the focus, while the old one says what has become of it
    expect(new).to_be_focused()
    new_id = str(new.get_attribute("data-task-id"))[:8]
    expect(old).to_contain_text(f"Started again as {new_id}")
    expect(again).to_be_hidden()
    page.reload()
    expect(tasks_of(page)).to_have_count(2)
    expect(old).to_contain_text(f"Started again as {new_id}")
    expect(again).to_be_hidden()

    # And on the page of a task, where the new bar is above the old one
    page.goto(f"{web.url}/status/{task_id}")
    again.click()
    expect(tasks_of(page)).to_have_count(2)
    expect(again).to_be_hidden()
    expect(tasks_of(page).nth(1)).to_have_attribute("data-task-id", str(task_id))
    newest = tasks_of(page).first
    newest.get_by_role("link", name=str(task_id)[:8]).click()
    expect(page).to_have_url(f"{web.url}/status/{task_id}")
    page.goto(web.url)
    expect(tasks_of(page)).to_have_count(3)
    for left in (1, 0):
        in_state(page, "Running").first.get_by_role("button", name="Cancel").click()
        expect(in_state(page, "Running")).to_have_count(left)
    expect(in_state(page, "Cancelled")).to_have_count(3)


def test_a_bar_that_is_started_again_far_below_brings_the_new_one_into_view(
    page: Page, web: WebServer, worker: Worker
) -> None:
    page.goto(web.url)
    start(page, steps=1000, delay=0.1)
    bar = tasks_of(page)
    bar.get_by_role("button", name="Cancel").click()
    bar.evaluate("bar => { bar.style.marginTop = '300vh'; }")
    bar.get_by_role("button", name="Start again").click()

    expect(tasks_of(page)).to_have_count(2)
    expect(tasks_of(page).first).to_be_in_viewport()
    tasks_of(page).first.get_by_role("button", name="Cancel").click()
    expect(in_state(page, "Cancelled")).to_have_count(2)


def test_a_bar_says_why_its_task_could_not_be_started_again(
    page: Page, web: WebServer, worker: Worker, redis: Redis
) -> None:
    page.goto(web.url)
    start(page, steps=1000, delay=0.1)
    tasks_of(page).get_by_role("button", name="Cancel").click()
    expect(in_state(page, "Cancelled")).to_have_count(1)
    redis.delete(f"longtask:arguments:{tasks_of(page).get_attribute('data-task-id')}")

    tasks_of(page).get_by_role("button", name="Start again").click()

    expect(page.get_by_role("alert")).to_contain_text("It could not be started again. The task")
    expect(tasks_of(page)).to_have_count(1)


def test_the_whole_can_be_used_from_the_keyboard(
    page: Page, web: WebServer, worker: Worker
) -> None:
    page.goto(web.url)
    page.get_by_text("How long it takes").press("Enter")
    page.get_by_label("Steps").fill("1000")
    page.get_by_label("How many").press("Enter")
    expect(tasks_of(page)).to_have_count(1)

    page.get_by_role("button", name="Cancel").press("Enter")

    expect(in_state(page, "Cancelled")).to_have_count(1)


def test_without_javascript_a_started_task_is_followed_on_a_page_that_refreshes_itself(
    browser: Browser, web: WebServer, worker: Worker
) -> None:
    context = new_context(browser, java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(web.url)
        page.get_by_text("How long it takes").click()
        page.get_by_label("Steps").fill("10")
        page.get_by_label("Seconds per step").fill("0.3")
        page.get_by_role("button", name="Start", exact=True).click()

        # Then it is on the page of its task
        expect(page).to_have_url(re.compile(f"{web.url}/status/[0-9a-f-]{{36}}"))
        expect(page.get_by_role("heading", name="Long task")).to_be_visible()

        # Which comes again by itself until the task is done
        expect(in_state(page, "Done")).to_have_count(1)
        expect(page.get_by_text("100%").first).to_be_visible()
        expect(page.get_by_text("42", exact=True)).to_be_visible()
        expect(page.get_by_text("reloads itself")).to_have_count(0)
    finally:
        context.close()


def test_without_javascript_a_task_is_found_again_and_cancelled(
    browser: Browser, web: WebServer, worker: Worker
) -> None:
    context = new_context(browser, java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(web.url)
        page.get_by_text("How long it takes").click()
        page.get_by_label("Steps").fill("1000")
        page.get_by_role("button", name="Start", exact=True).click()
        page.get_by_role("link", name="Start page").click()
        page.get_by_role("link", name="The tasks you have started").click()

        expect(tasks_of(page)).to_have_count(1)
        page.get_by_role("button", name="Cancel Long task").click()

        expect(page).to_have_url(re.compile(f"{web.url}/status/"))
        expect(in_state(page, "Cancelled")).to_have_count(1)
        expect(page.get_by_role("button", name="Cancel")).to_have_count(0)

        page.get_by_role("button", name="Start again Long task").click()
        expect(page.get_by_text("Repeats")).to_be_visible()
        page.get_by_role("button", name="Cancel Long task").click()
        expect(in_state(page, "Cancelled")).to_have_count(1)
    finally:
        context.close()


def test_the_list_of_ones_own_tasks_is_alive_where_there_is_javascript(
    page: Page, web: WebServer, worker: Worker
) -> None:
    page.goto(web.url)
    start(page, steps=1000, delay=0.1, count=2)
    expect(tasks_of(page)).to_have_count(2)
    page.goto(f"{web.url}/tasks")

    expect(page.get_by_role("progressbar").nth(1)).to_have_attribute(
        "aria-valuenow", re.compile("[1-9]")
    )
    for number in range(2):
        tasks_of(page).nth(number).get_by_role("button", name="Cancel").click()
    expect(in_state(page, "Cancelled")).to_have_count(2)


def look_of(page: Page) -> Any:
    return page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor")


def test_the_page_follows_the_systems_dark_mode_and_fits_a_narrow_screen(
    page: Page, web: WebServer
) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.emulate_media(color_scheme="light")
    page.goto(web.url)
    light = look_of(page)
    page.emulate_media(color_scheme="dark")

    assert look_of(page) != light
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 320


def test_a_long_list_leaves_the_forms_beside_it_where_they_are(
    page: Page, web: WebServer, worker: Worker
) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(web.url)
    expect(page.get_by_text("Nothing here yet")).to_be_visible()
    page.get_by_text("How long it takes").click()
    last_form = page.get_by_role("heading", name="Create a user")
    before = last_form.bounding_box()

    start(page, steps=1, delay=0, count=20)

    expect(in_state(page, "Done")).to_have_count(20)
    assert last_form.bounding_box() == before
