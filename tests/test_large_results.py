"""Results and messages that are too large to be sent with every poll."""

import json
from typing import Any

import pytest
from redis import Redis

from flask_longtask.celery.backend import RedisBackend
from tests.processes import WebServer, Worker, wait_until


@pytest.fixture
def backend(app: Any) -> RedisBackend:
    backend: RedisBackend = app.extensions["celery"].backend
    return backend


def sizes_read(redis: Redis, what: Any) -> int:
    """How many bytes Redis sends while this is done."""
    before = redis.info("stats")["total_net_output_bytes"]  # type: ignore[index]
    what()
    return int(redis.info("stats")["total_net_output_bytes"] - before)  # type: ignore[index]


def ended(client: Any, celery: Any, name: str, *args: Any) -> dict[str, Any]:
    task_id = celery.send_task(f"tests.tasks.{name}", args).id
    return dict(wait_until(lambda: (t := client.get(f"/status/{task_id}").json)["finished"] and t))


@pytest.mark.parametrize("kind", ["text", "dict"])
def test_a_large_result_has_an_address_of_its_own(
    app: Any, client: Any, redis: Redis, worker: Worker, kind: str
) -> None:
    task = ended(client, app.extensions["celery"], "large", 5_000_000, kind)

    assert task["state"] == "SUCCESS"
    assert task["result"] is None
    assert 5_000_000 <= task["result_bytes"] < 5_001_000
    expected = ("Task completed!", 1, 1) if kind == "text" else ("Made", 7, 7)
    assert (task["status"], task["current"], task["total"]) == expected
    answer = client.get(f"/result/{task['task_id']}")
    assert answer.json == "x" * 5_000_000
    assert answer.headers["Cache-Control"] == "no-store"
    # From now on it is not read with each poll, of many tasks at once neither
    url = f"/status?id={task['task_id']}&id=nobody"
    assert sizes_read(redis, lambda: client.get(url)) < 100_000
    assert client.get(url).json["tasks"] == {task["task_id"]: task, "nobody": None}
    page = client.get(f"/status/{task['task_id']}", headers={"Accept": "text/html"}).text
    assert f"/result/{task['task_id']}" in page
    assert len(page) < 100_000
    # And what is gone is told as such
    redis.delete(f"celery-task-meta-{task['task_id']}", f"longtask:task:{task['task_id']}")
    assert client.get(f"/status/{task['task_id']}").status_code == 404
    assert client.get(f"/result/{task['task_id']}").status_code == 404


def test_a_large_result_of_a_program_without_the_extension_is_not_sent_either(
    client: Any, redis: Redis
) -> None:
    document = {"status": "SUCCESS", "result": "x" * 1_000_000, "traceback": None, "children": []}
    redis.set("celery-task-meta-stranger", json.dumps(document), ex=60)

    task = client.get("/status/stranger").json

    assert (task["state"], task["result"], task["status"]) == ("SUCCESS", None, "Task completed!")
    assert task["result_bytes"] > 1_000_000
    assert client.get("/result/stranger").json == "x" * 1_000_000


def test_a_result_that_is_not_large_is_there_as_well(app: Any, client: Any, worker: Worker) -> None:
    task = ended(client, app.extensions["celery"], "large", 1000, "text")

    assert task["result"] == "x" * 1000
    assert "result_bytes" not in task
    assert client.get(f"/result/{task['task_id']}").json == "x" * 1000


def test_there_is_no_result_before_the_end_and_of_a_failure(client: Any, redis: Redis) -> None:
    redis.set("celery-task-meta-failed", '{"status": "FAILURE", "result": "no"}', ex=60)

    answer = client.get("/result/failed")

    assert answer.status_code == 404
    assert answer.json["detail"] == "The task has no result: its state is FAILURE."


def test_a_long_message_is_cut_where_it_is_stored(
    app: Any, client: Any, redis: Redis, backend: RedisBackend
) -> None:
    backend.store_state(
        "talkative", {"current": 1, "total": 2, "status": "x" * 3_000_000}, "PROGRESS"
    )

    assert client.get("/status/talkative").json["status"] == "x" * 1000
    assert redis.strlen("celery-task-meta-talkative") < 2000
    assert redis.strlen("longtask:task:talkative") < 2000
    redis.delete("celery-task-meta-talkative", "longtask:task:talkative")


def test_the_page_links_to_a_large_result(
    app: Any, client: Any, page: Any, web: WebServer, worker: Worker
) -> None:
    task = ended(client, app.extensions["celery"], "large", 1_500_000, "text")

    page.goto(f"{web.url}/status/{task['task_id']}")

    link = page.locator(".longtask-result a")
    assert link.text_content() == "1.5 MB"
    assert link.get_attribute("href").endswith(f"/result/{task['task_id']}")
