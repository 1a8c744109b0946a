"""The client of the classic tutorial, which knows four fields and two states, works against this server."""

import time
from typing import Any

import pytest
import requests

from tests import tasks
from tests.processes import PATIENCE, WebServer, wait_until

pytestmark = pytest.mark.usefixtures("app", "worker")


def follow(address: str) -> list[dict[str, Any]]:
    """What the tutorial's page does with the address of a task: ask until it neither waits nor runs."""
    seen = []
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        data = requests.get(address, timeout=PATIENCE).json()
        seen.append(data)
        percent = int(data["current"] * 100 / data["total"])
        assert 0 <= percent <= 100
        assert isinstance(data["status"], str)
        if data["state"] not in ("PENDING", "PROGRESS"):
            return seen
        time.sleep(0.05)
    raise AssertionError(f"The task has not ended: {seen[-1]}")


def test_the_tutorials_client_starts_a_task_follows_its_location_and_reads_the_result(
    web: WebServer,
) -> None:
    form = {"steps": 5, "delay": 0.15}

    def moves() -> bool:
        response = requests.post(f"{web.url}/longtask", data=form, timeout=PATIENCE)
        assert response.status_code == 202

        seen = follow(response.headers["Location"])

        assert seen[-1]["state"] == "SUCCESS"
        assert seen[-1]["result"] == 42
        assert seen[-1]["status"] == "Task completed!"
        assert seen[-1]["current"] == seen[-1]["total"] == 5
        return len({data["current"] for data in seen}) >= 3

    # Whoever asks too seldom sees nothing of it, as a busy machine may
    wait_until(moves)


def test_the_tutorials_client_is_told_of_a_failure_by_the_errors_text(web: WebServer) -> None:
    end = follow(f"{web.url}/status/{tasks.failing.delay().id}")[-1]

    assert end["state"] == "FAILURE"
    assert end["status"] == "row 4 has no name"
    assert end["result"] is None


def test_the_tutorials_client_comes_to_an_end_when_a_task_is_cancelled(web: WebServer) -> None:
    form = {"steps": 1000}
    started = requests.post(f"{web.url}/longtask", data=form, timeout=PATIENCE)
    location = started.headers["Location"]

    requests.delete(location, timeout=PATIENCE).raise_for_status()

    assert follow(location)[-1]["state"] == "REVOKED"


def test_a_cancelled_task_says_so_before_its_next_report(web: WebServer) -> None:
    location = requests.post(
        f"{web.url}/longtask", data={"steps": 1000, "delay": 1}, timeout=PATIENCE
    ).headers["Location"]

    requests.delete(location, timeout=PATIENCE).raise_for_status()

    assert requests.get(location, timeout=PATIENCE).json()["state"] == "REVOKED"
