"""The system of a chaos run: its processes, each behind wires of its own, and how one is ended and started again."""

import os
import signal
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tests.chaos import plan
from tests.chaos.judging.evidence import Evidence
from tests.chaos.system import notebook
from tests.faults.clocks import clock_by_file
from tests.processes import (
    PATIENCE,
    Process,
    RabbitServer,
    RedisServer,
    WebServer,
    Wire,
    Worker,
    wait_until,
)

#: Seconds that a worker which is told to stop may take, as `./run.sh` gives it.
TO_STOP = 20.0

APP = "tests.chaos.system.site"


class Part:
    """A program with the wires to its servers. Whoever breaks it or looks after it holds its lock meanwhile."""

    def __init__(self, name: str, targets: Mapping[str, int]) -> None:
        self.name = name
        self.wires = {target: Wire(port) for target, port in targets.items()}
        self.lock = threading.RLock()
        self.process: Process
        #: The process groups of those that were started before.
        self.groups: list[int] = []
        #: Where its clock is read from, if that can be put wrong.
        self.clock: Path | None = None

    @property
    def is_web(self) -> bool:
        return isinstance(self.process, WebServer)

    def children(self) -> list[int]:
        """The processes of its pool, or gunicorn's worker."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with suppress(OSError):
            return [int(pid) for pid in path.read_text().split()]
        return []

    def signal(self, number: signal.Signals) -> None:
        """To it with all its processes."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self, *, alone: bool = False) -> None:
        """SIGKILL to the whole group, or to its head alone, whose children are orphans then."""
        if alone:
            os.kill(self.process.pid, signal.SIGKILL)
        else:
            self.signal(signal.SIGKILL)
        wait_until(lambda: not self.process.runs)

    def start(self) -> None:
        """Start it again, and wait until it works."""
        self.groups.append(self.process.pid)
        before = self.process.log.stat().st_size
        self.process.start()
        if self.is_web:
            wait_until(self.answers)
        else:
            wait_until(lambda: b" ready." in self.process.log.read_bytes()[before:])

    def answers(self) -> bool:
        return isinstance(self.process, WebServer) and self.process.answers()

    def set_clock(self, seconds: int) -> None:
        assert self.clock is not None
        self.clock.write_text(f"{seconds:+}s\n")

    def end(self) -> None:
        for group in (*self.groups, self.process.pid):
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        self.process.stop()
        for wire in self.wires.values():
            wire.close()


class System:
    def __init__(self, folder: Path, broker: str, without: Collection[str] = ()) -> None:
        self.folder = folder
        self.evidence = Evidence()
        self._without = without
        self._closing = False
        self._shared = _shared_memory()
        self.redis_server = RedisServer("redis", folder, True, "--appendfsync", "always")
        self.notebook_server = RedisServer("notebook", folder)
        self.rabbit = RabbitServer("rabbitmq", folder) if broker == "rabbitmq" else None
        # Faults are not to wait for a Redis that is away: they find out.
        self.redis = Redis(
            port=self.redis_server.port, socket_timeout=5, retry=Retry(NoBackoff(), 0)
        )
        self.notebook = Redis.from_url(self.notebook_server.url())
        self.locks = {"redis": threading.RLock(), "rabbitmq": threading.RLock()}
        with ThreadPoolExecutor() as threads:
            names = (*plan.WEBS, *plan.WORKERS)
            self.parts = dict(zip(names, threads.map(self._part, names), strict=True))
        threading.Thread(target=self._look_after, daemon=True).start()

    # -- its parts -----------------------------------------------------------------------------------

    def _part(self, name: str) -> Part:
        targets = {"redis": self.redis_server.port}
        if self.rabbit:
            targets["rabbitmq"] = self.rabbit.port
        part = Part(name, targets)
        redis_url = f"redis://127.0.0.1:{part.wires['redis'].port}/0"
        settings = {
            "LONGTASK_LEASE_SECONDS": str(plan.LEASE),
            "LONGTASK_CANCEL_GRACE_SECONDS": str(plan.GRACE),
            "LONGTASK_MAX_ATTEMPTS": str(plan.MOST_LOST),
            notebook.VARIABLE: self.notebook_server.url(),
        }
        if self.rabbit:
            wire = part.wires["rabbitmq"]
            settings["CELERY_BROKER_URL"] = f"amqp://guest:guest@127.0.0.1:{wire.port}//"
        if name in plan.CLOCKS and "clock" not in self._without:
            part.clock = self.folder / f"{name}.clock"
            part.set_clock(0)
            settings |= clock_by_file(part.clock)
        if name in plan.WEBS:
            part.process = WebServer(name, self.folder, redis_url, f"{APP}:app", **settings)
        else:
            # One of threads; a task that cannot be ended would hold one of those for ever.
            options = ["-Q", "celery,mail"]
            if name == plan.THREADS:
                options = ["--pool", "threads", "-Q", "celery"]
            part.process = Worker(
                name,
                self.folder,
                redis_url,
                *("-c", "2", "--without-mingle"),
                *options,
                app=f"{APP}:celery",
                **settings,
            )
        return part

    def lock(self, part: str) -> threading.RLock:
        """Whoever does something to this part, or to this server, holds it."""
        return self.parts[part].lock if part in self.parts else self.locks[part]

    @property
    def servers(self) -> list[str]:
        return ["redis", "rabbitmq"] if self.rabbit else ["redis"]

    def urls(self) -> dict[str, str]:
        """By web server."""
        found = {}
        for name in plan.WEBS:
            process = self.parts[name].process
            assert isinstance(process, WebServer)
            found[name] = process.url
        return found

    def _look_after(self) -> None:
        """Start a process again that has ended though nobody has ended it, which is against it."""
        while not self._closing:
            time.sleep(0.5)
            for part in self.parts.values():
                if part.lock.acquire(blocking=False):
                    try:
                        if not part.process.runs and not self._closing:
                            self.incident(f"{part.name} has ended by itself")
                            begun = time.time()
                            part.start()
                            self.was_away(part.name, begun)
                    finally:
                        part.lock.release()

    # -- what is noted -------------------------------------------------------------------------------

    def incident(self, text: str) -> None:
        self.evidence.incidents.append((time.time(), text))

    def was_away(self, web: str, begun: float) -> None:
        """A web server was away until now; what it was asked last may take a moment longer."""
        self.evidence.away.setdefault(web, []).append((begun, time.time() + 0.5))

    # -- its peace -----------------------------------------------------------------------------------

    def restore(self) -> None:
        """Mend all that is still broken. No fault is under way any more."""
        self.redis_server.resume()
        with suppress(RedisError):
            self.redis.config_set("maxmemory", 0)
        for part in self.parts.values():
            with part.lock:
                part.signal(signal.SIGCONT)
                for wire in part.wires.values():
                    wire.mend()
                if part.clock:
                    part.set_clock(0)

    def health(self) -> dict[str, Any]:
        url = next(iter(self.urls().values()))
        try:
            return dict(requests.get(f"{url}/health", timeout=PATIENCE).json())
        except (requests.RequestException, ValueError) as error:
            return {"error": str(error)}

    def look_back(self) -> None:
        """At the end: is all well, and has nothing been left behind?"""
        well = {"redis": "up", "workers": len(plan.WORKERS), "waiting": 0}
        try:
            # It may say more, such as how many messages could not be read.
            wait_until(lambda: well.items() <= self.health().items(), describe=self.health)
        except AssertionError as error:
            self.incident(f"/health is not well at the end. {error}")
        self.evidence.entries = notebook.read(self.notebook)
        try:
            wait_until(lambda: not self.left_behind(), describe=self.left_behind)
        except AssertionError as error:
            self.incident(f"Processes of cancelled stubborn tasks are left. {error}")

    def left_behind(self) -> list[int]:
        """The processes that a cancelled stubborn task still holds, whose worker lives and should have ended them."""
        heads = {part.process.pid for part in self.parts.values()}
        children = {pid for part in self.parts.values() for pid in part.children()}
        stubborn = {
            task_id
            for tolds in self.evidence.told.values()
            for told in tolds
            if told.kind == "stubborn"
            for task_id in told.task_ids
        }
        latest = {e.pid: e.task_id for e in self.evidence.entries if e.what == "start"}
        return [pid for pid in (children - heads) & latest.keys() if latest[pid] in stubborn]

    def end(self) -> None:
        self._closing = True
        for part in self.parts.values():
            with part.lock:
                part.end()
        for client in (self.redis, self.notebook):
            client.close()
        for server in filter(None, (self.rabbit, self.redis_server, self.notebook_server)):
            server.stop()
        for left in _shared_memory() - self._shared:
            left.unlink(missing_ok=True)


def _shared_memory() -> set[Path]:
    """What libfaketime leaves behind for each process that is killed."""
    found = Path("/dev/shm").glob("*faketime*")
    return {path for path in found if not Path("/proc", path.name.rpartition("_")[2]).exists()}
