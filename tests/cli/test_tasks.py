"""`flask longtask list`, `start` and `cancel`."""

import json
from typing import Any

import pytest
from redis import Redis

from tests.cli.conftest import Site
from tests.processes import Worker, wait_until
from tests.tasks import release


def status_of(site: Site, task_id: str) -> dict[str, Any]:
    (task,) = (t for t in site.json("list")["tasks"] if t["task_id"] == task_id)
    return dict(task)


@pytest.mark.parametrize("name", ["tests.tasks.returning", "returning"])
@pytest.mark.parametrize("arguments", ["[42]", '{"value": 42}'])
def test_a_task_is_started_by_its_full_or_its_short_name_with_an_array_or_an_object(
    site: Site, cli_worker: Worker, name: str, arguments: str
) -> None:
    done = site.run("start", name, arguments, "--watch", "--json")

    last = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, last["state"], last["result"]) == (0, "SUCCESS", 42)


def test_start_prints_the_id_alone_or_the_status_object(idle: Site) -> None:
    task_id = idle.run("start", "returning", "[42]").stdout.strip()
    task = idle.json("start", "returning", "[42]")

    assert (task["state"], task["task"]) == ("PENDING", "returning")
    assert {t["task_id"] for t in idle.json("list")["tasks"]} == {task_id, task["task_id"]}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["returnign"], "There is no task returnign. Did you mean tests.tasks.returning?"),
        (["xyz"], "There is no task xyz. The app has elsewhere.noting, tests.cli.site.holding, "),
        (
            ["noting"],
            "noting is ambiguous: give the full name, elsewhere.noting or tests.tasks.noting.",
        ),
        (["returning", "[4"], "The arguments are not JSON: "),
        (["returning", "4"], "The arguments must be a JSON object or array."),
        (
            ["returning"],
            "tests.tasks.returning cannot be called with these arguments: "
            "returning() missing 1 required positional argument: 'value'.",
        ),
    ],
)
def test_what_cannot_be_started_is_told_in_a_sentence(
    idle: Site, arguments: list[str], sentence: str
) -> None:
    done = idle.run("start", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {sentence}")
    assert done.stderr.count("\n") == 1


def test_open_tasks_are_listed_newest_first_up_to_the_limit(idle: Site) -> None:
    ids = [idle.start("returning", "[1]") for _ in range(3)]

    listed = idle.run("list", "--limit", "2").stdout.splitlines()

    assert [line.split()[0] for line in listed] == ["ID", ids[2], ids[1], "2"]
    assert listed[1].endswith("Waiting: no worker is running")
    assert listed[-1] == "2 of 3 open tasks."


def test_a_running_task_is_listed_until_it_has_ended(
    site: Site, cli_worker: Worker, redis: Redis
) -> None:
    meta = {"current": 3, "total": 10, "status": "Row 3"}
    task_id = site.start("holding", json.dumps([meta]))
    wait_until(lambda: status_of(site, task_id)["percent"] == 30)

    release(redis, task_id)

    wait_until(lambda: all(t["task_id"] != task_id for t in site.json("list")["tasks"]))


def test_text_from_a_task_cannot_command_the_terminal(
    site: Site, cli_worker: Worker, redis: Redis
) -> None:
    meta = {"current": 1, "total": 2, "status": "a\x1b[2Jb\nc"}
    task_id = site.start("holding", json.dumps([meta]))
    wait_until(lambda: status_of(site, task_id)["percent"] == 50)

    (line,) = (line for line in site.run("list").stdout.splitlines() if task_id in line)

    assert line.endswith("a [2Jb c")
    release(redis, task_id)


def test_tasks_are_cancelled_and_each_is_told_what_came_of_it(
    site: Site, cli_worker: Worker
) -> None:
    ended = site.start("returning", "[1]")
    assert site.run("watch", ended).returncode == 0
    running = site.start("silent")

    assert site.run("cancel", running).stdout == f"{running}: Cancelled.\n"
    assert site.run("cancel", running).stdout == f"{running}: It had already ended: REVOKED.\n"
    several = site.run("cancel", ended, "nobody")
    assert several.stdout.splitlines() == [
        f"{ended}: It had already ended: SUCCESS.",
        "nobody: There is no such task.",
    ]
    assert (site.run("cancel", ended).returncode, several.returncode) == (1, 2)


def test_cancel_writes_json_for_scripts(idle: Site) -> None:
    task_id = idle.start("returning", "[1]")

    tasks = idle.json("cancel", task_id, "nobody")["tasks"]

    assert tasks[task_id]["state"] == "REVOKED"
    assert tasks["nobody"] is None


def test_a_queue_that_is_full_takes_no_task(idle: Site) -> None:
    idle.environment["LONGTASK_MAX_WAITING"] = "1"
    idle.start("returning", "[1]")

    done = idle.run("start", "returning", "[1]")

    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "Error: The queue is full: 1 task waits already.\n"


@pytest.mark.parametrize(
    "command",
    [["list"], ["start", "returning", "[1]"], ["cancel", "x"], ["workers"], ["queues"]],
    ids=lambda command: command[0],
)
def test_without_redis_each_command_says_so_in_one_line(away: Site, command: list[str]) -> None:
    done = away.run(*command)

    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
