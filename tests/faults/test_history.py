"""What the history of a task says of workers that are killed and stopped, and of a Redis that is away."""

from typing import Any

import requests

from tests.faults.system import System
from tests.processes import PATIENCE, wait_until


def history(system: System, task_id: str) -> dict[str, Any]:
    response = requests.get(f"{system.web.url}/status/{task_id}/history", timeout=PATIENCE)
    assert response.status_code == 200, response.text
    return dict(response.json())


def texts(system: System, task_id: str) -> list[str]:
    return [line["text"] for line in history(system, task_id)["lines"]]


def outcomes(system: System, task_id: str) -> list[str | None]:
    return [attempt["outcome"] for attempt in history(system, task_id)["attempts"]]


def test_each_attempt_says_how_it_ended_and_what_it_logged(system: System) -> None:
    # Given a task whose worker is killed, and then one that is stopped
    doomed = system.worker("doomed")
    task_id = system.start("logging_until_released")
    wait_until(lambda: texts(system, task_id) == ["run 1"])
    doomed.stop()
    assert outcomes(system, task_id) == [None]  # nobody has noticed yet
    system.worker("stopped")
    wait_until(lambda: texts(system, task_id) == ["run 1", "run 2"])
    assert outcomes(system, task_id) == ["worker lost", None]
    system.terminate("stopped")
    wait_until(lambda: outcomes(system, task_id) == ["worker lost", "handed back"])

    # When a third ends it
    system.worker("last")
    wait_until(lambda: texts(system, task_id) == ["run 1", "run 2", "run 3"])
    system.release(task_id)
    system.wait([task_id], state="SUCCESS")

    # Then all is told
    told = history(system, task_id)
    assert outcomes(system, task_id) == ["worker lost", "handed back", "succeeded"]
    assert texts(system, task_id)[-1] == "released"
    assert [line["attempt"] for line in told["lines"]] == [1, 2, 3, 3]
    assert len({attempt["worker"] for attempt in told["attempts"]}) == 3
    times = [(it["started"], it["finished"]) for it in told["attempts"]]
    assert sorted(times) == times
    assert all(started <= finished for started, finished in times)


def test_a_process_that_is_killed_is_a_lost_one(system: System) -> None:
    system.worker("worker")
    task_id = system.start("killing_its_child")
    system.wait([task_id], state="FAILURE")
    assert outcomes(system, task_id) == ["worker lost"] * 3


def test_while_redis_is_away_a_task_goes_on_and_its_lines_are_there_afterwards(
    system: System,
) -> None:
    system.worker("worker")
    task_id = system.start("logging_until_released")
    wait_until(lambda: texts(system, task_id) == ["run 1"])

    system.redis_server.pause()
    # The task reads files, not Redis: it logs and returns while Redis does not answer
    system.release(task_id)
    system.redis_server.resume()

    system.wait([task_id], state="SUCCESS")
    assert texts(system, task_id) == ["run 1", "released"]
