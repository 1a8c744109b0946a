"""The wire contract of the timed tasks, word for word: clients of an older system stand on it."""

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.processes import PATIENCE, WebServer, wait_until

pytestmark = pytest.mark.usefixtures("app", "worker")


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_contract_word_for_word(web: WebServer, slash: str) -> None:
    # One of a second may have ended before a busy machine asks
    wait_until(lambda: is_seen_to_wait_and_to_end(web, slash))


def is_seen_to_wait_and_to_end(web: WebServer, slash: str) -> bool:
    response = requests.post(f"{web.url}/tasks", json={"type": 1}, timeout=PATIENCE)
    task_id = str(uuid.UUID(response.json()["task_id"]))
    assert response.status_code == 202
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Location"] == f"{web.url}/tasks/{task_id}"
    assert response.text == f'{{"task_id": "{task_id}"}}'

    address = f"{web.url}/tasks/{task_id}{slash}"
    pending = f'{{"task_id": "{task_id}", "task_status": "PENDING", "task_result": null}}'
    done = f'{{"task_id": "{task_id}", "task_status": "SUCCESS", "task_result": true}}'
    seen = []
    while done not in seen:
        answer = requests.get(address, timeout=PATIENCE, allow_redirects=False)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.text in (pending, done)
        seen.append(answer.text)
        time.sleep(0.05)
    return pending in seen


def test_it_is_pending_while_it_runs_and_its_bar_moves(web: WebServer) -> None:
    def ask(path: str) -> Any:
        return requests.get(f"{web.url}{path}", timeout=PATIENCE).json()

    def seen_half_way() -> str | None:
        started = requests.post(f"{web.url}/tasks", json={"type": 3}, timeout=PATIENCE)
        task_id = str(started.json()["task_id"])
        wait_until(lambda: ask(f"/status/{task_id}")["percent"] > 10)
        told = ask(f"/tasks/{task_id}")
        # One of three seconds may have ended before a busy machine asks
        cancelled = requests.delete(f"{web.url}/status/{task_id}", timeout=PATIENCE)
        assert told["task_status"] == "PENDING" or not cancelled.ok
        return task_id if cancelled.ok else None

    task_id = wait_until(seen_half_way)
    assert requests.get(f"{web.url}/tasks/{task_id}", timeout=PATIENCE).json() == {
        "task_id": task_id,
        "task_status": "REVOKED",
        "task_result": None,
    }


@pytest.mark.parametrize(
    "body", [{"json": {"type": 0}}, {"json": {"type": "0"}}, {"data": {"type": "0"}}]
)
def test_the_type_may_come_by_json_or_by_form(
    client: Any, ended: Callable[[str], dict[str, Any]], body: dict[str, Any]
) -> None:
    response = client.post("/tasks", **body)
    assert response.status_code == 202
    task = ended(response.json["task_id"])
    assert task["finished"]
    assert task["result"] is True


@pytest.mark.parametrize("type_", [-1, 4, 10**30, 1.0, 0.5, True, None, "", "a", "1.0", [1], {}])
def test_any_other_type_is_400_and_names_the_field(client: Any, type_: Any) -> None:
    response = client.post("/tasks", json={"type": type_})
    assert response.status_code == 400
    assert response.json["field"] == "type"
    assert response.json["detail"] == "Type must be a whole number from 0 to 3."


def test_without_a_type_or_with_something_else_it_is_no_task(client: Any) -> None:
    assert client.post("/tasks").status_code == 400
    assert client.post("/tasks", json={}).status_code == 400
    assert client.post("/tasks", data="type=1", content_type="text/plain").status_code == 415


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_task_that_does_not_exist_is_404(client: Any, slash: str) -> None:
    for task_id in (uuid.uuid4(), "1", "x" * 100):
        assert client.get(f"/tasks/{task_id}{slash}").status_code == 404


def test_the_list_of_this_browsers_tasks_has_the_same_path(client: Any) -> None:
    task_id = client.post("/tasks", json={"type": 0}).json["task_id"]
    assert [task["task_id"] for task in client.get("/tasks").json["tasks"]] == [task_id]


def test_a_browsers_form_is_sent_to_the_page_of_the_task(client: Any) -> None:
    response = client.post("/tasks", data={"type": 0}, headers={"Accept": "text/html"})
    assert response.status_code == 303
    assert "/status/" in response.location
