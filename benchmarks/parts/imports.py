"""Imports of a CSV file, in rows per second: ours as a worker runs them, and other programs that load the same file.

Ours counts from the moment the worker begins until the task has ended, by the clock of Redis. The others count from the
start of their command to its end.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import requests

from benchmarks import goals, table
from benchmarks.bench import Bench
from examples.imports import sample_file
from tests.processes import (
    PATIENCE,
    PostgresServer,
    RedisServer,
    WebServer,
    Worker,
    find_program,
    postgres_program,
    wait_until,
)


def imports(bench: Bench) -> None:
    rows = bench.size.rows
    with contenders(bench.folder, rows) as measurements:
        samples = bench.in_turn(measurements)
    reached = {"ours, into SQLite": goals.INTO_SQLITE, "ours, into PostgreSQL": goals.INTO_POSTGRES}
    for name, values in samples.items():
        table.add(f"an import of {rows:,} rows: {name}", values, "rows/s", goal=reached.get(name))


@contextmanager
def contenders(folder: Path, rows: int) -> Iterator[dict[str, Callable[[], float]]]:
    """Start the servers, and yield a function for each contender. Each call imports a file of so many rows once."""
    file = folder / "import.csv"
    with file.open("wb") as csv:
        # Without the sample's bad lines, at which PostgreSQL's \copy would give up.
        csv.writelines(block.replace(b", they say", b"") for block in sample_file.content(rows))
    postgres = PostgresServer("postgres-imports", folder)
    try:
        with (
            ours("sqlite", folder, f"sqlite:///{folder / 'imports.db'}", file, rows) as into_sqlite,
            ours("postgres", folder, postgres.url(), file, rows) as into_postgres,
        ):
            yield {
                "sqlite-utils, into SQLite": lambda: sqlite_utils(folder, file, rows),
                "ours, into SQLite": into_sqlite,
                "\\copy of psql, into PostgreSQL": lambda: psql(postgres.url(), file, rows),
                "ours, into PostgreSQL": into_postgres,
            }
    finally:
        postgres.stop()


@contextmanager
def ours(
    name: str, folder: Path, database: str, file: Path, rows: int
) -> Iterator[Callable[[], float]]:
    redis = RedisServer(f"redis-imports-{name}", folder)
    settings = {"DATABASE_URL": database, "IMPORT_MAX_BYTES": str(2**31)}
    worker = Worker(
        f"imports-{name}", folder, redis.url(), "-c", "1", app="celery_worker", **settings
    )
    web = WebServer(f"web-imports-{name}", folder, redis.url(), **settings)

    def rows_per_second() -> float:
        with file.open("rb") as csv:
            answer = requests.post(f"{web.url}/imports", files={"file": csv}, timeout=PATIENCE)
        answer.raise_for_status()
        address = f"{web.url}/status/{answer.json()['task_id']}"
        longest = PATIENCE + rows / 1000
        wait_until(lambda: requests.get(address, timeout=PATIENCE).json()["finished"], longest)
        task = requests.get(address, timeout=PATIENCE).json()
        assert task["status"] == f"{rows:,} rows, 0 refused", task
        begin, end = map(datetime.fromisoformat, (task["started"], task["finished"]))
        return rows / (end - begin).total_seconds()

    try:
        yield rows_per_second
    finally:
        worker.stop()
        web.stop()
        redis.stop()


def sqlite_utils(folder: Path, file: Path, rows: int) -> float:
    database = folder / "sqlite-utils.db"
    with suppress(FileNotFoundError):
        database.unlink()
    # All values stay text, as with ours.
    options = ["--csv", "--no-detect-types"]
    command = [find_program("sqlite-utils"), "insert", str(database), "rows", str(file), *options]
    return timed(command, rows)


def psql(url: str, file: Path, rows: int) -> float:
    table = "name text, town text, born text, email text, remark text"
    commands = [
        "DROP TABLE IF EXISTS copied",
        f"CREATE TABLE copied ({table})",
        f"\\copy copied FROM '{file}' WITH (FORMAT csv, HEADER)",
    ]
    options = [word for command in commands for word in ("-c", command)]
    return timed([postgres_program("psql"), "-q", "-v", "ON_ERROR_STOP=1", *options, url], rows)


def timed(command: list[str], rows: int) -> float:
    begin = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return rows / (time.monotonic() - begin)
