"""What sums up many bars, in a real browser: the line above them, their order, the tab, and notifications."""

import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.conftest import new_context
from tests.processes import PATIENCE, WebServer, wait_until
from tests.test_browser import in_state, start, tasks_of

pytestmark = pytest.mark.usefixtures("worker")  # which has four places

#: Lets a test hide the page: in a headless browser every page is visible.
HIDING = """
    let hidden = false;
    Object.defineProperty(Document.prototype, 'hidden', { get: () => hidden });
    window.hide = (yes) => {
        hidden = yes;
        document.dispatchEvent(new Event('visibilitychange'));
    };
"""

#: Notes what the browser's own notifications are given.
NOTING = """
    window.notified = [];
    window.Notification = class extends Notification {
        constructor(title, options) {
            super(title, options);
            notified.push([title, options.body]);
        }
    };
"""

IS_OWN_ICON = "() => document.querySelector('link[rel=icon]').href.endsWith('/favicon.svg')"


@pytest.fixture(autouse=True)
def nothing_left(page: Page) -> Iterator[None]:
    """Cancel what a test has left, so that the next one has the four places of the worker."""
    yield
    page.evaluate(
        "() => Promise.all([...document.querySelectorAll('long-task')].map((bar) => bar.cancel()))"
    )


def line(page: Page) -> Locator:
    return page.locator(".longtask-sum")


def phases(page: Page) -> list[str]:
    bars: list[str] = page.locator(".longtask-list > long-task").evaluate_all(
        "bars => bars.map(bar => bar.dataset.phase)"
    )
    return bars


def ids(page: Page) -> list[str]:
    found: list[str] = tasks_of(page).evaluate_all("bars => bars.map(bar => bar.dataset.taskId)")
    return found


def cancel(task: Locator) -> None:
    task.get_by_role("button", name="Cancel").click()


def look_elsewhere(page: Page) -> None:
    """Take the pointer and the focus away from the bars."""
    page.get_by_label("How many").click()


def test_what_runs_is_above_what_waits_and_one_line_sums_up(page: Page, web: WebServer) -> None:
    page.goto(web.url)
    start(page, steps=1000, delay=1, count=6)
    expect(line(page)).to_have_text("4 running, 2 waiting")
    expect(page).to_have_title("4 running, 2 waiting · Longtask")
    assert phases(page) == ["running"] * 4 + ["waiting"] * 2

    # When one that waits is cancelled, then it goes below the other
    cancel(tasks_of(page).nth(4))
    look_elsewhere(page)
    expect(line(page)).to_have_text("4 running, 1 waiting, 1 cancelled")
    wait_until(lambda: phases(page) == ["running"] * 4 + ["waiting", "cancelled"])

    # When one that runs ends, then the one that waited is already where it belongs
    before = ids(page)
    cancel(tasks_of(page).nth(1))
    look_elsewhere(page)
    expect(line(page)).to_contain_text("4 running, 2 cancelled")
    wait_until(lambda: phases(page) == ["running"] * 4 + ["cancelled"] * 2)
    assert ids(page) == [before[0], *before[2:5], before[1], before[5]]

    # And after a reload, all are in the same order
    before = ids(page)
    page.reload()
    expect(line(page)).to_contain_text("4 running, 2 cancelled")
    assert ids(page) == before


def test_the_time_left_of_all_is_told_when_nothing_waits(page: Page, web: WebServer) -> None:
    page.goto(web.url)
    start(page, steps=100, delay=1, count=2)
    expect(line(page)).to_have_text(re.compile(r"^2\srunning · (\d min )?\d+ s left$"))
    start(page, steps=1000, delay=1, count=3)
    expect(line(page)).to_have_text("4 running, 1 waiting")


def test_one_bar_needs_no_line_above_it(page: Page, web: WebServer) -> None:
    page.goto(web.url)
    start(page, steps=1000, delay=1)
    expect(page).to_have_title("1 running · Longtask")
    expect(line(page)).to_have_count(0)


def test_a_task_that_waits_is_one_line_with_all_that_matters(page: Page, web: WebServer) -> None:
    page.goto(web.url)
    start(page, steps=1000, delay=1, count=6)
    expect(line(page)).to_have_text("4 running, 2 waiting")
    waiting = tasks_of(page).last
    expect(waiting).to_contain_text("1 task ahead")
    expect(waiting.get_by_role("button", name="Cancel")).to_be_visible()
    heights = [(task.bounding_box() or {})["height"] for task in (tasks_of(page).first, waiting)]
    assert heights[1] < heights[0] / 2


def test_a_bar_stays_where_it_is_while_it_has_the_focus(page: Page, web: WebServer) -> None:
    page.goto(web.url)
    start(page, steps=1000, delay=1, count=3)
    expect(line(page)).to_contain_text("3 running")
    first, second = tasks_of(page).first, tasks_of(page).nth(1)
    chosen = first.get_attribute("data-task-id")
    first.get_by_role("button", name="Cancel").press("Enter")
    expect(line(page)).to_contain_text("2 running, 1 cancelled")
    expect(first).to_contain_text("Cancelled")
    expect(first).to_have_attribute("data-task-id", str(chosen))
    expect(first).to_be_focused()

    # When the focus goes to another, then the bar moves and the other keeps the focus
    button = second.get_by_role("button", name="Cancel")
    button.focus()
    expect(tasks_of(page).last).to_have_attribute("data-task-id", str(chosen))
    expect(tasks_of(page).first.get_by_role("button", name="Cancel")).to_be_focused()


def test_bars_stay_where_they_are_while_the_pointer_moves_over_them(
    page: Page, web: WebServer
) -> None:
    page.goto(web.url)
    start(page, steps=1000, delay=1, count=2)
    expect(line(page)).to_contain_text("2 running")
    before = ids(page)
    assert page.request.delete(str(tasks_of(page).first.get_attribute("href"))).ok

    def is_cancelled() -> bool:
        tasks_of(page).last.hover(position={"x": 5 + 10 * random.random(), "y": 5})
        assert ids(page) == before
        return phases(page)[0] == "cancelled"

    wait_until(is_cancelled)
    assert is_cancelled()
    page.mouse.move(0, 0)
    expect(tasks_of(page).last).to_have_attribute("data-task-id", before[0])


def test_the_tab_has_its_own_title_and_icon_again_when_nothing_runs(
    page: Page, web: WebServer
) -> None:
    page.goto(web.url)
    page.evaluate("document.title = 'My page'")
    start(page, steps=1000, delay=1)
    expect(page).to_have_title("1 running · My page")
    page.wait_for_function(
        "() => document.querySelector('link[rel=icon]').href.startsWith('data:image/svg+xml,')"
    )
    assert page.locator("link[rel=icon]").count() == 1

    # A title that the page sets meanwhile is kept
    page.evaluate("document.title = 'Another'")
    expect(page).to_have_title("1 running · Another")
    cancel(tasks_of(page))
    expect(page).to_have_title("Another")
    assert page.evaluate(IS_OWN_ICON)


def test_while_the_server_is_away_the_tab_claims_nothing(page: Page, web: WebServer) -> None:
    page.goto(web.url)
    start(page, steps=1000, delay=1)
    expect(page).to_have_title("1 running · Longtask")
    page.route("**/status?*", lambda route: route.abort())
    expect(page).to_have_title("Longtask")
    page.unroute("**/status?*")
    expect(page).to_have_title("1 running · Longtask")


def test_the_title_stays_true_in_a_tab_that_is_hidden_for_long(page: Page, web: WebServer) -> None:
    page.add_init_script(HIDING)
    page.clock.install()
    page.goto(web.url)
    start(page, steps=1000, delay=1)
    page.clock.run_for(1000)
    expect(page).to_have_title("1 running · Longtask")
    page.evaluate("hide(true)")
    page.clock.fast_forward(61_000)
    asked: list[str] = []
    page.on("request", lambda request: "/status?" in request.url and asked.append(request.url))
    assert page.request.delete(str(tasks_of(page).get_attribute("href"))).ok

    def is_true() -> bool:
        page.clock.run_for(5_000)
        return page.title() == "Longtask"

    wait_until(is_true)
    assert asked


def test_ends_at_once_are_announced_in_one_sentence(page: Page, web: WebServer) -> None:
    page.goto(web.url)
    page.evaluate(
        """() => {
            window.announced = [];
            new MutationObserver(() => announced.push(document.querySelector('[role=status]').innerText))
                .observe(document.querySelector('[role=status]'), { childList: true });
        }"""
    )
    start(page, steps=1000, delay=1, count=3)
    expect(in_state(page, "Running")).to_have_count(3)
    page.evaluate("document.querySelectorAll('long-task').forEach((bar) => bar.cancel())")
    expect(in_state(page, "Cancelled")).to_have_count(3)
    wait_until(lambda: "3 tasks have ended: 3\u00a0cancelled." in page.evaluate("announced.join()"))
    assert "Cancelled." not in page.evaluate("announced.join()")


@pytest.fixture
def page(page: Page, request: pytest.FixtureRequest) -> Page:
    """The usual page, or one in a browser that allows notifications if the test is marked so."""
    page.context.grant_permissions(getattr(request, "param", []))
    return page


def is_offered(page: Page) -> bool:
    return page.get_by_label("Notify me").is_visible()


@pytest.mark.parametrize("page", [["notifications"]], indirect=True)
def test_ends_in_a_hidden_tab_raise_one_notification(page: Page, web: WebServer) -> None:
    page.add_init_script(HIDING + NOTING)
    page.goto(web.url)
    assert not is_offered(page)
    start(page, steps=1000, delay=1, count=2)
    page.get_by_label("Notify me").check()

    # Nothing is notified of while the page is seen
    cancel(tasks_of(page).first)
    expect(in_state(page, "Cancelled")).to_have_count(1)
    page.evaluate("hide(true)")
    start_hidden(page, count=1)
    wait_until(lambda: page.evaluate("notified.length") == 1)
    assert page.evaluate("notified") == [["Long task: Cancelled", ""]]

    # And what ends at once makes one notification, which includes the first
    start_hidden(page, count=3)
    wait_until(lambda: page.evaluate("notified.length") == 2)
    assert page.evaluate("notified[1]") == ["4 tasks have ended", "4\u00a0cancelled"]

    # The choice is remembered, and offered only while something runs
    page.evaluate("hide(false)")
    cancel(in_state(page, "Running"))
    expect(page.get_by_label("Notify me")).to_be_hidden()
    page.reload()
    start(page, steps=1000, delay=1)
    expect(page.get_by_label("Notify me")).to_be_checked()
    page.get_by_label("Notify me").uncheck()
    page.evaluate("hide(true)")
    cancel(in_state(page, "Running"))
    expect(in_state(page, "Running")).to_have_count(0)
    assert page.evaluate("notified") == []


def start_hidden(page: Page, *, count: int) -> None:
    """Start tasks and cancel them, as somebody else may do while the page is in a hidden tab."""
    before = tasks_of(page).count()
    start(page, steps=1000, delay=1, count=count)
    expect(tasks_of(page)).to_have_count(before + count)
    page.evaluate(
        """(count) => Promise.all([...document.querySelectorAll('long-task')]
            .sort((one, other) => (one.task.submitted < other.task.submitted ? 1 : -1))
            .slice(0, count).map((bar) => bar.cancel()))""",
        count,
    )


def test_notifications_are_asked_for_by_a_click_alone(page: Page, web: WebServer) -> None:
    page.add_init_script(
        """
        window.asked = 0;
        Object.defineProperty(Notification, 'permission', { get: () => 'default' });
        Notification.requestPermission = async () => { asked += 1; return 'denied'; };
        """
    )
    page.goto(web.url)
    start(page, steps=1000, delay=1)
    expect(page.get_by_label("Notify me")).to_be_visible()
    assert page.evaluate("asked") == 0
    page.get_by_label("Notify me").click()
    wait_until(lambda: page.evaluate("asked") == 1)
    expect(page.get_by_label("Notify me")).not_to_be_checked()


def test_a_page_with_a_bar_and_no_list_keeps_its_title_and_icon(page: Page, web: WebServer) -> None:
    page.goto(web.url)
    start(page, steps=1000, delay=0.1)
    tasks_of(page).get_by_role("link").click()
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", re.compile("[1-9]"))
    assert page.title().startswith("Long task ")
    assert page.locator("link[rel=icon]").get_attribute("href") == "data:,"


def test_a_policy_without_images_leaves_the_icon_as_it_is(browser: Browser, web: WebServer) -> None:
    context = new_context(browser)
    try:
        page = context.new_page()

        def with_policy(route: Any) -> None:
            policy = {"content-security-policy": "default-src 'self'"}
            answer = route.fetch(timeout=PATIENCE * 1000)
            route.fulfill(response=answer, headers={**answer.headers, **policy})

        page.route(f"{web.url}/", with_policy)
        page.goto(f"{web.url}/")
        start(page, steps=1000, delay=1)
        expect(page).to_have_title("1 running · Longtask")
        page.wait_for_function(IS_OWN_ICON)
        cancel(tasks_of(page))
        expect(in_state(page, "Cancelled")).to_have_count(1)
    finally:
        context.close()
