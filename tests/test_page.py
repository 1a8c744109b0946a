"""The page's script as an app's own scripts see it, and how a template loads it."""

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Route

from flask_longtask.web.routes import bp
from tests.processes import WebServer, Worker
from tests.test_browser import in_state, start

NEWS = """
    window.news = [];
    longtask.onSuccess = (task, bar) => news.push(['onSuccess', task.result, bar.phase]);
    document.addEventListener('longtask', ({ detail: { task } }) => news.push(['event', task.state]));
"""


def test_every_module_of_the_script_is_preloaded(client: Any) -> None:
    page = client.get("/", headers={"Accept": "text/html"}).text

    named = re.findall(r'rel="modulepreload" href="/longtask/static/([^"]+)"', page)
    folder = Path(str(bp.static_folder))
    modules = [file.relative_to(folder).as_posix() for file in folder.rglob("*.js")]
    assert sorted([*named, "longtask.js"]) == sorted(modules)


def test_a_page_follows_its_tasks_by_handlers_and_by_an_event(
    page: Page, web: WebServer, worker: Worker
) -> None:
    page.goto(web.url)
    page.evaluate(NEWS)

    start(page, steps=2, delay=1)

    in_state(page, "Done").wait_for()
    news = page.evaluate("news")
    assert ["onSuccess", 42, "done"] in news
    assert news[0][0] == "event"
    assert news[-1] == ["event", "SUCCESS"]


def test_a_task_that_has_ended_before_its_start_is_answered_is_told_of_all_the_same(
    page: Page, web: WebServer
) -> None:
    page.goto(web.url)
    page.evaluate(NEWS)
    answer = {"task_id": "a", "state": "SUCCESS", "percent": 100, "status": "", "result": 42}
    page.route(f"{web.url}/longtask", lambda route: route.fulfill(status=202, json=answer))

    start(page, steps=1, delay=0)

    in_state(page, "Done").wait_for()
    assert page.evaluate("news") == [
        ["event", "SUCCESS"],  # started
        ["onSuccess", 42, "done"],
        ["event", "SUCCESS"],
        ["event", "SUCCESS"],  # ended
    ]


def load(page: Page, web: WebServer, attributes: str) -> None:
    """The start page, with these attributes at the tag of the script."""

    def answer(route: Route) -> None:
        body = route.fetch().text().replace('type="module"', f'{attributes} type="module"')
        route.fulfill(body=body, content_type="text/html")

    page.route(f"{web.url}/", answer)
    page.goto(f"{web.url}/")


def test_options_are_attributes_of_the_script(page: Page, web: WebServer) -> None:
    load(page, web, 'data-poll-seconds="7"')
    assert page.evaluate("[longtask.base, longtask.pollSeconds]") == ["", 7]


def test_a_page_can_extend_the_class_and_start_it_itself(page: Page, web: WebServer) -> None:
    load(page, web, "data-manual")
    assert page.evaluate("typeof longtask") == "undefined"

    started = page.evaluate(
        """() => {
            const client = new (class extends LongTask {
                createBar(...its) { return Object.assign(super.createBar(...its), { mine: true }); }
            })({ pollSeconds: 5 });
            client.start();
            const bar = client.watch('an-id');
            return [client.pollSeconds, bar.mine, bar instanceof LongTask.Bar];
        }"""
    )
    assert started == [5, True, True]
