"""What scripts and other apps' pages make of longtask.js, in a real browser: see tests/page."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Locator, Page, Route, expect

from tests.processes import PATIENCE, ROOT, RedisServer, WebServer, Worker, wait_until
from tests.test_browser import in_state, tasks_of

SCRIPT = "longtask/static/longtask.js"


@pytest.fixture(scope="module")
def site(redis_server: RedisServer, folder: Path) -> Iterator[WebServer]:
    server = WebServer("page-site", folder, redis_server.url(), app="tests.page.site:app")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def site_without_key(redis_server: RedisServer, folder: Path) -> Iterator[WebServer]:
    """An app that has no sessions, so that the server has no list of what a browser has started."""
    server = WebServer(
        "page-site-keyless", folder, redis_server.url(), app="tests.page.site:app", SECRET_KEY=""
    )
    yield server
    server.stop()


@pytest.fixture(scope="module")
def prefixed(redis_server: RedisServer, folder: Path) -> Iterator[WebServer]:
    """An app whose routes of the extension are under a prefix, and which has a /health of its own."""
    server = WebServer(
        "page-site-prefixed",
        folder,
        redis_server.url(),
        app="tests.page.site:app",
        URL_PREFIX="/jobs",
    )
    yield server
    server.stop()


pytestmark = pytest.mark.usefixtures("worker")


def started(site: WebServer, path: str = "/start", **values: Any) -> str:
    """The id of a task that somebody else has started."""
    answer = requests.post(f"{site.url}{path}", data=values, timeout=PATIENCE)
    return str(answer.json()["task_id"])


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def cancel_all(page: Page) -> None:
    for task in tasks_of(page).all():
        task.get_by_role("button", name="Cancel").click()
    expect(in_state(page, "Cancelled")).to_have_count(tasks_of(page).count())


def moves(bar: Locator) -> None:
    expect(bar.get_by_role("progressbar")).to_have_attribute("aria-valuenow", re.compile("[1-9]"))


LISTEN = """
    window.news = [];
    for (const name of ['start', 'progress', 'success', 'failure', 'cancelled', 'end']) {
        document.addEventListener(`longtask:${name}`, ({ target, detail }) =>
            news.push([name, target.localName, detail.state]));
    }
    document.querySelector('#start').addEventListener('longtask:success', ({ detail }) =>
        news.push(['form', detail.task, detail.percent]));
"""


def names(news: list[list[Any]]) -> list[Any]:
    return [name for name, *_ in news]


def test_a_page_follows_the_tasks_of_its_forms_by_events(page: Page, site: WebServer) -> None:
    page.goto(site.url)
    page.evaluate(LISTEN)
    page.locator("#start input").first.fill("3")
    press(page, "Start")
    in_state(page, "Done").wait_for()

    news = page.evaluate("news")
    assert news[0] == ["start", "form", "PENDING"]
    assert set(names(news[1:-3])) == {"progress"}
    assert news[-3:] == [
        ["success", "long-task", "SUCCESS"],
        ["form", "stepping", 100],
        ["end", "long-task", "SUCCESS"],
    ]

    press(page, "Fail")
    in_state(page, "Failed").wait_for()
    assert names(page.evaluate("news"))[-3:] == ["progress", "failure", "end"]


def test_each_of_many_fast_clicks_starts_a_task_with_what_the_form_said_then(
    page: Page, site: WebServer
) -> None:
    page.goto(site.url)
    sent: list[str] = []
    page.on("request", lambda request: "/start" in request.url and sent.append(request.post_data))
    page.evaluate(
        """() => {
            const [steps] = document.querySelector('#start').elements;
            for (let number = 1; number <= 20; number += 1) {
                steps.value = number;
                document.querySelector('#start button').click();
            }
        }"""
    )
    expect(tasks_of(page)).to_have_count(20)
    expect(in_state(page, "Done")).to_have_count(20)
    assert sent == [f"steps={number}&pause=0.05" for number in range(1, 21)]


def test_what_was_clicked_behind_a_refused_start_is_not_sent(page: Page, site: WebServer) -> None:
    page.goto(site.url)
    page.locator("#start input").first.fill("0")
    page.evaluate("for (let i = 0; i < 5; i += 1) document.querySelector('#start button').click()")
    expect(page.get_by_role("alert")).to_have_count(1)
    expect(page.locator("#start")).not_to_have_attribute("aria-busy", "true")
    page.locator("#start input").first.fill("1")
    press(page, "Start")
    expect(in_state(page, "Done")).to_have_count(1)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_after_a_reload_what_had_ended_is_no_news(page: Page, site: WebServer) -> None:
    page.goto(site.url)
    press(page, "Fail")
    in_state(page, "Failed").wait_for()

    page.add_init_script(
        f"document.addEventListener('DOMContentLoaded', () => {{ {LISTEN} }}, {{ once: true }})"
    )
    page.reload()
    in_state(page, "Failed").wait_for()
    assert page.evaluate("news") == [["progress", "long-task", "FAILURE"]]


def test_a_task_that_has_ended_before_its_start_is_answered_is_told_of_all_the_same(
    page: Page, site: WebServer
) -> None:
    page.goto(site.url)
    page.evaluate(LISTEN)
    answer = {"task_id": "a", "state": "SUCCESS", "percent": 100, "status": "", "task": "stepping"}
    page.route(f"{site.url}/start", lambda route: route.fulfill(status=202, json=answer))
    press(page, "Start")
    in_state(page, "Done").wait_for()
    assert names(page.evaluate("news")) == ["start", "progress", "success", "form", "end"]


def test_each_form_has_its_bars_after_it(page: Page, site: WebServer) -> None:
    page.goto(site.url)
    press(page, "Fail")
    expect(page.locator("#fail + .longtask-list long-task")).to_have_count(1)
    press(page, "Start")
    expect(page.locator("#start + .longtask-banners + .longtask-list long-task")).to_have_count(1)
    expect(tasks_of(page)).to_have_count(2)
    tasks_of(page).first.get_by_role("button", name="Cancel").click()
    expect(in_state(page, "Cancelled")).to_have_count(1)


def test_a_form_has_its_bars_in_the_list_that_it_names(page: Page, site: WebServer) -> None:
    page.goto(f"{site.url}/own-lists")
    first, second = page.locator("#first long-task"), page.locator("#second long-task")
    for number in (1, 2):
        press(page, "Second")
        expect(second).to_have_count(number)
    press(page, "First")
    expect(first).to_have_count(1)
    ids = "bars => bars.map(bar => bar.dataset.taskId).sort()"
    before = [bars.evaluate_all(ids) for bars in (first, second)]

    # And each bar is in its own list after a reload
    page.reload()
    expect(tasks_of(page)).to_have_count(3)
    assert [bars.evaluate_all(ids) for bars in (first, second)] == before


def test_a_group_has_one_bar(page: Page, site: WebServer) -> None:
    page.goto(site.url)
    press(page, "Group")
    moves(tasks_of(page))
    cancel_all(page)


@pytest.mark.parametrize("button", ["Odd", "Classic"])
def test_a_task_is_followed_at_its_location(page: Page, site: WebServer, button: str) -> None:
    page.goto(site.url)
    press(page, button)
    moves(tasks_of(page))
    tasks_of(page).get_by_role("link").click()
    moves(tasks_of(page))
    cancel_all(page)


@pytest.mark.parametrize("place", ["", "/mounted"])
def test_under_a_prefix_and_a_mount_point_the_page_finds_its_server_by_itself(
    page: Page, prefixed: WebServer, place: str
) -> None:
    page.goto(f"{prefixed.url}{place}/")
    press(page, "Start")
    moves(tasks_of(page))
    href = str(tasks_of(page).get_attribute("href"))
    assert href.startswith(f"{prefixed.url}{place}/jobs/status/")
    page.reload()
    moves(tasks_of(page))
    tasks_of(page).get_by_role("link").click()
    moves(tasks_of(page))
    cancel_all(page)


@pytest.mark.parametrize("query", ["", "?nonce", "?nanobar", "?nonce&nanobar"])
def test_a_bar_anywhere_under_a_strict_policy(page: Page, site: WebServer, query: str) -> None:
    if "nanobar" in query and not (ROOT / "static/vendor/nanobar.min.js").exists():
        pytest.skip("nanobar was not to be had from npm")
    task_id = started(site, steps=1000)
    page.goto(f"{site.url}/bare/{task_id}{query}")
    moves(tasks_of(page))
    expect(page.locator(".longtask-meter .nanobar")).to_have_count(int("nanobar" in query))
    expect(page.locator(".longtask-meter progress")).to_have_count(int("nanobar" not in query))
    height = "bar => getComputedStyle(bar.querySelector('.longtask-meter')).height"
    assert tasks_of(page).evaluate(height) == "8px"
    cancel_all(page)
    assert page.evaluate("customElements.get('long-task') !== undefined")


def test_a_bar_follows_its_href_and_survives_a_move(page: Page, site: WebServer) -> None:
    first, second = started(site, steps=1000), started(site, steps=1000)
    page.goto(f"{site.url}/bare/{first}")
    moves(tasks_of(page))
    tasks_of(page).evaluate("bar => { bar.append('mine'); document.body.prepend(bar); }")
    expect(tasks_of(page)).to_contain_text("mine")
    tasks_of(page).evaluate(
        "(bar, id) => bar.setAttribute('href', bar.getAttribute('href').replace(/[^/]+$/, id))",
        second,
    )
    expect(tasks_of(page)).to_have_attribute("data-task-id", second)
    moves(tasks_of(page))
    cancel_all(page)
    requests.delete(f"{site.url}/status/{first}", timeout=PATIENCE).raise_for_status()


APPEND = """(href) => {
    const bar = document.createElement('long-task');
    if (href) bar.setAttribute('href', href);
    document.body.append(bar);
}"""


@pytest.mark.parametrize("href", [None, "/nonsense"], ids=["no address", "a bad one"])
def test_a_bar_may_be_given_its_address_when_it_is_on_the_page(
    page: Page, site: WebServer, href: str | None
) -> None:
    page.goto(site.url)
    page.evaluate(
        """() => addEventListener('error', (event) => {
            window.told = event.message;
            event.preventDefault();
        })"""
    )
    page.evaluate(APPEND, href)
    if href:
        assert "is not the address of a task" in page.evaluate("told")
    task_id = started(site, steps=1000)
    page.locator("long-task").evaluate(
        "(bar, id) => bar.setAttribute('href', `/status/${id}`)", task_id
    )
    moves(tasks_of(page))
    cancel_all(page)


def test_the_pause_between_requests_is_an_attribute_of_the_script(
    page: Page, site: WebServer
) -> None:
    def answer(route: Route) -> None:
        body = route.fetch().text().replace('type="module"', 'type="module" data-poll-seconds="7"')
        route.fulfill(body=body, content_type="text/html")

    page.route(f"{site.url}/", answer)
    page.goto(f"{site.url}/")
    seconds = "async (module) => (await import(module)).Follower.pollSeconds"
    assert page.evaluate(seconds, f"{site.url}/longtask/static/client/follower.js") == 7


def test_a_bar_whose_task_has_expired_meanwhile_says_so(page: Page, site: WebServer) -> None:
    task_id = started(site, steps=1000)
    page.goto(f"{site.url}/bare/{task_id}")
    moves(tasks_of(page))
    answer = {"tasks": {task_id: None}}
    page.route("**/status?*", lambda route: route.fulfill(json=answer))
    expect(tasks_of(page)).to_contain_text("Expired")
    expect(tasks_of(page)).to_contain_text("Its last known state is shown.")
    requests.delete(f"{site.url}/status/{task_id}", timeout=PATIENCE).raise_for_status()


def test_a_bar_of_a_task_that_does_not_exist_says_so(page: Page, site: WebServer) -> None:
    page.goto(f"{site.url}/bare/never")
    expect(tasks_of(page)).to_contain_text("Not found")
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()


def test_whether_a_task_is_scheduled_is_not_decided_by_the_clock_of_the_browser(
    page: Page, site: WebServer
) -> None:
    task_id = started(site, "/later")
    page.add_init_script("const now = Date.now; Date.now = () => now() + 3_600_000;")
    page.goto(f"{site.url}/bare/{task_id}")
    expect(tasks_of(page)).to_contain_text("Scheduled for")
    assert tasks_of(page).get_attribute("data-phase") == "scheduled"
    cancel_all(page)


def test_the_looks_follow_the_properties_of_the_style_sheet(page: Page, site: WebServer) -> None:
    page.goto(f"{site.url}/bare/never")
    expect(tasks_of(page)).to_contain_text("Not found")
    page.evaluate("document.body.style.setProperty('--longtask-height', '20px')")
    height = "bar => getComputedStyle(bar.querySelector('.longtask-meter')).height"
    assert tasks_of(page).evaluate(height) == "20px"


START = """async ([script, url, body]) => {
    const { start } = await import(script);
    window.news = [];
    const on = (name) => ({ state, percent }) => news.push([name, state, percent]);
    const options = Object.fromEntries(['Progress', 'Success', 'Failure', 'Cancelled', 'End']
        .map((name) => [`on${name}`, on(name)]));
    window.following = await start(url, body, options);
    return following.locations;
}"""


def test_a_script_starts_a_task_and_waits_for_its_end(page: Page, site: WebServer) -> None:
    page.goto(f"{site.url}/bare/never")
    script = f"{site.url}/{SCRIPT}"
    (location,) = page.evaluate(START, [script, "/start", {"steps": 3}])
    assert location.startswith(f"{site.url}/status/")
    (task,) = page.evaluate("following.ended")
    assert task["state"] == "SUCCESS"
    news = page.evaluate("news")
    assert news[-3:] == [
        ["Progress", "SUCCESS", 100],
        ["Success", "SUCCESS", 100],
        ["End", "SUCCESS", 100],
    ]
    assert set(names(news[:-3])) <= {"Progress"}

    # A group is cancelled as a whole
    page.evaluate(START, [script, "/group", {}])
    page.evaluate("following.cancel()")
    (task,) = page.evaluate("following.ended")
    assert (task["state"], task["parts"]["cancelled"]) == ("REVOKED", 3)
    assert names(page.evaluate("news")).count("Cancelled") == 1


def test_a_script_that_has_stopped_is_told_nothing_more(page: Page, site: WebServer) -> None:
    page.goto(f"{site.url}/bare/never")
    (location,) = page.evaluate(START, [f"{site.url}/{SCRIPT}", "/start", {"steps": 1000}])
    page.evaluate("following.stop()")
    page.evaluate("news.length = 0")
    requests.delete(location, timeout=PATIENCE).raise_for_status()
    # Another that follows the same is told
    ended = """async ([script, location]) => {
        const { follow } = await import(script);
        return (await follow(location).ended)[0].state;
    }"""
    assert page.evaluate(ended, [f"{site.url}/{SCRIPT}", location]) == "REVOKED"
    assert page.evaluate("news") == []


def test_a_start_that_is_refused_is_a_problem(page: Page, site: WebServer) -> None:
    page.goto(f"{site.url}/bare/never")
    problem = page.evaluate(
        """async (script) => {
            const { start, Problem } = await import(script);
            return start('/start', { steps: 0 }).catch((problem) =>
                [problem instanceof Problem, problem.status, problem.field, problem.message]);
        }""",
        f"{site.url}/{SCRIPT}",
    )
    message = "Steps must be a whole number from 1 to 1,000."
    assert problem == [True, 400, "steps", message]


def test_without_a_list_of_the_server_the_tab_brings_its_bars_back(
    page: Page, site_without_key: WebServer
) -> None:
    page.goto(site_without_key.url)
    press(page, "Start")
    moves(tasks_of(page))
    page.reload()
    moves(tasks_of(page))
    cancel_all(page)
    page.get_by_role("button", name="Hide").click()
    page.reload()
    expect(page.locator(".longtask-list")).to_have_count(1)
    expect(tasks_of(page)).to_have_count(0)


def test_a_plain_page_without_a_template_starts_and_shows_a_task(
    page: Page, web: WebServer, worker: Worker
) -> None:
    page.goto(f"{web.url}/static/plain.html")
    press(page, "Start")
    moves(tasks_of(page))
    expect(page.get_by_text("The answer is 42.")).to_be_visible()
    in_state(page, "Done").wait_for()


GERMAN = {"Accept-Language": "de"}
GERMAN_WORDS = {
    word
    for text in re.findall(r'"[^"]*"(?=[,}\n])', (ROOT / "tests/page/german.json").read_text())
    for word in re.findall(r"[^\W\d_]+", text)
}


def foreign_words(text: str) -> set[str]:
    """What is no word of the German page, but for the first digits of an id."""
    text = re.sub(r"\b[0-9a-f]{8}\b", "", text)
    return {word for word in re.findall(r"[^\W\d_]+", text) if word not in GERMAN_WORDS}


def test_every_word_of_a_german_bar_is_german(page: Page, site: WebServer) -> None:
    seen: set[str] = set()

    def is_german(bar: Locator, word: str) -> None:
        expect(bar.locator(".longtask-word")).to_have_text(word)
        text = bar.inner_text()
        assert foreign_words(text) == set(), text
        assert foreign_words(str(bar.get_attribute("aria-label"))) == set()
        bar_label = bar.get_by_role("progressbar").get_attribute("aria-valuetext")
        assert foreign_words(str(bar_label)) == set()
        seen.update(re.findall(r"[^\W\d_]+", text))

    page.set_extra_http_headers(GERMAN)
    page.goto(site.url)
    press(page, "Start")
    bar = tasks_of(page)
    moves(bar)
    expect(bar.locator(".longtask-percent")).to_contain_text("noch")
    is_german(bar, "Läuft")
    bar.get_by_role("button", name="Abbrechen").click()
    is_german(bar, "Abgebrochen")
    page.locator("#start input").first.fill("2")
    press(page, "Start")
    is_german(tasks_of(page).first, "Fertig")
    press(page, "Fail")
    is_german(page.locator("#fail + .longtask-list long-task"), "Gescheitert")
    assert {"Schritte", "Sek", "Gesendet", "Beendet", "Ausblenden", "Zeile"} <= seen


@pytest.mark.parametrize(
    ("addition", "german"),
    [
        ("(nothing new for 3 min)", "(seit 3 Min. nichts Neues)"),
        ("(nothing new for 2 h 5 min)", "(seit 2 Std. 5 Min. nichts Neues)"),
        (
            "(started again after its worker was lost) (nothing new for 1 min)",
            "(neu begonnen, da der Worker verloren ging) (seit 1 Min. nichts Neues)",
        ),
        (
            "(started again after it stalled) (silent for more than 5 s, but its worker cannot stop it)",
            "(neu begonnen, da sie hängen blieb) (seit mehr als 5 Sek. still, aber ihr Worker kann sie nicht beenden)",
        ),
    ],
)
def test_what_is_added_to_a_sentence_is_german_too(
    page: Page, site: WebServer, addition: str, german: str
) -> None:
    task_id = started(site, steps=1)
    task = requests.get(f"{site.url}/status/{task_id}", timeout=PATIENCE).json()
    answer = {**task, "state": "PROGRESS", "status": f"Step 3 {addition}", "finished": None}
    page.route("**/status?*", lambda route: route.fulfill(json={"tasks": {task_id: answer}}))
    page.set_extra_http_headers(GERMAN)
    page.goto(site.url)
    page.evaluate(
        """(address) => {
            const bar = document.createElement('long-task');
            bar.setAttribute('href', address);
            document.body.append(bar);
        }""",
        f"{site.url}/status/{task_id}",
    )
    message = page.locator(".longtask-message")
    expect(message).to_have_text(f"Schritt 3 {german}")


def test_an_error_of_a_german_page_is_german(page: Page, site: WebServer) -> None:
    page.set_extra_http_headers(GERMAN)
    page.goto(site.url)
    press(page, "Start")
    moves(tasks_of(page).first)
    page.route("**/status?*", lambda route: route.abort())
    banner = page.locator(".longtask-banner").first
    expect(banner).to_contain_text("Der Server antwortet nicht.")
    expect(banner).to_contain_text("Neuer Versuch in")
    assert foreign_words(banner.inner_text()) == set()
    page.unroute("**/status?*")
    expect(banner).to_be_hidden()
    cancel_all_open_in_german(page)


def cancel_all_open_in_german(page: Page) -> None:
    tasks_of(page).first.get_by_role("button", name="Abbrechen").click()
    expect(tasks_of(page).first).to_contain_text("Abgebrochen")


def test_the_pages_of_the_server_are_german_too(site: WebServer) -> None:
    address = f"{site.url}/status/{started(site, steps=1)}"
    page = requests.get(address, headers={**GERMAN, "Accept": "text/html"}, timeout=PATIENCE)
    # What the task says is its own; a script translates that, too
    rest = re.sub(
        r'<script.*?</script>|<span class="longtask-message">.*?</span>', "", page.text, flags=re.S
    )
    without_workers = re.sub(r">[^<>]*/[0-9a-f]{12}<", "><", rest)
    assert foreign_words(re.sub(r"<[^>]*>", " ", without_workers)) == {"UTC"}


def test_texts_are_replaced_by_a_script_of_the_page(page: Page, site: WebServer) -> None:
    task_id = started(site, steps=1)
    page.goto(f"{site.url}/bare/{task_id}")
    in_state(page, "Done").wait_for()
    page.evaluate(
        """async ([script, location]) => {
            const { setStrings } = await import(script);
            setStrings({ done: 'Voilà' });
            const bar = document.createElement('long-task');
            bar.setAttribute('href', location);
            document.body.append(bar);
        }""",
        [f"{site.url}/{SCRIPT}", f"{site.url}/status/{task_id}"],
    )
    expect(tasks_of(page).nth(1)).to_contain_text("Voilà")


@pytest.mark.parametrize(("current", "percent"), [(0, ""), (21, "42%")])
def test_the_line_of_a_waiting_task_shows_what_it_had_done_before(
    page: Page, site: WebServer, current: int, percent: str
) -> None:
    page.goto(site.url)
    press(page, "Start")
    task_id = tasks_of(page).get_attribute("data-task-id")
    task = requests.get(f"{site.url}/status/{task_id}", timeout=PATIENCE).json()
    again = {"state": "PENDING", "status": "Waiting to be started again", "attempt": 1}
    done = {"current": current, "total": 50, "percent": 2 * current}
    answer = {"tasks": {task_id: {**task, **again, **done}}}
    page.route("**/status?*", lambda route: route.fulfill(json=answer))
    expect(tasks_of(page)).to_contain_text("Waiting to be started again")
    expect(tasks_of(page).get_by_role("progressbar")).to_be_hidden()
    shown = tasks_of(page).locator(".longtask-percent").evaluate("node => node.innerText")
    assert tasks_of(page).locator(".longtask-percent").is_visible() == bool(percent), shown
    if percent:
        assert shown == percent
    page.unroute("**/status?*")
    cancel_all(page)


def test_a_form_keeps_a_distance_from_the_bar_above_it(page: Page, site: WebServer) -> None:
    page.goto(site.url)
    for number in (1, 2):
        press(page, "Fail")
        expect(in_state(page, "Failed")).to_have_count(number)
    bar, button = tasks_of(page).last.bounding_box(), page.locator("#group button").bounding_box()
    assert bar
    assert button
    assert button["y"] - bar["y"] - bar["height"] >= 12


def test_the_page_asks_once_for_all_bars_of_a_server(page: Page, site: WebServer) -> None:
    ids = [started(site, steps=1000) for _ in range(3)]
    asked: list[str] = []
    page.on("request", lambda request: "/status?" in request.url and asked.append(request.url))
    page.goto(f"{site.url}/bare/{ids[0]}")
    page.evaluate(
        """(ids) => {
            for (const id of ids) {
                const bar = document.createElement('long-task');
                bar.setAttribute('href', `/status/${id}`);
                document.body.append(bar);
            }
        }""",
        ids[1:],
    )
    for number in range(3):
        moves(tasks_of(page).nth(number))
    wait_until(lambda: page.wait_for_timeout(100) or asked[-1].count("id=") == 3)
    cancel_all(page)
