"""Every form of a task, and every way to start one, has a bar that is true."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.home.home import Home
from tests.home.servers import PATIENCE
from tests.processes import wait_until


class AnyTask(Home):
    def start(self, task: str, *args: Any, **options: Any) -> str:
        """Start a task, and return its address."""
        return self.post(f"/start/{task}", json={"args": args, **options}).headers["Location"]

    def let_go_on(self, address: str, times: int = 1) -> None:
        for _ in range(times):
            self.redis.rpush(f"go on:{id_of(address)}", "go")

    def noted(self, address: str) -> list[str]:
        return [line.decode() for line in self.redis.lrange(f"noted:{id_of(address)}", 0, -1)]


@pytest.fixture(scope="module")
def home(folder: Path, new_database: Callable[[], str]) -> Iterator[AnyTask]:
    home = AnyTask("any", "tests.home.any_task.site", folder, new_database())
    yield home
    home.stop()


def id_of(address: str) -> str:
    return urlsplit(address).path.rpartition("/")[2]


FORMS = ["bound", "class_based", "on_a_plain_base", "with_its_own_call", "wrapped_function"]


@pytest.mark.parametrize("task", ["plain", "shared"])
def test_a_plain_function_runs_in_the_apps_context(home: AnyTask, task: str) -> None:
    end = home.end(home.start(task, "Words"))

    assert (end["state"], end["result"], end["task"]) == ("SUCCESS", "Words in any", task)


@pytest.mark.parametrize("task", FORMS)
def test_a_task_of_any_form_reports_and_ends_with_its_result(home: AnyTask, task: str) -> None:
    address = home.start(task, "Words")
    home.wait(address, state="PROGRESS", current=1, total=2, status="Half")

    home.let_go_on(address, 2)

    end = home.end(address)
    assert (end["state"], end["result"], end["percent"]) == ("SUCCESS", "Words in any", 100)


@pytest.mark.parametrize("task", FORMS)
def test_a_task_of_any_form_that_is_cancelled_while_it_waits_never_runs(
    home: AnyTask, task: str
) -> None:
    # Given a task in a queue that no worker serves yet
    queue = f"later-{task}"
    cancelled = home.start(task, queue=queue)
    assert requests.delete(cancelled, timeout=PATIENCE).json()["state"] == "REVOKED"

    # When a worker starts that serves it
    after = home.start("ignored", queue=queue)
    home.workers.append(home.worker(queue, "-c", "1", "-P", "solo", "-Q", queue))
    home.wait(after, state="SUCCESS")

    # Then it was not run
    assert home.noted(cancelled) == []
    assert home.status(cancelled)["state"] == "REVOKED"
    home.workers.pop().stop()


@pytest.mark.parametrize("task", FORMS)
def test_a_task_of_any_form_that_is_cancelled_stops_at_its_next_report(
    home: AnyTask, task: str
) -> None:
    address = home.start(task)
    home.wait(address, state="PROGRESS")
    wait_until(lambda: "ran" in home.noted(address))

    assert requests.delete(address, timeout=PATIENCE).json()["state"] == "REVOKED"

    # All four processes are free for other tasks
    others = [home.start("held") for _ in range(4)]
    for other in others:
        home.wait(other, state="PROGRESS")
        home.let_go_on(other)
    assert {home.end(other)["state"] for other in others} == {"SUCCESS"}
    assert home.status(address)["state"] == "REVOKED"


@pytest.mark.long
@pytest.mark.parametrize("pool", ["threads", "gevent", "solo"])
def test_a_task_on_a_base_of_its_own_runs_in_other_pools_too(home: AnyTask, pool: str) -> None:
    home.workers.append(home.worker(f"in-{pool}", "-P", pool, "-c", "2", "-Q", pool))
    for task in ("on_a_plain_base", "with_its_own_call"):
        address = home.start(task, "Words", queue=pool)
        home.wait(address, state="PROGRESS", current=1, status="Half")
        home.let_go_on(address, 2)
        assert home.end(address)["result"] == "Words in any"
    home.workers.pop().stop()


def test_handlers_of_a_base_class_are_still_called(home: AnyTask) -> None:
    audited, opened = home.start("on_a_plain_base"), home.start("with_its_own_call")
    for address in (audited, opened):
        home.let_go_on(address, 2)
        home.wait(address, state="SUCCESS")

    wait_until(lambda: home.noted(audited) == ["before_start", "ran", "on_success"])
    assert home.noted(opened) == ["opened", "ran", "closed"]


ODD = [
    *(
        "a/b",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../x",
        "...",
        "a?b=c",
        "?",
        "#",
        "a#b",
        "%",
        "%2F",
        "a%20b",
    ),
    *(
        "with a space",
        " ",
        "ä/ö",
        "任務",
        "🦉",
        "~",
        "~YQ",
        "a;b",
        "a&b=c",
        "a\\b",
        "\N{BULLET}" * 60,
        "x" * 255,
    ),
]


@pytest.mark.parametrize("task_id", ODD)
def test_a_task_with_an_odd_id_of_its_own_is_found_at_its_location(
    home: AnyTask, task_id: str
) -> None:
    response = home.post("/start/plain", json={"args": ["Odd"], "task_id": task_id})
    address = response.headers["Location"]

    assert response.json()["task_id"] == task_id
    end = home.end(address)
    assert (end["task_id"], end["result"]) == (task_id, "Odd in any")
    result = address.replace("/status/", "/result/")
    assert requests.get(result, timeout=PATIENCE).json() == "Odd in any"
    assert requests.delete(address, timeout=PATIENCE).status_code == 409
    many = requests.get(f"{home.url}/status", {"id": task_id}, timeout=PATIENCE).json()
    assert many["tasks"][task_id]["state"] == "SUCCESS"


@pytest.mark.parametrize("task_id", ["a/b", "..", "任務", "?"])
def test_a_task_with_an_odd_id_is_followed_as_a_stream_and_as_a_page(
    home: AnyTask, task_id: str
) -> None:
    task_id += " as a page"
    address = home.post("/start/plain", json={"task_id": task_id}).headers["Location"]
    home.end(address)

    stream = requests.get(address, headers={"Accept": "text/event-stream"}, timeout=PATIENCE)
    assert '"state": "SUCCESS"' in stream.text
    page = requests.get(address, headers={"Accept": "text/html"}, timeout=PATIENCE)
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")


def test_a_task_whose_result_is_ignored_is_followed_to_its_end(home: AnyTask) -> None:
    address = home.start("ignored")

    end = home.end(address)
    assert (end["state"], end["result"], end["percent"]) == ("SUCCESS", None, 100)
    assert home.noted(address) == ["ran"]


def test_a_result_that_a_start_ignores_is_ignored_and_the_task_is_followed(home: AnyTask) -> None:
    end = home.end(home.start("plain", ignore_result=True))

    assert (end["state"], end["result"]) == ("SUCCESS", None)


def test_a_task_that_tries_again_succeeds_at_last(home: AnyTask) -> None:
    end = home.end(home.start("retrying", 2))

    assert (end["state"], end["result"]) == ("SUCCESS", "after 2")


def test_a_task_that_has_tried_often_enough_has_failed(home: AnyTask) -> None:
    end = home.end(home.start("retrying", 10))

    assert (end["state"], end["status"]) == ("FAILURE", "the shelf is being moved")


def test_tasks_with_a_rate_limit_are_all_done(home: AnyTask) -> None:
    addresses = [home.start("limited") for _ in range(5)]

    assert [home.end(address)["result"] for address in addresses] == ["at last"] * 5


def test_a_task_over_its_time_limit_has_failed_and_says_why(home: AnyTask) -> None:
    end = home.end(home.start("too_long"))

    assert end["state"] == "FAILURE"
    assert "timelimitexceeded" in end["status"].lower().replace(" ", "")
    assert end["percent"] < 100


def test_a_task_that_is_warned_of_its_time_limit_ends_as_it_likes(home: AnyTask) -> None:
    assert home.end(home.start("warned"))["result"] == "stopped in time"


def test_tasks_ahead_are_those_that_are_run_before_it(home: AnyTask) -> None:
    # Given a busy worker, three tasks that are not urgent, and an urgent one
    home.workers.append(home.worker("urgent-worker", "-c", "1", "-Q", "urgent"))
    busy = home.start("held", queue="urgent")
    home.wait(busy, state="PROGRESS")
    slow = [home.start("ignored", queue="urgent", priority=9) for _ in range(3)]
    urgent = home.start("ignored", queue="urgent", priority=0)

    # Then the status of each says how many tasks run before it
    def ahead(address: str) -> str:
        return home.status(address)["status"]

    # The web server may have read a moment ago which queues are served
    wait_until(lambda: "3 tasks ahead" in ahead(slow[2]))
    assert "2 tasks ahead" in ahead(slow[1])
    assert "1 task ahead" in ahead(slow[0])
    assert "ahead" not in ahead(urgent)

    # And they run in this order
    home.let_go_on(busy)
    for address in (*slow, urgent):
        home.wait(address, state="SUCCESS")
    order = [line.decode().split()[0] for line in home.redis.lrange("noted", 0, -1)]
    assert [each for each in order if each in map(id_of, [*slow, urgent])] == [
        id_of(address) for address in (urgent, *slow)
    ]
    home.workers.pop().stop()


def test_a_queue_that_nobody_serves_is_named(home: AnyTask) -> None:
    home.wait(home.start("plain"), state="SUCCESS")  # the worker is running

    status = home.status(home.start("plain", queue="nobodys"))["status"]

    assert "nobodys" in status
    assert "no worker is running" not in status


@pytest.mark.parametrize(
    ("kind", "result"),
    [("chain", 3), ("chord", 6), ("group", None), ("signature", "signed in any")],
)
def test_every_canvas_has_one_bar(home: AnyTask, kind: str, result: Any) -> None:
    end = home.end(home.post(f"/start-many/{kind}").headers["Location"])

    assert (end["state"], end["result"]) == ("SUCCESS", result)


def test_clients_of_celery_are_told_what_celery_tells_them(home: AnyTask) -> None:
    from celery import Celery  # noqa: PLC0415

    url = home.settings["REDIS_URL"]
    plain = Celery("client", broker=url, backend=url, set_as_current=False)
    waiting, address = home.start("plain", queue="nobodys"), home.start("held")
    home.wait(address, state="PROGRESS")

    # By default, Celery does not report that a task has started
    assert plain.AsyncResult(id_of(waiting)).state == "PENDING"
    assert plain.AsyncResult(id_of(address)).state == "PENDING"
    home.let_go_on(address)
    result = plain.AsyncResult(id_of(address))
    assert result.get(timeout=PATIENCE) == "let go on"
    assert (result.state, result.name) == ("SUCCESS", None)
    plain.backend.client.close()
    result.backend.result_consumer.stop()
    plain.close()
