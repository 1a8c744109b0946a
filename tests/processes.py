"""Real servers for the tests: how one is started on a free port, waited for and ended. No fixtures live here."""

import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import requests
from redis import Redis
from redis.exceptions import RedisError

ROOT = Path(__file__).parent.parent

#: The database of everything that the tests start; the folder goes when they have ended.
_FOLDER = tempfile.TemporaryDirectory(prefix="longtask-tests-")
DATABASE = Path(_FOLDER.name) / "longtask.db"

#: Seconds within which anything the tests wait for must have happened, on a slow and busy machine too.
PATIENCE = 60.0

Answer = TypeVar("Answer")


def wait_until(
    predicate: Callable[[], Answer],
    timeout: float = PATIENCE,
    describe: Callable[[], Any] | None = None,
) -> Answer:
    """Ask until the answer is true, and return it. `describe` tells on failure what there was instead."""
    deadline = time.monotonic() + timeout
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            instead = f" Instead: {describe()!r}" if describe else ""
            raise AssertionError(f"This did not come about within {timeout:g} seconds.{instead}")
        time.sleep(0.02)
    return answer


#: The ports that were given out, on which nobody may listen yet, or just now.
_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to outgoing connections.

    It is given once, and to none of those who run tests at the same time (pytest-xdist).
    """
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    together = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        port = random.randrange(20_000 + number, 30_000, together)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


#: A port where no mail arrives: at the usual one a developer's own catcher may listen.
NOBODY = free_port()


class Process:
    """A program in a process group of its own, with what it prints in a log file."""

    #: Every process of the tests, for the report of a failed one.
    all: list["Process"] = []  # noqa: RUF012  # one list for all of them is what it is for

    def __init__(
        self,
        name: str,
        command: list[str],
        folder: Path,
        environment: dict[str, str],
        cwd: Path = ROOT,
    ) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.cwd = cwd
        self.log = folder / f"{name}.log"
        # What an earlier one of this name has printed is not this one's.
        self.log.unlink(missing_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        Process.all.append(self)
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> None:
        """End the whole group at once: what it leaves undone is nobody's after the test."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):  # all of it has ended already
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait_for(self, ready: Callable[[], Any]) -> None:
        """Wait until the program answers, or show why it does not."""
        wait_until(lambda: not self.runs or ready(), describe=lambda: self.log.read_text()[-2000:])
        assert self.runs, f"{self.name} has ended instead of starting:\n{self.log.read_text()}"


class RedisServer(Process):
    """A Redis that keeps nothing on disk, or every write (`appendonly`), as run-redis.sh starts it."""

    def __init__(self, name: str, folder: Path, appendonly: bool = False, *options: str) -> None:
        self.port = free_port()
        data = folder / f"{name}-data"
        data.mkdir(exist_ok=True)
        program = redis_program()
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(data)]
        command += ["--save", "", "--appendonly", "yes" if appendonly else "no", *options]
        super().__init__(name, command, folder, {})

    def start(self) -> None:
        super().start()
        self.wait_for(self.answers)

    def url(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def answers(self) -> bool:
        with Redis(port=self.port, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False

    def shut_down(self) -> None:
        """End as a service is stopped: connections are closed, and all is on the disk."""
        os.kill(self.pid, signal.SIGTERM)
        wait_until(lambda: not self.runs)
        self.stop()

    def pause(self) -> None:
        """Hang: connections are taken, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


class RabbitServer(Process):
    """A RabbitMQ node of its own, with a port mapper (epmd) of its own, which both end with the group."""

    #: Debian's /usr/sbin/rabbitmq-server changes to its own user and folders; this is what it starts.
    PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

    def __init__(self, name: str, folder: Path) -> None:
        assert self.PROGRAM.exists(), "No RabbitMQ: apt-get install rabbitmq-server"
        data = folder / f"{name}-data"
        data.mkdir(exist_ok=True)
        self.port = free_port()
        ours = {
            "HOME": str(data),  # where the nodes' shared secret is kept
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(free_port()),
            "RABBITMQ_NODENAME": f"tests-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": str(data),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(data / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
        }
        # Without an epmd in the foreground the server starts one that outlives it.
        command = ["sh", "-c", f"epmd & exec {self.PROGRAM}"]
        super().__init__(name, command, folder, ours)
        self.wait_for(self.answers)

    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def answers(self) -> bool:
        return "Server startup complete" in self.log.read_text(errors="replace")

    def pause(self) -> None:
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)


class Wire:
    """A connection between a program and a server that can be cut and mended."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._whole = threading.Event()
        self._whole.set()
        self._open = True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break the connections there are, and every new one at once."""
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    def close(self) -> None:
        self._open = False
        self.cut()
        # Closing alone does not wake the thread that waits in `accept`.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while self._open:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near, suppress(OSError):
            if not self._whole.is_set():
                return
            with socket.create_connection(("127.0.0.1", self._target)) as far:
                while self._whole.is_set():
                    readable, _, _ = select.select([near, far], [], [], 0.05)
                    for end in readable:
                        if not (data := end.recv(65536)):
                            return
                        (far if end is near else near).sendall(data)


class Worker(Process):
    """A Celery worker that knows the app's tasks and those of `tests/tasks.py`."""

    def __init__(
        self,
        name: str,
        folder: Path,
        redis_url: str,
        *options: str,
        app: str = "tests.worker_app",
        inside: Sequence[str] = (),
        **settings: str,
    ) -> None:
        command = [*inside, sys.executable, "-m", "celery", "-A", app, "worker"]
        command += ["--loglevel=INFO", "-n", f"{name}@tests", *options]
        super().__init__(name, command, folder, {**environment(redis_url), **settings})
        self.client = Redis.from_url(redis_url)
        self.wait_for(self.says_that_it_is_there)

    def says_that_it_is_there(self) -> bool:
        infos: Any = self.client.hvals("longtask:worker-info")
        return f"{self.name}@tests" in {json.loads(info)["name"] for info in infos}

    def stop(self) -> None:
        super().stop()
        self.client.close()


class WebServer(Process):
    """The app under gunicorn, as it is deployed."""

    def __init__(
        self,
        name: str,
        folder: Path,
        redis_url: str,
        app: str = "app:app",
        host: str = "127.0.0.1",
        inside: Sequence[str] = (),
        **settings: str,
    ) -> None:
        self.port = free_port()
        self.url = f"http://{host}:{self.port}"
        command = [*inside, sys.executable, "-m", "gunicorn", app]
        if host != "127.0.0.1":
            settings["GUNICORN_CMD_ARGS"] = f"--bind {host}:{self.port}"
            settings.setdefault("TRUSTED_HOSTS", host)
        super().__init__(
            name, command, folder, {**environment(redis_url), "PORT": str(self.port), **settings}
        )
        self.wait_for(self.answers)

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=PATIENCE).status_code in (200, 503)
        except requests.RequestException:
            return False


def environment(redis_url: str) -> dict[str, str]:
    """The settings of everything that the tests start, so that no `.env` of a developer has a say."""
    return {
        "REDIS_URL": redis_url,
        "CELERY_BROKER_URL": redis_url,
        "CELERY_RESULT_BACKEND": redis_url,
        "SECRET_KEY": "tests",
        "WEB_CONCURRENCY": "1",
        "SESSION_COOKIE_SECURE": "no",
        "DATABASE_URL": f"sqlite:///{DATABASE}",
        "DOUBLE_WAIT_SECONDS": "1",
        "DOUBLE_WORK_SECONDS": "1",
        "TIMED_SECONDS": "1",
        "LONGTASK_RATE_LIMIT": "1000000 per minute",
        "LONGTASK_WRONG_TOKENS": "1000000",
        "MAIL_PORT": str(NOBODY),
    }


def redis_program() -> str:
    """The Redis or Valkey to test with: the program that REDIS_SERVER names, else one that is found."""
    return os.environ.get("REDIS_SERVER") or find_program("redis-server", "valkey-server")


def find_program(*names: str) -> str:
    """A program from the PATH, or from the virtual environment that runs the tests."""
    path = os.pathsep.join([os.environ["PATH"], str(Path(sys.executable).parent)])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise AssertionError(f"There is no {' or '.join(names)} on the PATH.")
