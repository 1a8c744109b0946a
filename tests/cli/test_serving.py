"""`flask longtask workers` and `queues`."""

import json

from redis import Redis

from flask_longtask.store import Queue, Store
from flask_longtask.versions import VERSION
from tests.cli.conftest import Site
from tests.cli.test_tasks import status_of
from tests.processes import RedisServer, Worker, wait_until
from tests.tasks import release


def test_workers_are_listed_with_their_queues_and_what_they_run(
    site: Site, cli_worker: Worker, redis: Redis
) -> None:
    task_id = site.start("holding", json.dumps([{"current": 1, "total": 2}]))
    wait_until(lambda: status_of(site, task_id)["percent"] == 50)

    (worker,) = site.json("workers")["workers"]
    head, line = site.run("workers").stdout.splitlines()

    release(redis, task_id)
    assert worker.pop("silent_for") < 2.5
    running = worker.pop("running")
    assert task_id in running
    assert worker == {"name": "cli@tests", "alive": True, "queues": ["celery"], "version": VERSION}
    assert head.split() == ["NAME", "STATE", "QUEUES", "VERSION", "RUNS"]
    assert line.split()[:4] == ["cli@tests", "alive", "celery", VERSION]
    assert f"holding {task_id}" in line


def test_a_worker_that_was_not_heard_of_lately_is_silent(
    idle: Site, cli_redis: RedisServer
) -> None:
    # Given a worker whose last heartbeat was a while ago by Redis's clock
    with Redis.from_url(cli_redis.url(1)) as client:
        Store(client).workers.beat("a", "frozen@tests", ["celery"], lapse=60)
        client.zincrby("longtask:workers", -10, "a")

        (worker,) = idle.json("workers")["workers"]

    assert not worker["alive"]
    assert "frozen@tests  silent for 1" in idle.run("workers").stdout


def test_no_worker_is_told_as_such(idle: Site) -> None:
    assert idle.run("workers").stdout == "No worker is running.\n"
    assert idle.json("workers") == {"workers": []}


def test_queues_are_listed_with_what_waits_and_who_serves_them(
    site: Site, cli_worker: Worker, idle: Site
) -> None:
    idle.start("returning", "[1]")

    served = {queue["name"]: queue["workers"] for queue in site.json("queues")["queues"]}
    assert served == {"celery": ["cli@tests"]}
    assert idle.json("queues")["queues"] == [{"name": "celery", "waiting": 1, "workers": []}]
    assert idle.run("queues").stdout.splitlines()[1].split(maxsplit=2) == [
        "celery",
        "1",
        "served by no worker",
    ]


def test_a_queue_that_no_setting_names_is_listed_while_something_waits_in_it(
    idle: Site, cli_redis: RedisServer
) -> None:
    with Redis.from_url(cli_redis.url(1)) as client:
        store = Store(client)
        store.tasks.accept("1", {"task": "work"}, Queue("typo", ["typo"]), "1", message="{}")
        assert [q["name"] for q in idle.json("queues")["queues"]] == ["celery", "typo"]

        client.delete("typo")
        assert [q["name"] for q in idle.json("queues")["queues"]] == ["celery"]
