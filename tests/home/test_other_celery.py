"""A plain Celery app in a process with LongTask still gets the tasks of a killed worker back."""

import time
from collections.abc import Callable
from pathlib import Path

import celery
import pytest
from redis import Redis

from tests.home.servers import HomeWorker
from tests.processes import PATIENCE, Process, wait_until

#: Seconds after which Kombu delivers a message again; set in other/plain.py.
VISIBILITY_TIMEOUT = 2


@pytest.mark.parametrize("shared", [True, False], ids=["one database", "two databases"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_workers_message_comes_back_to_a_plain_worker(
    when: str,
    shared: bool,
    new_database: Callable[[], str],
    folder: Path,
    tmp_path: Path,
    processes: list[Process],
) -> None:
    # Given a plain worker that was killed while it ran a task
    url = new_database()
    settings = {
        "REDIS_URL": url,
        "LONGTASK": when,
        "LONGTASK_REDIS_URL": url if shared else new_database(),
    }
    plain = celery.Celery("plain", broker=url, backend=url, set_as_current=False)

    def start_worker(name: str) -> HomeWorker:
        app = "tests.home.other.plain:plain"
        processes.append(worker := HomeWorker(name, folder, app, "-c", "1", **settings))
        return worker

    worker = start_worker("first-plain")
    result = plain.send_task("hold", [str(tmp_path)])
    wait_until(lambda: list(tmp_path.iterdir()))
    worker.stop()

    # When the time has passed, and another worker starts
    with Redis.from_url(url) as redis:
        ((_, taken),) = redis.zrange("unacked_index", 0, -1, withscores=True)
    wait_until(lambda: time.time() > taken + VISIBILITY_TIMEOUT)
    start_worker("second-plain")

    # Then this worker runs the task
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    (tmp_path / "go").touch()
    assert result.get(timeout=PATIENCE) in {int(path.name) for path in tmp_path.glob("[0-9]*")}
    plain.close()
    result.backend.client.close()
    result.backend.result_consumer.stop()
