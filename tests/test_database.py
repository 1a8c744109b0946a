"""The examples' database while others hold it: who waits, for how long, and who need not."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests

from tests.processes import PATIENCE, ROOT, RedisServer, WebServer, Worker, environment, wait_until

#: More than a web server has connections to its database.
MANY = 25

#: Seconds: more than a request waits for a connection and for a lock.
BOUND = 3.0


class Database:
    """An SQLite file, the web server that uses it, and the lock of somebody else on it."""

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self.path = folder / "locked.db"
        self.settings = {"DATABASE_URL": f"sqlite:///{self.path}", "MAIL_LIMIT": "10000/minute"}
        self.web = WebServer("web-locked", folder, redis.url(), **self.settings)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("ROLLBACK")

    def create_user(self, number: int) -> requests.Response:
        user = {"username": f"user {number}", "email": f"user-{number}@example.com"}
        return requests.post(f"{self.web.url}/users", json=user, timeout=PATIENCE)

    def send_file(self) -> requests.Response:
        return requests.post(
            f"{self.web.url}/imports", files={"file": b"a,b\n1,2\n"}, timeout=PATIENCE
        )

    def count(self, table: str) -> int:
        with closing(sqlite3.connect(self.path)) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest.fixture(scope="module")
def redis_of_databases(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer("redis-locked", folder)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def database(folder: Path, redis_of_databases: RedisServer) -> Iterator[Database]:
    database = Database(folder, redis_of_databases)
    yield database
    database.web.stop()


def is_an_outage(response: requests.Response) -> bool:
    return (
        response.status_code == 503
        and response.headers["Content-Type"] == "application/problem+json"
        and int(response.headers["Retry-After"]) > 0
    )


def test_while_another_writes_nobody_waits_who_does_not_write(database: Database) -> None:
    started = requests.post(f"{database.web.url}/longtask", json={"delay": 0}, timeout=PATIENCE)
    addresses = (f"{database.web.url}/health", started.headers["Location"])

    def others_are_answered() -> bool:
        answered = 0
        with ThreadPoolExecutor(MANY) as pool, database.locked():
            writers = [pool.submit(database.create_user, number) for number in range(MANY)]
            while not all(writer.done() for writer in writers):
                for address in addresses:
                    requests.get(address, timeout=PATIENCE)
                    answered += not any(writer.done() for writer in writers)
            assert all(is_an_outage(writer.result()) for writer in writers)
            assert is_an_outage(database.send_file())
        return answered >= 10  # while all writers still waited, as far as the machine comes to it

    wait_until(others_are_answered)
    assert database.count("users") == database.count("imports") == 0
    assert database.create_user(0).status_code == 202
    log = database.web.log.read_text()
    assert "Traceback" not in log
    assert "@example.com" not in log  # the values of a statement are nothing for a log


def test_a_lock_that_goes_in_time_is_waited_for(database: Database) -> None:
    def is_waited_for() -> bool:
        with ThreadPoolExecutor(1) as pool:
            with database.locked():
                writer = pool.submit(database.create_user, 1000)
                time.sleep(0.3)  # so that it waits by now; where it does not yet, this passes too
                waits = not writer.done()
            answer = writer.result()
        assert answer.status_code == 202 or is_an_outage(answer)
        return waits and answer.status_code == 202

    # Where the machine has not gone on for seconds, the lock has not gone in time
    wait_until(is_waited_for)


@pytest.mark.long
def test_a_task_waits_longer_than_a_request(
    database: Database, folder: Path, redis_of_databases: RedisServer
) -> None:
    sent = database.send_file()
    assert sent.status_code == 202
    with database.locked():
        worker = Worker(
            "worker-locked", folder, redis_of_databases.url(), "-c", "1", **database.settings
        )
        try:
            address = sent.headers["Location"]
            wait_until(lambda: requests.get(address, timeout=PATIENCE).json()["started"])
            time.sleep(BOUND)  # longer than a request would wait
        except BaseException:
            worker.stop()
            raise
    try:
        wait_until(lambda: requests.get(address, timeout=PATIENCE).json()["finished"])
        done = requests.get(address, timeout=PATIENCE).json()
        assert (done["state"], done["attempt"]) == ("SUCCESS", 1)
    finally:
        worker.stop()


def test_many_processes_make_the_tables_at_the_same_time(
    tmp_path: Path, database: Database
) -> None:
    path = tmp_path / "new.db"
    settings = {**os.environ, **database.web.environment, "DATABASE_URL": f"sqlite:///{path}"}
    command = [sys.executable, "-c", "import app"]
    starting = [
        subprocess.Popen(command, cwd=database.web.cwd, env=settings, stderr=subprocess.PIPE)
        for _ in range(6)
    ]
    said = [process.communicate()[1].decode() for process in starting]
    assert [process.returncode for process in starting] == [0] * 6, said
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (0,)


def test_a_web_server_starts_although_another_writes(
    database: Database, folder: Path, redis_of_databases: RedisServer
) -> None:
    with database.locked():
        web = WebServer("web-2-locked", folder, redis_of_databases.url(), **database.settings)
        try:
            assert requests.get(f"{web.url}/health", timeout=PATIENCE).json()["redis"] == "up"
        finally:
            web.stop()


def test_psycopg_is_not_imported_before_gevent_has_had_its_say() -> None:
    # Else a query to a slow PostgreSQL would hold up all of the web server, as tried by hand.
    read_by_gunicorn = "import gunicorn.config, runpy; runpy.run_path('gunicorn.conf.py')"
    command = [
        sys.executable,
        "-c",
        f"import sys; {read_by_gunicorn}; print('psycopg' in sys.modules)",
    ]
    settings = {
        **environment("redis://127.0.0.1:1"),
        "DATABASE_URL": "postgresql://ann@127.0.0.1/ann",
    }
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
