"""Starts real servers for the tests on free ports, waits for them, and stops them. Has no fixtures."""

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

import psycopg
import requests
from redis import Redis
from redis.exceptions import RedisError

ROOT = Path(__file__).parent.parent

#: The database of all processes that the tests start. Its folder is removed at the end.
_FOLDER = tempfile.TemporaryDirectory(prefix="longtask-tests-")
DATABASE = Path(_FOLDER.name) / "longtask.db"

#: Maximum wait in seconds for anything in the tests, enough for a slow and busy machine.
PATIENCE = 60.0

Answer = TypeVar("Answer")


def wait_until(
    predicate: Callable[[], Answer],
    timeout: float = PATIENCE,
    describe: Callable[[], Any] | None = None,
) -> Answer:
    """Call `predicate` until its result is true, and return the result.

    Raises AssertionError after `timeout` seconds, with the result of `describe`.
    """
    deadline = time.monotonic() + timeout
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            instead = f" Instead: {describe()!r}" if describe else ""
            raise AssertionError(f"The condition was not met within {timeout:g} seconds.{instead}")
        time.sleep(0.02)
    return answer


#: The ports that `free_port` has returned. A server may not listen there yet, or not at the moment.
_given: set[int] = set()


def free_port() -> int:
    """Return a free port, below those that the system uses for outgoing connections.

    Each port is returned only once, and by only one of the processes of pytest-xdist.
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


#: A mail port on which nothing listens. On the default port, a developer's mail catcher may listen.
NOBODY = free_port()


class Process:
    """A program in its own process group, with its output in a log file."""

    #: Every process of the tests, for the report of a failed test.
    all: list["Process"] = []  # noqa: RUF012  # shared on purpose

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
        # Remove the output of an earlier process with this name.
        self.log.unlink(missing_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        Process.all.append(self)
        self.start()

    def start(self) -> None:
        """Start it, or start it again once it has ended."""
        if self._process is not None:
            self._process.wait(PATIENCE)
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
        """Kill the whole group at once, since nothing needs its unfinished work after the test."""
        if self._process is None:
            return
        if self._process.returncode is None:  # else its id may be another process's by now
            with suppress(ProcessLookupError):  # all processes have already ended
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        if self._process is None or self._process.returncode is not None:
            return False
        # Not poll(), which would give the id of an ended process back to the system: `stop` kills its group later, and
        # that might be another process's by then.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, flags) is None

    def wait_for(self, ready: Callable[[], Any]) -> None:
        """Wait until `ready` returns a true value. Fails with the log if the program ends."""
        wait_until(lambda: not self.runs or ready(), describe=lambda: self.log.read_text()[-2000:])
        assert self.runs, f"{self.name} has ended instead of starting:\n{self.log.read_text()}"


class RedisServer(Process):
    """A Redis that keeps nothing on disk or, with `appendonly`, every write, like that of run-redis.sh."""

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
        # By the old protocol, which one without HELLO knows, too.
        with Redis(port=self.port, socket_timeout=1, protocol=2) as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False

    def shut_down(self) -> None:
        """Stop as a service does: close the connections and write everything to disk."""
        os.kill(self.pid, signal.SIGTERM)
        wait_until(lambda: not self.runs)
        self.stop()

    def pause(self) -> None:
        """Freeze the server: it accepts connections and does not respond."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


class RabbitServer(Process):
    """A RabbitMQ node with its own port mapper (epmd). Both end with the process group."""

    #: The program that Debian's /usr/sbin/rabbitmq-server starts with its own user and folders.
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


class PostgresServer(Process):
    """A PostgreSQL with an empty database. Its data is not in `folder`, which only the user of the tests may enter."""

    def __init__(self, name: str, folder: Path) -> None:
        self.port = free_port()
        # It refuses to run as root, as which CI runs.
        user = "nobody" if os.geteuid() == 0 else None
        self._as_user = ["setpriv", f"--reuid={user}", "--clear-groups"] if user else []
        self._data = tempfile.TemporaryDirectory(prefix="longtask-postgres-")
        data = self._data.name
        shutil.chown(data, user or os.getuid())
        make = [
            *self._as_user,
            postgres_program("initdb"),
            "-D",
            data,
            "-U",
            "postgres",
            "--no-sync",
        ]
        subprocess.run(
            [*make, "--auth=trust", "--encoding=UTF8", "--locale=C"],
            cwd=data,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        command = [*self._as_user, postgres_program("postgres"), "-D", data, "-p", str(self.port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        super().__init__(name, command, folder, {}, cwd=Path(data))
        self.wait_for(self.answers)

    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=1).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Shut it down, since a killed one leaves shared memory behind."""
        if self._process is not None and self.runs:
            os.kill(self.pid, signal.SIGINT)
            self._process.wait(PATIENCE)
        super().stop()
        self._data.cleanup()


class Wire:
    """A TCP proxy between a program and a server on port `target`, which can be cut and restored."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._whole = threading.Event()
        self._whole.set()
        self._open = True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close all connections, and every new one at once."""
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    def close(self) -> None:
        self._open = False
        self.cut()
        # `close` alone does not wake the thread that waits in `accept`.
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
    """A Celery worker with the tasks of the app and those in `tests/tasks.py`."""

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
    """The app under gunicorn, as in production."""

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
    """Return the settings of all processes that the tests start. They override a developer's `.env`."""
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
    """Return the Redis or Valkey to test with: the program in REDIS_SERVER, or else one on the PATH."""
    return os.environ.get("REDIS_SERVER") or find_program("redis-server", "valkey-server")


def postgres_program(name: str) -> str:
    """Return the path of a program of PostgreSQL. Debian keeps those of the server off the PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return os.fspath(debian[-1]) if debian else find_program(name)


def find_program(*names: str) -> str:
    """Return the path of a program on the PATH or in the virtual environment of the tests."""
    path = os.pathsep.join([os.environ["PATH"], str(Path(sys.executable).parent)])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise AssertionError(f"There is no {' or '.join(names)} on the PATH.")
