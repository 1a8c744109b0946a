"""The operators' page in a real browser, with a real worker: what an operator sees and does."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from playwright.sync_api import Browser, Locator, Page, expect
from redis import Redis

from flask_longtask.store import Store
from tests.conftest import new_context
from tests.operate.conftest import new_worker
from tests.processes import PATIENCE, ROOT, RedisServer, WebServer, Worker, wait_until
from tests.store.actors import Worker as Heard
from tests.store.actors import cancel, send
from tests.tasks import release

TEMPLATES = ROOT / "flask_longtask/page/templates/longtask/operate"
SCRIPTS = ROOT / "flask_longtask/page/static/operate"


@pytest.fixture(autouse=True)
def as_new(site_redis: Redis) -> Iterator[None]:
    """Let what still runs end, and forget all tasks."""
    yield
    store = Store(site_redis)
    for worker in store.workers.heard():
        for task_id in worker.running:
            cancel(store, task_id)
            release(site_redis, task_id)
    wait_until(lambda: not any(worker.running for worker in store.workers.heard()))
    site_redis.flushdb()


def start(site: WebServer, name: str, *args: Any, user: str = "", **options: Any) -> str:
    """Start a task as some user, and return its id."""
    answer = requests.post(
        f"{site.url}/start/{name}",
        json={"args": args, **options},
        headers={"X-User": user} if user else {},
        timeout=PATIENCE,
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["task_id"])


def row(page: Page, task_id: str) -> Locator:
    return page.locator(f'article[data-task-id="{task_id}"]')


def rows(page: Page) -> Locator:
    return page.get_by_role("article")


def visit(page: Page, site: WebServer) -> None:
    """Open the page, and wait for its script."""
    page.goto(f"{site.url}/operate")
    has_its_script(page)


def has_its_script(page: Page) -> None:
    expect(page).to_have_title(re.compile("Operations: .* unfinished"))


def meta(current: int, sentence: str) -> dict[str, Any]:
    return {"current": current, "total": 10, "status": sentence}


def test_an_operator_sees_what_runs_waits_and_has_ended_as_it_changes(
    page: Page, site: WebServer, site_redis: Redis, worker: Worker
) -> None:
    visit(page, site)
    expect(page.get_by_text("There are no tasks.")).to_be_visible()
    expect(page.get_by_text("operated-worker@tests")).to_be_visible()

    running = start(site, "reporting", meta(3, "Row 3"), user="ann")
    waiting = start(site, "noting", queue="mail")

    expect(row(page, running)).to_contain_text("Running Row 3")
    expect(row(page, running)).to_contain_text("by ann")
    bar = row(page, running).get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", "30")
    expect(row(page, waiting)).to_contain_text("Waiting no worker serves the queue mail")
    mail = page.get_by_role("row", name="mail")
    expect(mail).to_contain_text("none")
    own = page.get_by_role("listitem").filter(has_text="operated-worker@tests")
    expect(own).to_contain_text("runs 1")
    expect(own.get_by_role("link")).to_have_attribute("href", f"{site.url}/status/{running}")
    expect(page.locator("#operate-counts")).to_contain_text("2 unfinished")

    release(site_redis, running)

    expect(row(page, running)).to_contain_text("Done")
    expect(page.locator("#operate-counts")).to_contain_text("1 unfinished")
    expect(own).to_contain_text("idle")
    expect(page).to_have_title("Operations: 1 unfinished")


def test_a_running_and_a_waiting_task_are_cancelled(
    page: Page, site: WebServer, worker: Worker
) -> None:
    running = start(site, "reporting", meta(3, "Row 3"))
    waiting = start(site, "noting", countdown=600)
    visit(page, site)
    expect(row(page, running)).to_contain_text("Running")

    for task_id in (running, waiting):
        row(page, task_id).get_by_role("button", name="Cancel").click()
        expect(row(page, task_id)).to_contain_text("Cancelled")
        expect(row(page, task_id).get_by_role("button", name="Cancel")).to_have_count(0)


def test_a_failed_task_is_started_again_and_the_new_one_names_it(
    page: Page, site: WebServer, worker: Worker
) -> None:
    failed = start(site, "repeatable", "row", user="ann")
    visit(page, site)
    expect(row(page, failed)).to_contain_text("Failed")

    name = f"Start again Repeatable {failed[:8]}"
    row(page, failed).get_by_role("button", name=name, exact=True).click()

    expect(row(page, failed)).to_contain_text("Started again as")
    expect(rows(page)).to_have_count(2)
    again = rows(page).filter(has_text=f"Repeats {failed[:8]}")
    expect(again).to_contain_text("no such row")
    expect(again.get_by_role("link", name=failed[:8])).to_have_attribute(
        "href", f"{site.url}/status/{failed}"
    )


def test_a_task_that_does_not_allow_it_has_no_button_to_start_it_again(
    page: Page, site: WebServer, worker: Worker
) -> None:
    failed = start(site, "failing")
    visit(page, site)
    expect(row(page, failed)).to_contain_text("Failed")

    expect(row(page, failed).get_by_role("button")).to_have_count(0)
    answer = requests.post(f"{site.url}/operate/status/{failed}/restart", timeout=PATIENCE)
    assert answer.status_code == 409
    answer = requests.post(f"{site.url}/operate/status/nobody/restart", timeout=PATIENCE)
    assert answer.status_code == 404


def test_a_program_starts_a_task_again(site: WebServer, worker: Worker) -> None:
    cancelled = start(site, "repeatable", countdown=600)
    requests.delete(f"{site.url}/operate/status/{cancelled}", timeout=PATIENCE)

    answer = requests.post(f"{site.url}/operate/status/{cancelled}/restart", timeout=PATIENCE)

    assert answer.status_code == 202
    assert answer.json()["restart_of"] == cancelled
    assert answer.headers["Location"] == f"/status/{answer.json()['task_id']}"


def test_a_family_is_one_row_that_links_to_its_page_and_is_cancelled_as_a_whole(
    page: Page, site: WebServer, worker: Worker
) -> None:
    visit(page, site)
    answer = requests.post(f"{site.url}/group", timeout=PATIENCE)
    family = answer.headers["Location"].rpartition("/")[2]

    expect(row(page, family)).to_contain_text("0 of 3 done, 2 running")
    expect(rows(page)).to_have_count(1)
    link = row(page, family).get_by_role("link", name="3 parts")
    expect(link).to_have_attribute("href", f"{site.url}/status/{family}")
    # The worker shows the parts themselves.
    expect(page.locator(".operate-run")).to_have_count(2)
    page.get_by_label("Task", exact=True).fill("reporting")
    page.get_by_label("Queue", exact=True).fill("celery")
    expect(rows(page)).to_have_count(1)

    row(page, family).get_by_role("button", name="Cancel").click()
    expect(row(page, family)).to_contain_text("Cancelled")
    expect(page.locator(".operate-run")).to_have_count(0)


def test_its_texts_are_replaced_like_those_of_the_bars(app: Flask, store: Store) -> None:
    Heard(store, "w").beat()
    app.config["LONGTASK_STRINGS"] = {"operate_workers": "Arbeiter", "cancel": "Abbrechen"}
    send(store, "a")

    html = app.test_client().get("/operate").text

    assert ">Arbeiter</h2>" in html
    assert "Abbrechen<span" in html
    assert '"operate_workers": "Arbeiter"' in html
    names = re.findall(r'"(operate\w*)": ', (TEMPLATES / "text.html").read_text())
    sources = "".join(path.read_text() for path in [*TEMPLATES.glob("*"), *SCRIPTS.glob("*.js")])
    assert len(set(names)) == len(names) > 30
    for name in names:
        if not name.endswith("_tasks") and not name.startswith("operate_state_"):  # put together
            assert len(re.findall(rf"{name}\b", sources)) > 1, name


def test_all_its_modules_are_preloaded(app: Flask) -> None:
    html = app.test_client().get("/operate").text

    for path in SCRIPTS.glob("*.js"):
        assert f"/longtask/static/operate/{path.name}" in html


def test_the_buttons_name_their_tasks_for_people_who_do_not_see_them(
    page: Page, site: WebServer, worker: Worker
) -> None:
    task_id = start(site, "noting", countdown=600)
    visit(page, site)

    name = f"Cancel Noting {task_id[:8]}"
    expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()
    expect(page.get_by_role("article", name=f"Noting {task_id[:8]}")).to_be_visible()


def test_filters_show_at_once_are_kept_in_the_address_and_survive_a_reload(
    page: Page, site: WebServer, worker: Worker
) -> None:
    anns = start(site, "noting", countdown=600, user="ann")
    bobs = start(site, "noting", countdown=600, user="bob")
    failed = start(site, "failing")
    visit(page, site)
    expect(rows(page)).to_have_count(3)

    page.get_by_label("Words").fill("ANN")
    expect(rows(page)).to_have_count(1)
    expect(row(page, anns)).to_be_visible()
    assert page.url.endswith("/operate?words=ANN")

    page.reload()
    has_its_script(page)
    expect(rows(page)).to_have_count(1)
    expect(page.get_by_label("Words")).to_have_value("ANN")

    page.get_by_label("State").select_option(label="Ended")
    expect(page.get_by_text("No task matches.")).to_be_visible()
    page.get_by_label("Words").fill("")
    expect(row(page, failed)).to_be_visible()
    assert page.url.endswith("/operate?state=ended")

    page.get_by_role("link", name="Show all").click()
    has_its_script(page)
    expect(rows(page)).to_have_count(3)
    page.get_by_label("Task", exact=True).fill("failing")
    expect(rows(page)).to_have_count(1)
    page.get_by_label("Task", exact=True).fill("")
    page.get_by_label("Queue", exact=True).fill("celery")
    expect(row(page, bobs)).to_be_visible()


def test_what_was_typed_before_the_script_ran_filters_too(
    page: Page, site: WebServer, worker: Worker
) -> None:
    anns = start(site, "noting", countdown=600, user="ann")
    start(site, "noting", countdown=600, user="bob")
    held: list[Any] = []
    page.route("**/operate.js", lambda route: held.extend([route]))
    page.goto(f"{site.url}/operate", wait_until="commit")
    page.get_by_label("Words").fill("ann")
    row(page, anns).get_by_role("button").focus()

    held[0].continue_()

    expect(rows(page)).to_have_count(1)
    expect(row(page, anns).get_by_role("button")).to_be_focused()
    assert page.url.endswith("/operate?words=ann")


def test_a_row_keeps_the_focus_while_others_come_and_go(
    page: Page, site: WebServer, worker: Worker
) -> None:
    first = start(site, "noting", countdown=600)
    second = start(site, "noting", countdown=600)
    visit(page, site)
    button = row(page, second).get_by_role("button")
    button.focus()

    requests.delete(f"{site.url}/status/{first}", timeout=PATIENCE)
    third = start(site, "noting", countdown=600)
    expect(row(page, third)).to_be_visible()
    expect(row(page, first)).to_contain_text("Cancelled")

    expect(button).to_be_focused()
    order = [each.get_attribute("data-task-id") for each in rows(page).all()]
    assert order == [second, third, first]


def test_whoever_cancels_by_keyboard_stays_in_the_list(
    page: Page, site: WebServer, worker: Worker
) -> None:
    first = start(site, "noting", countdown=600)
    second = start(site, "noting", countdown=600)
    visit(page, site)
    page.get_by_label("State").select_option("open")
    row(page, first).get_by_role("button").focus()

    page.keyboard.press("Enter")

    expect(row(page, first)).to_have_count(0)
    expect(row(page, second)).to_be_focused()


@pytest.mark.parametrize("path", ["status/{}", "operate"])
def test_a_long_name_fits_a_narrow_screen(
    page: Page, site: WebServer, worker: Worker, path: str
) -> None:
    task_id = start(site, "of_a_long_name", countdown=600)
    page.set_viewport_size({"width": 360, "height": 640})
    page.goto(f"{site.url}/{path.format(task_id)}")
    expect(page.locator(".longtask-meter").last).to_be_attached()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360


def test_what_a_task_says_is_text_and_nothing_else(
    page: Page, site: WebServer, worker: Worker
) -> None:
    evil = "<img src=x onerror=alert(1)></script><b>bold</b>"
    task_id = start(site, "reporting", meta(1, evil), user=evil)
    page.on("dialog", lambda dialog: pytest.fail("The page ran it."))
    for script in (True, False):
        visit(page, site)
        expect(row(page, task_id)).to_contain_text(evil)
        html = requests.get(f"{site.url}/operate", timeout=PATIENCE).text
        assert (evil in html) is False, script


def test_ids_and_names_of_all_kinds_are_addressed(
    page: Page, site: WebServer, worker: Worker
) -> None:
    odd = "ä/../?#%41 '\""
    start(site, "noting", countdown=600, task_id=odd, queue="odd & <queue>")
    visit(page, site)

    page.get_by_role("article").get_by_role("button").click()
    expect(page.get_by_role("article")).to_contain_text("Cancelled")
    page.get_by_role("article").get_by_role("link").click()
    expect(page.get_by_role("heading", name="Noting")).to_be_visible()


@pytest.mark.long
def test_while_redis_is_away_the_page_says_so_and_comes_back_by_itself(
    page: Page, site: WebServer, operated: RedisServer, worker: Worker
) -> None:
    task_id = start(site, "noting", countdown=600)
    visit(page, site)
    expect(row(page, task_id)).to_be_visible()

    operated.pause()
    try:
        expect(
            page.get_by_role("main").get_by_text("The task queue cannot be reached.")
        ).to_be_visible()
        expect(row(page, task_id)).to_be_visible()
        answer = requests.get(
            f"{site.url}/operate", headers={"Accept": "text/html"}, timeout=PATIENCE
        )
        assert answer.status_code == 503
        assert int(answer.headers["Refresh"]) >= 1
        json = requests.get(f"{site.url}/operate/tasks", timeout=PATIENCE)
        assert (json.status_code, json.json()["status"]) == (503, 503)
    finally:
        operated.resume()

    expect(page.get_by_role("main").get_by_text("The task queue cannot be reached.")).to_be_hidden()
    requests.delete(f"{site.url}/status/{task_id}", timeout=PATIENCE)
    expect(row(page, task_id)).to_contain_text("Cancelled")


def test_a_page_that_was_loaded_during_an_outage_comes_back_by_itself(
    browser: Browser, site: WebServer, operated: RedisServer, worker: Worker
) -> None:
    context = new_context(browser)
    page = context.new_page()
    operated.pause()
    try:
        page.goto(f"{site.url}/operate")
        expect(page.get_by_role("heading", name="Service Unavailable")).to_be_visible()
    finally:
        operated.resume()

    expect(page.get_by_role("heading", name="Operations")).to_be_visible()
    context.close()


@pytest.mark.long
def test_all_is_there_after_web_server_and_worker_were_started_again(
    page: Page, operated: RedisServer, folder: Path
) -> None:
    own = WebServer(
        "operated-again",
        folder,
        operated.url(),
        app="tests.operate.site:app",
        LONGTASK_OPERATE_ON_LOOPBACK="yes",
    )
    try:
        ended, waiting = start(own, "noting", queue="nobody"), start(own, "noting", queue="nobody")
        requests.delete(f"{own.url}/status/{ended}", timeout=PATIENCE)
        visit(page, own)
        expect(rows(page)).to_have_count(2)

        own.stop()
        expect(page.get_by_role("main").get_by_text("The server does not answer.")).to_be_visible()
        own.start()

        requests_until_it_answers(own)
        expect(page.get_by_role("main").get_by_text("The server does not answer.")).to_be_hidden()
        page.reload()
        expect(row(page, ended)).to_contain_text("Cancelled")
        expect(row(page, waiting)).to_contain_text("Waiting")
        worker = new_worker(operated, folder, "operated-again")
        expect(page.get_by_text("operated-again@tests")).to_be_visible()
        worker.stop()
        expect(page.get_by_text("silent for")).to_be_visible()
    finally:
        own.stop()


def requests_until_it_answers(server: WebServer) -> None:
    wait_until(server.answers)


def test_a_hidden_tab_does_not_ask_and_asks_at_once_when_it_is_seen_again(
    page: Page, site: WebServer, worker: Worker
) -> None:
    visit(page, site)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    wait_for(page, lambda: len(asked) >= 2)

    see(page, hidden=True)
    page.wait_for_timeout(300)  # a request may be under way
    asked.clear()
    page.wait_for_timeout(5000)
    assert asked == []

    see(page, hidden=False)
    wait_for(page, lambda: len(asked) >= 1)


def see(page: Page, hidden: bool) -> None:
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
            document.dispatchEvent(new Event('visibilitychange'));
        }""",
        hidden,
    )


def wait_for(page: Page, condition: Any) -> None:
    """Wait while the browser's events are handled."""
    for _ in range(int(PATIENCE * 10)):
        if condition():
            return
        page.wait_for_timeout(100)
    raise AssertionError("It did not happen.")


# -- many tasks --------------------------------------------------------------------------------------

#: The most commands of one refresh, with one worker that runs two tasks and two queues.
MOST_COMMANDS = 100


@pytest.fixture
def ten_thousand(site: WebServer, site_redis: Redis, worker: Worker) -> list[str]:
    """10,000 open tasks, of which two run."""
    runs = [start(site, "stepping", 10_000, 0.5) for _ in range(2)]
    store = Store(site_redis)
    waits = [f"task-{number:05}" for number in range(9998)]
    for task_id in waits:
        send(store, task_id, {"task": "tests.tasks.noting"}, queue="mail")
    return [*runs, *waits]


@pytest.mark.long
def test_with_ten_thousand_open_tasks_a_refresh_is_one_request_and_few_commands(
    page: Page, site: WebServer, site_redis: Redis, ten_thousand: list[str]
) -> None:
    asked: list[str] = []
    visit(page, site)
    expect(page.locator("#operate-counts")).to_contain_text("10,000 unfinished")
    expect(rows(page)).to_have_count(50)
    expect(row(page, ten_thousand[0])).to_contain_text("Running Step")

    page.on("request", lambda request: asked.append(request.url))
    wait_for(page, lambda: len(asked) == 3)
    assert set(asked) == {f"{site.url}/operate/tasks"}

    page.close()
    for fields in ({}, {"words": "task-0099"}, {"state": "running"}, {"cursor": "ended"}):
        count = commands(site_redis, site, fields)
        assert sum(count.values()) <= MOST_COMMANDS, count
        assert not {"scan", "keys", "sscan", "hscan", "zscan"} & set(count)

    # Page after page, each as cheap as the first
    seen, cursor = [], "open"
    while cursor and cursor.startswith("open"):
        shown = requests.get(
            f"{site.url}/operate/tasks", params={"cursor": cursor}, timeout=PATIENCE
        ).json()
        seen += [task["task_id"] for task in shown["tasks"]]
        cursor = shown["next"]
    assert seen == ten_thousand


def commands(redis: Redis, site: WebServer, fields: dict[str, str]) -> dict[str, int]:
    """Count the commands of one refresh, without those of the worker, which has its own names for them."""
    theirs: list[str] = []
    with redis.monitor() as monitor:
        listening = monitor.listen()
        answer = requests.get(f"{site.url}/operate/tasks", params=fields, timeout=PATIENCE)
        assert answer.status_code == 200
        redis.echo("the end")
        for line in listening:
            if line["command"] == "ECHO the end":
                break
            if line["client_type"] == "tcp":
                theirs.append(line["command"].split()[0].lower())
    # What workers do meanwhile: heartbeats, messages and their scripts.
    of_workers = {"evalsha", "eval", "brpop", "blpop", "publish", "script"}
    names = [name for name in theirs if name not in of_workers]
    return {name: names.count(name) for name in names}


@pytest.mark.long
def test_an_operator_leafs_through_ten_thousand_tasks(
    page: Page, site: WebServer, ten_thousand: list[str]
) -> None:
    visit(page, site)
    page.get_by_role("link", name="Next page").click()
    expect(row(page, ten_thousand[50])).to_be_visible()
    page.get_by_role("link", name="Next page").click()
    expect(row(page, ten_thousand[100])).to_be_visible()
    page.get_by_role("link", name="First page").click()
    has_its_script(page)
    expect(row(page, ten_thousand[0])).to_be_visible()

    page.get_by_label("Words").fill("task-01500")
    expect(page.get_by_text("No match among these 1,000 tasks.")).to_be_visible()
    page.get_by_role("link", name="Look further").click()
    expect(row(page, "task-01500")).to_be_visible()


# -- without JavaScript ------------------------------------------------------------------------------


@pytest.fixture
def plain_page(browser: Browser) -> Iterator[Page]:
    context = new_context(browser, java_script_enabled=False)
    yield context.new_page()
    context.close()


def test_without_javascript_the_page_shows_filters_cancels_and_leafs(
    plain_page: Page, site: WebServer, worker: Worker
) -> None:
    page = plain_page
    anns = start(site, "noting", countdown=600, user="ann")
    for _ in range(51):
        start(site, "noting", countdown=600)
    page.goto(f"{site.url}/operate")
    expect(rows(page)).to_have_count(50)
    assert page.locator("meta[http-equiv=refresh]").count() == 1
    expect(page.get_by_text("operated-worker@tests")).to_be_visible()

    page.get_by_role("link", name="Next page").click()
    expect(rows(page)).to_have_count(2)
    page.get_by_role("link", name="First page").click()

    page.get_by_label("Words").fill("ann")
    page.get_by_label("State").select_option("scheduled")
    page.get_by_role("button", name="Show").click()
    expect(rows(page)).to_have_count(1)
    expect(row(page, anns)).to_contain_text("Scheduled")
    address = page.url

    row(page, anns).get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("No task matches.")).to_be_visible()
    assert page.url == address.replace("&task=&queue=", "")
    page.get_by_role("link", name="Show all").click()
    page.get_by_label("State").select_option("cancelled")
    page.get_by_role("button", name="Show").click()
    expect(row(page, anns)).to_contain_text(re.compile("Cancelled.*Ended", re.DOTALL))


def test_without_javascript_a_task_is_started_again(
    plain_page: Page, site: WebServer, worker: Worker
) -> None:
    page = plain_page
    task_id = start(site, "repeatable", countdown=600)
    requests.delete(f"{site.url}/status/{task_id}", timeout=PATIENCE)
    page.goto(f"{site.url}/operate?words={task_id}")

    row(page, task_id).get_by_role("button", name="Start again").click()

    expect(page).to_have_url(re.compile(f"^{site.url}/status/"))
    expect(page.get_by_text(f"Repeats {task_id[:8]}")).to_be_visible()


# -- the token ---------------------------------------------------------------------------------------


def test_an_operator_enters_the_token_and_is_asked_again_after_it_has_changed(
    page: Page, operated: RedisServer, folder: Path
) -> None:
    def serve(token: str) -> WebServer:
        return WebServer(
            "operated-token",
            folder,
            operated.url(),
            app="tests.operate.site:app",
            LONGTASK_OPERATOR_TOKEN=token,
        )

    server = serve("first-of-the-tokens")
    try:
        page.goto(f"{server.url}/operate?state=open")
        page.get_by_label("Token").fill("first-of-the-tokens")
        page.get_by_role("button", name="Open").click()
        has_its_script(page)
        assert page.url.endswith("/operate?state=open")

        server.stop()
        server.environment["LONGTASK_OPERATOR_TOKEN"] = "second-of-the-tokens"
        server.start()

        expect(page.get_by_label("Token")).to_be_visible()
    finally:
        server.stop()
