"""Several machines with one Redis, of which one after the other is cut off and back (docs/explanation/scaling.md)."""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis
from redis.exceptions import RedisError

from tests.faults.network import Network
from tests.faults.system import LEASE
from tests.processes import PATIENCE, Process, WebServer, Worker, redis_program, wait_until

REDIS, WEB_ONE, WEB_TWO = 1, 11, 12
WORKERS = {"one": 21, "two": 22, "cut": 23}

#: Seconds that the worker's link is down, and the web server's.
CUT = LEASE + 6.0
WEB_CUT = 5.0

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


class Machines:
    """A Redis, two web servers and three workers, each with an address of its own."""

    def __init__(self, folder: Path) -> None:
        self.processes: list[Process] = []
        self.network = network = Network()
        try:
            for host in (REDIS, WEB_ONE, WEB_TWO, *WORKERS.values()):
                network.add(host)
            self._start(folder)
        except BaseException:
            self.stop()
            raise

    def _start(self, folder: Path) -> None:
        network = self.network
        # Redis is reached by others than its own machine with a password only.
        url = f"redis://:a-password@{network.back(REDIS)}:6379/0"
        data = folder / "machines-redis-data"
        data.mkdir()
        command = [*network.inside(REDIS), redis_program()]
        command += ["--bind", network.back(REDIS), "--requirepass", "a-password", "--save", ""]
        command += ["--appendonly", "yes", "--dir", str(data)]
        redis_server = Process("machines-redis", command, folder, {})
        self.processes.append(redis_server)
        self.redis = Redis.from_url(url)
        redis_server.wait_for(self._redis_answers)

        self.releases = folder / "machines-releases"
        self.releases.mkdir()
        settings = {"LONGTASK_LEASE_SECONDS": str(LEASE), "RELEASES": str(self.releases)}

        def web(name: str, host: int) -> WebServer:
            place = {"host": network.front(host), "inside": network.inside(host)}
            app = "tests.faults.site:app"
            return WebServer(f"machines-{name}", folder, url, app, **place, **settings)

        def worker(name: str, host: int) -> Worker:
            options = ["-c", "4", "-E"]
            place = {"app": "tests.faults.site:celery", "inside": network.inside(host)}
            return Worker(f"machines-{name}", folder, url, *options, **place, **settings)

        with ThreadPoolExecutor() as threads:
            webs = [
                threads.submit(web, "web-one", WEB_ONE),
                threads.submit(web, "web-two", WEB_TWO),
            ]
            workers = {n: threads.submit(worker, n, host) for n, host in WORKERS.items()}
        self.processes += [future.result() for future in (*webs, *workers.values())]
        self.web, self.other_web = (future.result() for future in webs)
        self.workers = {name: future.result() for name, future in workers.items()}

    def _redis_answers(self) -> bool:
        try:
            return bool(self.redis.ping())
        except RedisError:
            return False

    def stop(self) -> None:
        for process in self.processes:
            process.stop()
        if hasattr(self, "redis"):
            self.redis.close()
        self.network.close()

    def start(self, web: WebServer, task: str, *args: object) -> str:
        answer = requests.post(f"{web.url}/start/{task}", json={"args": args}, timeout=PATIENCE)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["task_id"])

    def release(self, *task_ids: str) -> None:
        for task_id in task_ids:
            (self.releases / task_id).touch()

    def record(self, task_id: str) -> dict[str, Any]:
        return dict(json.loads(self.redis.get(f"longtask:task:{task_id}") or "{}"))

    def run_by(self, name: str, task_ids: list[str]) -> list[str]:
        """Those that this worker has taken up last."""
        infos: Any = self.redis.hgetall("longtask:worker-info")
        names = {worker.decode(): json.loads(info)["name"] for worker, info in infos.items()}
        of_task = {i: names.get(self.record(i).get("worker", ""), "") for i in task_ids}
        return [i for i, worker in of_task.items() if worker.startswith(f"machines-{name}@")]


@pytest.fixture
def machines(folder: Path) -> Iterator[Machines]:
    machines = Machines(folder)
    yield machines
    machines.stop()


class Onlooker:
    """Sees every bar all the time, as a page does, and every result as it is written."""

    def __init__(self, machines: Machines) -> None:
        self._url = f"{machines.web.url}/status"
        self.seen: dict[str, list[dict[str, Any]]] = {}
        self.results: Counter[str] = Counter()
        self._told = machines.redis.pubsub(ignore_subscribe_messages=True)
        self._told.psubscribe("celery-task-meta-*")

    def follow(self, task_ids: list[str]) -> None:
        self.seen.update({task_id: [] for task_id in task_ids})

    def look(self) -> None:
        task_ids = list(self.seen)
        for page in (task_ids[first : first + 100] for first in range(0, len(task_ids), 100)):
            answer = requests.get(self._url, {"id": page}, timeout=PATIENCE)
            for task_id, task in answer.json()["tasks"].items():
                self.seen[task_id].append(task)
        while message := self._told.get_message():
            meta = json.loads(message["data"])
            self.results[meta["task_id"]] += meta["status"] == "SUCCESS"

    def until(self, happened: Callable[[], Any]) -> float:
        """Look on until it has happened, and return how long that took."""
        since = time.monotonic()

        def ask() -> Any:
            self.look()
            return happened()

        wait_until(ask)
        return time.monotonic() - since

    def now(self, task_id: str) -> dict[str, Any]:
        return self.seen[task_id][-1]

    def all_have_ended(self) -> bool:
        return all(task[-1]["finished"] for task in self.seen.values())

    def close(self) -> None:
        self._told.close()


class Stream(threading.Thread):
    """What a browser is told that holds a stream open."""

    def __init__(self, web: WebServer, task_id: str) -> None:
        super().__init__(daemon=True)
        self._url = f"{web.url}/status/{task_id}"
        self.events: list[dict[str, Any]] = []
        self.start()

    def run(self) -> None:
        accept = {"Accept": "text/event-stream"}
        with requests.get(self._url, headers=accept, stream=True, timeout=PATIENCE) as answer:
            for line in answer.iter_lines():
                if line.startswith(b"data: "):
                    self.events.append(json.loads(line[6:]))


@pytest.mark.long
def test_machines_that_are_cut_off_and_come_back_lose_nothing(
    machines: Machines, took: dict[str, float]
) -> None:
    # Given 120 tasks, started at two web servers and run by three workers, some for longer than the lease
    onlooker = Onlooker(machines)
    webs = [machines.web, machines.other_web]
    try:
        long = [
            machines.start(webs[n % 2], ["working", "silent"][n // 2 % 2] + "_until_released")
            for n in range(6)
        ]
        wait_until(lambda: all(machines.record(task_id).get("attempt") for task_id in long))
        # By chance the one that is to be cut off may have none
        while not machines.run_by("cut", long):
            long.append(machines.start(machines.web, "silent_until_released"))
            wait_until(lambda: machines.record(long[-1]).get("attempt"))
        task_ids = [*long, *(machines.start(webs[n % 2], "working", 0.2) for n in range(114))]
        onlooker.follow(task_ids)
        cut_off = machines.run_by("cut", long)
        elsewhere = [task_id for task_id in long if task_id not in cut_off]
        stream = Stream(machines.other_web, elsewhere[0])

        # When the link of one worker is cut
        machines.network.cut(WORKERS["cut"])
        since = time.monotonic()

        # Then the others have its tasks within the lease
        took["taken up by others"] = onlooker.until(
            lambda: all(onlooker.now(task_id)["attempt"] == 2 for task_id in cut_off)
        )

        # And when a web server loses sight of Redis meanwhile, it says so at once, and the other goes on
        machines.network.cut(WEB_TWO)
        took["longest answer"] = refuses_for(WEB_CUT, machines.other_web, onlooker, elsewhere[0])
        onlooker.until(lambda: any(event.get("status") == 503 for event in stream.events))
        machines.network.mend(WEB_TWO)
        took["web server back"] = onlooker.until(
            lambda: requests.get(f"{webs[1].url}/status/{long[0]}", timeout=PATIENCE).ok
        )

        # And when the worker is back, it stops its copies and takes tasks again
        onlooker.until(lambda: time.monotonic() - since > CUT)
        machines.network.mend(WORKERS["cut"])
        since = time.monotonic()
        log = machines.workers["cut"].log
        took["copies stopped"] = onlooker.until(lambda: "another worker" in log.read_text())
        more = [machines.start(webs[n % 2], "working", 0.2) for n in range(24)]
        onlooker.until(lambda: machines.run_by("cut", more))
        took["worker back"] = time.monotonic() - since
        machines.release(*long)

        # And every task ends well, whose bar never went back, and whose result was written once
        onlooker.until(onlooker.all_have_ended)
        for task_id, seen in onlooker.seen.items():
            assert seen[-1]["state"] == "SUCCESS"
            steps = [(task["attempt"] or 0, task["percent"]) for task in seen]
            assert steps == sorted(steps), task_id
            assert onlooker.results[task_id] == 1, task_id

        # And the stream was told of it as well
        stream.join(PATIENCE)
        assert not stream.is_alive()
        assert stream.events[-1]["state"] == "SUCCESS"
    finally:
        onlooker.close()


def refuses_for(seconds: float, web: WebServer, onlooker: Onlooker, task_id: str) -> float:
    """All is answered with 503 while a web server's link is down. Returns the longest time that it took."""
    begin = time.monotonic()
    asked = [
        lambda: requests.get(f"{web.url}/status/{task_id}", timeout=PATIENCE),
        lambda: requests.post(f"{web.url}/start/quick", json={}, timeout=PATIENCE),
        lambda: requests.post(f"{web.url}/longtask", timeout=PATIENCE),
        lambda: requests.get(f"{web.url}/health", timeout=PATIENCE),
        lambda: requests.delete(f"{web.url}/status/{task_id}", timeout=PATIENCE),
    ]
    longest = 0.0
    with ThreadPoolExecutor(len(asked)) as threads:
        while time.monotonic() - begin < seconds:
            answers = [threads.submit(ask) for ask in asked]
            onlooker.look()
            for answer in (future.result() for future in answers):
                assert answer.status_code == 503, answer.text
                longest = max(longest, answer.elapsed.total_seconds())
    return longest
