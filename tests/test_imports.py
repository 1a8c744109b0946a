"""Importing a file: what comes of good and bad files, of cancelling, of a worker that dies, and in how much memory."""

import io
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from sqlalchemy import Engine, create_engine, delete, func, insert, select
from sqlalchemy.orm.exc import StaleDataError

from examples.database import db
from examples.imports import clean_up
from examples.imports.batches import Batch, store
from examples.imports.csv_records import Block
from examples.imports.models import Import, Piece, Refused, Row
from examples.imports.removal import remove
from examples.imports.snapshot import BY_BAR, ON_PAGE
from examples.imports.task import import_csv
from flask_longtask import QueueAway
from tests.processes import PATIENCE, PostgresServer, RedisServer, WebServer, Worker, wait_until

LARGE = 200_000
REMARK = "a remark that makes the file one of twenty megabytes so that to hold it would be seen"


@pytest.fixture(autouse=True)
def database(app: Any) -> Iterator[None]:
    """The database of the web servers and workers, without anything in it."""
    with app.app_context():
        yield
        db.session.rollback()
        for table in (Row, Import):
            db.session.execute(delete(table))
        db.session.commit()


@pytest.fixture(scope="module")
def large_file(folder: Path) -> Path:
    path = folder / "large.csv"
    with path.open("w") as file:
        file.write("number,name,remark\n")
        file.writelines(f"{number},name {number},{REMARK}\n" for number in range(LARGE))
    return path


class Own(NamedTuple):
    """A web server and a worker that serve nobody else: one is measured, the other is killed."""

    web: WebServer
    worker: Worker
    engine: Engine  #: for their database

    def clear(self) -> None:
        with self.engine.begin() as connection:
            for table in (Row, Import):
                connection.execute(delete(table))

    def count(self, table: type[Any]) -> int:
        with self.engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(table)) or 0

    def rows(self) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(select(Row.line, Row.values).order_by(Row.line)))


@contextmanager
def own_servers(name: str, folder: Path, url: str) -> Iterator[Own]:
    redis = RedisServer(f"redis-imports-{name}", folder)
    settings = {
        "DATABASE_URL": url,
        "LONGTASK_LEASE_SECONDS": "3",
        # A cancelled import removes its own rows, however slow the machine is.
        "LONGTASK_CANCEL_GRACE_SECONDS": f"{PATIENCE:.0f}",
    }
    worker = Worker(
        f"imports-{name}", folder, redis.url(), "-c", "1", app="celery_worker", **settings
    )
    web = WebServer(f"web-imports-{name}", folder, redis.url(), **settings)
    engine = create_engine(url)
    yield Own(web, worker, engine)
    engine.dispose()
    worker.stop()
    web.stop()
    redis.stop()


@pytest.fixture(scope="module")
def with_sqlite(folder: Path) -> Iterator[Own]:
    with own_servers("sqlite", folder, f"sqlite:///{folder / 'imports.db'}") as own:
        yield own


@pytest.fixture(scope="module")
def with_postgres(folder: Path) -> Iterator[Own]:
    server = PostgresServer("postgres-imports", folder)
    with own_servers("postgres", folder, server.url()) as own:
        yield own
    server.stop()


@pytest.fixture(params=["sqlite", "postgres"])
def own(request: pytest.FixtureRequest) -> Own:
    own: Own = request.getfixturevalue(f"with_{request.param}")
    own.clear()
    return own


def send(client: Any, data: bytes, name: str = "some.csv") -> Any:
    return client.post("/imports", data={"file": (io.BytesIO(data), name)})


def count(table: type[Any]) -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count()).select_from(table)) or 0


def upload(web: WebServer, path: Path) -> str:
    with path.open("rb") as file:
        response = requests.post(f"{web.url}/imports", files={"file": file}, timeout=PATIENCE)
    assert response.status_code == 202, response.text
    return str(response.json()["task_id"])


def status(web: WebServer, task_id: str) -> dict[str, Any]:
    return dict(requests.get(f"{web.url}/status/{task_id}", timeout=PATIENCE).json())


def wait_for_percent(web: WebServer, task_id: str, percent: int) -> None:
    wait_until(
        lambda: status(web, task_id)["percent"] >= percent, describe=lambda: status(web, task_id)
    )


def wait_for_end(web: WebServer, task_id: str) -> dict[str, Any]:
    # A large file takes a slow machine longer than anything else here.
    wait_until(lambda: status(web, task_id)["finished"], 3 * PATIENCE, lambda: status(web, task_id))
    return status(web, task_id)


# ------------------------------------------------------------------ what is in the file


@pytest.mark.usefixtures("worker")
def test_every_line_is_in_the_database_or_refused_with_its_number_and_the_reason(
    client: Any, ended: Callable[[str], dict[str, Any]]
) -> None:
    file = b'\xef\xbb\xbfname;"two\r\nlines"\r\nAda;\r\n"B\r\nB";2\r\n\r\nC\r\ncaf\xe9;4\r\n;5'
    response = send(client, file, "odd ✓.csv")
    assert response.status_code == 202
    task_id = response.json["task_id"]
    assert response.location == f"http://localhost/status/{task_id}"

    task = ended(task_id)
    assert task["state"] == "SUCCESS"
    assert task["status"] == "3 rows, 2 refused"
    assert (task["current"], task["total"]) == (len(file), len(file))
    assert task["result"] == f"/imports/{task_id}"

    response = client.get(task["result"])
    assert response.headers["Cache-Control"] == "no-store"
    assert "Accept" in response.vary
    document = response.json
    assert document.pop("submitted") < document.pop("finished")
    assert document == {
        "id": task_id,
        "name": "odd ✓.csv",
        "size": len(file),
        "read": len(file),
        "rows": 3,
        "refused": 2,
        "columns": [{"name": "name", "empty": 1}, {"name": "two\r\nlines", "empty": 1}],
        "first_rows": [
            {"line": 3, "values": ["Ada", ""]},
            {"line": 4, "values": ["B\r\nB", "2"]},
            {"line": 9, "values": ["", "5"]},
        ],
        "refused_lines": [
            {"line": 7, "reason": "1 value where the header names 2 columns.", "text": "C"},
            {
                "line": 8,
                "reason": "Not UTF-8: byte 0xe9 at position 4 of a line.",
                "text": "caf\ufffd;4",
            },
        ],
    }
    assert count(Piece) == 0  # the file itself is not kept


@pytest.mark.usefixtures("worker")
def test_the_bar_has_the_first_rows_too_however_wide_they_are(
    client: Any, ended: Callable[[str], dict[str, Any]]
) -> None:
    wide = ",".join(["\U0001f4a7" * 60] * 20)
    file = "\n".join([wide, *[wide] * 20, *["too short"] * 20]).encode()
    task = ended(send(client, file, "\U0001f4a7" * 300).json["task_id"])

    meta = task["meta"]
    assert (meta["rows"], meta["refused"], meta["finished"] is None) == (20, 20, False)
    assert len(meta["first_rows"]) == BY_BAR.rows
    assert [len(row["values"]) for row in meta["first_rows"]] == [BY_BAR.columns] * BY_BAR.rows
    assert len(meta["columns"]) == BY_BAR.columns
    assert len(meta["refused_lines"]) == BY_BAR.refused
    assert set(meta["first_rows"][0]["values"]) == {"\U0001f4a7" * BY_BAR.characters}


@pytest.mark.usefixtures("worker")
def test_a_browser_is_shown_the_import_as_a_page(
    client: Any, ended: Callable[[str], dict[str, Any]]
) -> None:
    task_id = send(client, b"<b>,c\n<i>x</i>,\n1\n").json["task_id"]
    ended(task_id)
    page = client.get(f"/imports/{task_id}", headers={"Accept": "text/html"})
    assert page.mimetype == "text/html"
    assert "<td>&lt;i&gt;x&lt;/i&gt;</td>" in page.text
    assert "1 value where the header names 2 columns." in page.text
    assert "http-equiv" not in page.text  # nothing of it will change


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("file", "why"),
    [
        (b"", "The file is empty."),
        (
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            "This is not a CSV file: it has NUL bytes, which a text file does not have.",
        ),
        ("a,b\n".encode("utf-16"), "The file is in UTF-16. Save it as UTF-8 and send it again."),
        (b",,\n1,2,3\n", "The file has no header: its first line names no column."),
        (b"\xff\xd8\xff\xe0JFIF", "This is not a CSV file: its first line cannot be read."),
    ],
)
def test_a_file_that_is_no_csv_fails_says_why_and_leaves_nothing(
    client: Any, ended: Callable[[str], dict[str, Any]], file: bytes, why: str
) -> None:
    task_id = send(client, file).json["task_id"]
    task = ended(task_id)
    assert task["state"] == "FAILURE"
    assert why in task["status"]
    assert client.get(f"/imports/{task_id}").status_code == 404
    assert count(Import) == count(Piece) == 0


@pytest.mark.usefixtures("worker")
def test_the_sample_that_the_page_offers_can_be_imported(
    client: Any, ended: Callable[[str], dict[str, Any]]
) -> None:
    sample = client.get("/imports/sample.csv?rows=2000")
    assert sample.mimetype == "text/csv"
    assert sample.data == client.get("/imports/sample.csv?rows=2000").data
    task = ended(send(client, sample.data).json["task_id"])
    assert task["status"] == "1,998 rows, 2 refused"
    for rows in ("0", "null", "", "1.5", "-1", "1000001", "9" * 5000):
        assert client.get(f"/imports/sample.csv?rows={rows}").status_code == 400


def test_many_samples_at_once_hold_up_nobody_else(redis_server: RedisServer, folder: Path) -> None:
    web = WebServer("web-samples", folder, redis_server.url(), SAMPLE_LIMIT="1000 per minute")
    address = f"{web.url}/imports/sample.csv?rows=1000000"
    loading = [subprocess.Popen(["curl", "-s", "-o", os.devnull, address]) for _ in range(40)]
    try:
        for _ in range(100):
            requests.get(f"{web.url}/health", timeout=PATIENCE)
        assert any(process.poll() is None for process in loading), "It was not tried at all."
    finally:
        for process in loading:
            process.kill()
            process.wait()
        web.stop()


def test_one_client_can_load_so_many_samples(
    app: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "SAMPLE_LIMIT", "2 per minute")
    elsewhere = {"environ_base": {"REMOTE_ADDR": "192.0.2.40"}}
    for _ in range(2):
        assert client.get("/imports/sample.csv?rows=0", **elsewhere).status_code == 400
        assert client.get("/imports/sample.csv?rows=1", **elsewhere).status_code == 200
    refused = client.get("/imports/sample.csv?rows=1", **elsewhere)
    assert (refused.status_code, refused.mimetype) == (429, "application/problem+json")
    assert "2 samples a minute" in refused.json["detail"]


# ------------------------------------------------------------------ what is not accepted


def test_a_request_without_a_file_names_the_field(client: Any) -> None:
    for data in ({"file": (io.BytesIO(b""), "")}, {"other": (io.BytesIO(b"x"), "x.csv")}):
        response = client.post("/imports", data=data, content_type="multipart/form-data")
        assert response.status_code == 400
        assert response.json["field"] == "file"
    assert client.post("/imports", data=b"a,b\n", content_type="text/csv").status_code == 415


@pytest.mark.parametrize("size", [1001, 50_000])
def test_a_file_that_is_too_large_is_413_and_is_not_kept(
    app: Any, client: Any, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setitem(app.config, "IMPORT_MAX_BYTES", 1000)
    response = send(client, b"x" * size)
    assert response.status_code == 413
    assert response.mimetype == "application/problem+json"
    assert response.json["detail"] == "The file is too large: at most 0.001 MB can be imported."
    assert count(Import) == 0


@pytest.mark.usefixtures("worker")
def test_a_file_of_just_the_size_that_is_allowed_is_imported(
    app: Any, client: Any, ended: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "IMPORT_MAX_BYTES", 1000)
    assert ended(send(client, b"a\n" * 500).json["task_id"])["status"] == "499 rows, 0 refused"


@pytest.mark.usefixtures("worker")
def test_a_file_may_be_larger_than_any_other_request(
    app: Any, client: Any, ended: Callable[[str], dict[str, Any]]
) -> None:
    lines = 7 * app.config["MAX_CONTENT_LENGTH"] // 1000
    task_id = send(client, (b"a" * 1000 + b"\n") * lines).json["task_id"]
    assert ended(task_id)["state"] == "SUCCESS"


def test_a_file_whose_task_cannot_be_queued_is_not_kept(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise QueueAway("no broker")

    monkeypatch.setattr(import_csv, "apply_async", refuse)
    assert send(client, b"a,b\n1,2\n").status_code == 503
    assert count(Import) == count(Piece) == 0


def test_an_import_that_does_not_exist_is_404(client: Any) -> None:
    for name in (uuid.uuid4(), "1", "sample", "%00"):
        response = client.get(f"/imports/{name}")
        assert response.status_code == 404
        assert response.mimetype == "application/problem+json"


# ------------------------------------------------------------------ large files


@pytest.mark.long
def test_a_large_file_takes_no_more_memory_than_a_small_one(
    own: Own,
    large_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    web, processes = own.web, (own.web, own.worker)
    # Given a web server and a worker that have imported something, and so have loaded all their code
    small = tmp_path / "small.csv"
    with large_file.open() as file:
        small.write_text("".join(file.readlines(1_000_000)))
    assert wait_for_end(web, upload(web, small))["state"] == "SUCCESS"
    before = {process: peak_memory(process) for process in processes}

    # When they import two hundred thousand rows
    task_id = upload(web, large_file)
    task = wait_for_end(web, task_id)
    assert task["status"] == f"{LARGE:,} rows, 0 refused"
    document = requests.get(f"{web.url}/imports/{task_id}", timeout=PATIENCE).json()
    assert (document["rows"], len(document["first_rows"])) == (LARGE, ON_PAGE.rows)

    # Then neither has needed more memory for it
    after = {process: peak_memory(process) for process in processes}
    with capsys.disabled():
        size = large_file.stat().st_size / 1e6
        for process in processes:
            print(
                f"\n{size:.0f} MB in {LARGE:,} rows: peak memory of {process.name} {after[process]:.0f} MB,"
                f" with a file of 1 MB {before[process]:.0f} MB",
                end="",
            )
    for process in processes:
        assert after[process] - before[process] < 10


def peak_memory(process: WebServer | Worker) -> float:
    """The most that the largest process of a group has ever held, in MB."""
    group = process.pid
    peaks = []
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            stat = path.with_name("stat").read_text()
            if int(stat.rpartition(")")[2].split()[2]) == group:
                (line,) = (
                    line for line in path.read_text().splitlines() if line.startswith("VmHWM")
                )
                peaks.append(int(line.split()[1]) / 1000)
        except (OSError, ValueError):
            continue  # it has ended meanwhile
    return max(peaks)


def test_cancelled_half_way_an_import_leaves_nothing(own: Own, large_file: Path) -> None:
    web = own.web
    task_id = upload(web, large_file)
    wait_for_percent(web, task_id, 10)
    # While it runs, what is there so far can be looked at
    document = requests.get(f"{web.url}/imports/{task_id}", timeout=PATIENCE).json()
    assert document["finished"] is None
    assert 0 < document["rows"] <= own.count(Row) < LARGE
    assert 0 < document["read"] < document["size"]
    assert document["first_rows"][0]["line"] == 2
    page = requests.get(
        f"{web.url}/imports/{task_id}", headers={"Accept": "text/html"}, timeout=PATIENCE
    )
    assert 'http-equiv="refresh"' in page.text

    response = requests.delete(f"{web.url}/status/{task_id}", timeout=PATIENCE)
    assert response.json()["state"] == "REVOKED"
    assert requests.get(f"{web.url}/imports/{task_id}", timeout=PATIENCE).status_code == 404
    wait_until(lambda: own.count(Import) == own.count(Piece) == own.count(Row) == 0)


def test_an_import_cancelled_before_it_began_is_gone_too(own: Own) -> None:
    web, worker = own.web, own.worker
    worker.stop()
    response = requests.post(f"{web.url}/imports", files={"file": b"a\n1\n"}, timeout=PATIENCE)
    task_id = response.json()["task_id"]
    assert requests.get(f"{web.url}/imports/{task_id}", timeout=PATIENCE).json()["columns"] == []
    requests.delete(f"{web.url}/status/{task_id}", timeout=PATIENCE)
    assert requests.get(f"{web.url}/imports/{task_id}", timeout=PATIENCE).status_code == 404

    worker.start()
    response = requests.post(f"{web.url}/imports", files={"file": b"a\n1\n"}, timeout=PATIENCE)
    assert wait_for_end(web, response.json()["task_id"])["state"] == "SUCCESS"
    # The worker has removed what nobody will ever read.
    wait_until(lambda: own.count(Import) == 1 and own.count(Piece) == 0)


def test_killed_and_run_again_an_import_goes_on_and_has_every_row_once(
    own: Own, large_file: Path
) -> None:
    web, worker = own.web, own.worker
    task_id = upload(web, large_file)
    wait_for_percent(web, task_id, 30)
    worker.stop()  # SIGKILL to all of its processes

    def rows_shown() -> int:
        return int(requests.get(f"{web.url}/imports/{task_id}", timeout=PATIENCE).json()["rows"])

    # PostgreSQL may still commit the batch that the worker has sent last.
    wait_until(lambda: rows_shown() == own.count(Row))
    assert 0 < rows_shown() < LARGE

    worker.start()
    task = wait_for_end(web, task_id)
    assert task["state"] == "SUCCESS"
    assert task["attempt"] == 2
    assert task["status"] == f"{LARGE:,} rows, 0 refused"
    assert [values[0] for _, values in own.rows()] == [str(number) for number in range(LARGE)]


def test_an_import_into_postgresql_is_the_same_as_into_sqlite(
    with_sqlite: Own, with_postgres: Own, tmp_path: Path
) -> None:
    # What COPY would take for something else, what PostgreSQL refuses, and what no CSV is
    odd = [
        'name,"two\nlines"',
        "\\N,\\.",
        "\\t\\,\ttab",
        '"""quoted""\\","line\r\nbreak"',
        "\u2028\U0001f4a7\x7f\x01,",
        "too,many,\\values\t",
        '"text"after,quote',
    ]
    path = tmp_path / "odd.csv"
    path.write_bytes(
        "\n".join([*odd, "\\", *["a," + "x" * 100] * 20_000, "NUL,\0", ""]).encode() + b"latin,\xe9"
    )

    results = []
    for own in (with_sqlite, with_postgres):
        own.clear()
        task_id = upload(own.web, path)
        task = wait_for_end(own.web, task_id)
        assert task["status"] == "20,004 rows, 5 refused"
        document = requests.get(f"{own.web.url}/imports/{task_id}", timeout=PATIENCE).json()
        for name in ("id", "submitted", "finished"):
            document.pop(name)
        results.append((document, own.rows()))
    assert results[0] == results[1]


def test_rows_that_the_database_refuses_fail_the_import_and_none_is_kept(
    own: Own, large_file: Path
) -> None:
    small = requests.post(f"{own.web.url}/imports", files={"file": b"a\n1\n"}, timeout=PATIENCE)
    wait_for_end(own.web, small.json()["task_id"])
    with own.engine.begin() as connection:
        last = connection.scalar(select(Import.id).order_by(Import.id.desc()))
        taken = {"import_id": last + 1, "line": LARGE // 2, "values": []}
        connection.execute(insert(Row.__table__), taken)

    task = wait_for_end(own.web, upload(own.web, large_file))
    assert task["state"] == "FAILURE"
    assert "unique" in task["status"].lower()
    assert own.count(Import) == own.count(Row) == 1
    assert own.count(Piece) == 0


# ------------------------------------------------------------------ what holds it together


def new_job(**fields: Any) -> Import:
    job = Import(
        task_id=str(uuid.uuid4()),
        name="x",
        size=9,
        submitted=datetime.now(UTC),
        columns=["a"],
        empty=[0],
    )
    for name, value in fields.items():
        setattr(job, name, value)
    db.session.add(job)
    db.session.commit()
    return job


def test_a_worker_that_was_thought_dead_can_write_no_more(app: Any) -> None:
    job = new_job(attempt=1)
    with app.app_context():  # a session of its own, as another worker has
        other = db.session.get(Import, job.id)
        assert other is not None
        other.attempt = 2
        db.session.commit()
    batch = Batch(1)
    batch.add(Block([(2, ["x"])], [], 4, 2))
    with pytest.raises(StaleDataError):
        store(job, batch)
    db.session.rollback()
    assert count(Row) == 0
    remove(job.id, 1)  # nor can it remove what is the other's now
    assert count(Import) == 1


def test_messages_queued_before_the_module_was_moved_find_their_task() -> None:
    assert import_csv.name == "examples.imports.import_csv"


def test_a_finished_import_that_is_run_again_is_left_as_it_is() -> None:
    job = new_job(finished=datetime.now(UTC), rows=3, read=9)
    result = import_csv(job.id, "/imports/x")
    assert result == {
        "current": 9,
        "total": 9,
        "status": "3 rows, 0 refused",
        "result": "/imports/x",
    }


@pytest.mark.usefixtures("worker")
def test_cleaning_up_removes_what_is_old_and_what_was_left_behind(
    client: Any, ended: Callable[[str], dict[str, Any]]
) -> None:
    task_id = send(client, b"a\n1\n").json["task_id"]
    ended(task_id)
    # Left behind by a worker whose process was ended: unfinished, though its task has failed.
    failed = send(client, b"").json["task_id"]
    ended(failed)
    left = new_job(task_id=failed)
    db.session.add(Refused(import_id=left.id, line=2, reason="x", text="x"))
    # Left behind by a web server that was killed before it had started the task.
    killed = new_job(submitted=datetime.now(UTC) - timedelta(hours=2)).task_id
    waiting = new_job().task_id  # of which Redis knows nothing: it is about to be published
    new_job(submitted=datetime.now(UTC) - timedelta(days=8), finished=datetime.now(UTC))
    db.session.commit()

    assert client.get(f"/imports/{killed}").status_code == 404
    clean_up(timedelta(days=7))

    kept = set(db.session.scalars(select(Import.task_id)))
    assert kept == {task_id, waiting}
    assert count(Row) == 1
    assert count(Refused) == 0
