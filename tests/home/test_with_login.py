"""LongTask in an app with its own login, CSRF protection and Celery app: the owner of a task, and its permissions."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect
from redis import Redis

from tests.home.servers import PATIENCE, HomeWorker, Site
from tests.processes import wait_until

#: The headers that a browser sends with a request of the site's own page.
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


class Shop:
    """The shop with a web server and a worker."""

    def __init__(self, kind: str, folder: Path, database: str) -> None:
        name = kind.replace(" ", "-")
        settings = {"SHOP": kind, "REDIS_URL": database, "LONGTASK_REDIS_URL": database}
        self.redis = Redis.from_url(database)
        self.site = Site(name, folder, "tests.home.everything.site:app", **settings)
        self.worker = HomeWorker(
            f"{name}-worker", folder, "tests.home.everything.site:celery", "-c", "4", **settings
        )
        self.url = self.site.url

    def let_go_on(self, task_id: str) -> None:
        self.redis.rpush(f"go on:{task_id}", "go")

    def stop(self) -> None:
        self.site.stop()
        self.worker.stop()
        self.redis.close()


class Person:
    """A user with a browser."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.browser = requests.Session()
        self.browser.headers.update(OWN_PAGE)

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        url = path if path.startswith("http") else self.shop.url + path
        return self.browser.request(method, url, timeout=PATIENCE, allow_redirects=False, **options)

    def post(self, path: str, **form: str) -> requests.Response:
        """Send a form with its CSRF token, as a page of the shop does."""
        return self.ask("POST", path, data={"csrf_token": self.token(), **form})

    def token(self) -> str:
        return self.ask("GET", "/token").text

    def log_in(self, name: str) -> "Person":
        assert self.post("/login", name=name).ok
        return self

    def log_out(self) -> None:
        assert self.post("/logout").ok

    def start(self, title: str = "Year") -> str:
        """Start a report, and return its address."""
        response = self.post("/reports", title=title)
        assert response.status_code == 202, response.text
        return response.headers["Location"]

    def status(self, address: str) -> dict[str, Any]:
        response = self.ask("GET", address)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def listed(self) -> list[str]:
        response = self.ask("GET", "/jobs/tasks")
        assert response.status_code == 200, response.text
        return [task["task_id"] for task in response.json()["tasks"]]


@pytest.fixture(scope="module")
def shop(folder: Path, new_database: Callable[[], str]) -> Iterator[Shop]:
    shop = Shop("adopting", folder, new_database())
    yield shop
    shop.stop()


@pytest.fixture(scope="module")
def shop_of_logins(folder: Path, new_database: Callable[[], str]) -> Iterator[Shop]:
    """Without `identify` and `authorize`, only Flask-Login identifies the user."""
    shop = Shop("with a login", folder, new_database())
    yield shop
    shop.stop()


@pytest.fixture
def person(shop: Shop) -> Callable[[str], Person]:
    return lambda name: Person(shop).log_in(name)


Come = Callable[[str], Person]


def id_of(address: str) -> str:
    return address.rpartition("/")[2]


def test_a_task_is_started_followed_and_listed_under_the_prefix(shop: Shop, person: Come) -> None:
    ann = person("ann")
    address = ann.start("Year")

    assert address.startswith(f"{shop.url}/jobs/status/")
    half = {"state": "PROGRESS", "current": 1, "total": 2, "status": "Half of it"}
    wait_until(lambda: half.items() <= ann.status(address).items())
    assert ann.listed() == [id_of(address)]
    shop.let_go_on(id_of(address))
    wait_until(lambda: ann.status(address)["finished"])
    end = ann.status(address)
    assert (end["state"], end["result"], end["percent"]) == ("SUCCESS", "Year", 100)
    assert ann.ask("GET", f"/jobs/result/{id_of(address)}").json() == "Year"


def test_its_own_user_cancels_a_task_without_a_csrf_token(person: Come) -> None:
    ann = person("ann")
    address = ann.start()

    cancelled = ann.ask("DELETE", address)

    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "REVOKED")
    assert ann.ask("DELETE", address).status_code == 409


def test_its_own_user_cancels_a_task_by_the_form_of_its_page(person: Come) -> None:
    ann = person("ann")
    address = ann.start()

    answer = ann.ask("POST", address)

    assert (answer.status_code, answer.headers["Location"].endswith(id_of(address))) == (303, True)
    assert ann.status(address)["state"] == "REVOKED"


@pytest.mark.parametrize("method", ["DELETE", "POST"])
def test_another_sites_page_cancels_nothing(person: Come, method: str) -> None:
    ann = person("ann")
    address = ann.start()

    for origin in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": None, "Origin": "http://x"},
    ):
        assert ann.ask(method, address, headers=origin).status_code == 403

    assert ann.status(address)["state"] != "REVOKED"
    ann.ask("DELETE", address)


def test_another_user_neither_reads_nor_cancels_a_task(person: Come) -> None:
    ann, bob = person("ann"), person("bob")
    address = ann.start()
    task_id = id_of(address)

    asked = [
        bob.ask("GET", address),
        bob.ask("GET", address, headers={"Accept": "text/html"}),
        stream := bob.ask("GET", address, headers={"Accept": "text/event-stream"}, stream=True),
        bob.ask("GET", f"/jobs/result/{task_id}"),
        bob.ask("DELETE", address),
        bob.ask("POST", address),
    ]
    stream.close()  # otherwise it would go on
    assert [answer.status_code for answer in asked] == [403] * len(asked)
    assert bob.ask("GET", f"/jobs/status?id={task_id}").json() == {"tasks": {task_id: None}}
    assert bob.listed() == []
    assert ann.status(address)["state"] != "REVOKED"
    ann.ask("DELETE", address)


def test_who_is_not_logged_in_is_refused_too(shop: Shop, person: Come) -> None:
    ann = person("ann")
    address = ann.start()

    assert Person(shop).ask("GET", address).status_code == 403
    assert Person(shop).ask("DELETE", address).status_code == 403
    ann.ask("DELETE", address)


def test_who_may_read_a_task_may_not_cancel_it_for_that(person: Come) -> None:
    ann, boss = person("ann"), person("boss")
    address = ann.start()

    assert boss.status(address)["task_id"] == id_of(address)
    assert boss.ask("DELETE", address).status_code == 403
    ann.ask("DELETE", address)


def test_only_its_own_user_starts_a_task_again(person: Come) -> None:
    ann, bob, boss = person("ann"), person("bob"), person("boss")
    address = ann.start()
    ann.ask("DELETE", address)
    again = f"{address}/restart"

    assert [other.ask("POST", again).status_code for other in (bob, boss)] == [403, 403]
    answer = boss.ask("POST", again)
    assert answer.json()["detail"] == "You may not restart this task."
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert ann.ask("POST", again, headers=foreign).status_code == 403

    started = ann.ask("POST", again)  # without a CSRF token
    assert (started.status_code, started.json()["restart_of"]) == (202, id_of(address))
    new = started.headers["Location"]
    assert ann.listed()[0] == id_of(new)
    assert bob.ask("GET", new).status_code == 403
    ann.ask("DELETE", new)


def test_a_user_finds_the_same_list_in_each_browser(person: Come) -> None:
    at_home, at_work = person("carol"), person("carol")

    address = at_home.start()

    assert at_work.listed() == [id_of(address)]
    at_work.ask("DELETE", address)


def test_the_next_user_of_a_browser_sees_nothing_of_the_last_ones(person: Come) -> None:
    browser = person("dora")
    address = browser.start()
    assert browser.listed() == [id_of(address)]

    browser.log_out()
    assert browser.listed() == []
    assert browser.ask("GET", address).status_code == 403
    browser.log_in("emil")
    assert browser.listed() == []
    assert browser.ask("GET", address).status_code == 403


def test_flask_logins_users_have_lists_of_their_own_without_identify(
    shop_of_logins: Shop,
) -> None:
    browser = Person(shop_of_logins).log_in("ann")
    address = browser.start()
    assert browser.listed() == [id_of(address)]

    browser.log_out()
    assert browser.listed() == []
    browser.log_in("bob")
    assert browser.listed() == []
    browser.log_out()
    browser.log_in("ann")
    assert browser.listed() == [id_of(address)]
    browser.ask("DELETE", address)


@pytest.mark.parametrize("kind", ["shop", "shop_of_logins"])
def test_in_a_browser_with_csrf_protection_a_bar_is_drawn_and_its_task_cancelled(
    request: pytest.FixtureRequest, kind: str, page: Page
) -> None:
    shop: Shop = request.getfixturevalue(kind)

    def log_in(name: str) -> None:
        page.goto(f"{shop.url}/")
        answer = page.evaluate(
            """async (name) => {
              const token = await (await fetch("/token")).text();
              const body = new URLSearchParams({name, csrf_token: token});
              return (await fetch("/login", {method: "POST", body})).status;
            }""",
            name,
        )
        assert answer == 200
        page.goto(f"{shop.url}/reports")

    log_in("fred")
    page.get_by_role("button", name="Write a report").click()
    expect(page.get_by_text("Half of it")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Half of it")).to_be_visible()
    page.get_by_role("button", name=re.compile("cancel", re.IGNORECASE)).click()
    expect(page.locator(".longtask-word").get_by_text("Cancelled")).to_be_visible()

    log_in("gina")
    expect(page.get_by_role("button", name="Write a report")).to_be_visible()
    page.wait_for_load_state("networkidle")
    expect(page.get_by_text("Write report")).to_have_count(0)
