"""A full disk: what sends a file is told so, and nothing is left behind. The disks are real, and small."""

import re
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import requests

from tests.processes import PATIENCE, RedisServer, WebServer

MEGABYTE = b"a,b\n" * 250_000


class Disk:
    """A folder with room for a few megabytes."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        folder.mkdir()
        self.folder = folder
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "longtask", str(folder)]
        if subprocess.run(command, check=False).returncode:
            pytest.skip(
                "No small disk can be mounted here: that takes root, and a container that may."
            )

    def fill(self) -> None:
        with (self.folder / "filled").open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        assert shutil.disk_usage(self.folder).free == 0

    def make_room(self) -> None:
        (self.folder / "filled").unlink()

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def remove(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk", 4)
    yield disk
    disk.remove()


def send(web: WebServer, data: bytes = MEGABYTE) -> requests.Response:
    return requests.post(f"{web.url}/imports", files={"file": data}, timeout=PATIENCE)


def check_that_it_is_an_outage(response: requests.Response) -> None:
    assert response.status_code == 503
    assert response.headers["Content-Type"] == "application/problem+json"
    assert int(response.headers["Retry-After"]) > 0


def test_no_room_for_the_upload(disk: Disk, folder: Path, redis_server: RedisServer) -> None:
    database = folder / "full-1.db"
    web = WebServer(
        "web-full-1",
        folder,
        redis_server.url(9),
        DATABASE_URL=f"sqlite:///{database}",
        TMPDIR=str(disk.folder),
    )
    try:
        assert send(web).status_code == 202
        disk.fill()
        for _ in range(3):
            refused = send(web)
            check_that_it_is_an_outage(refused)
            assert "no room" in refused.json()["detail"]
        disk.make_room()
        # One that is larger than all of the disk.
        check_that_it_is_an_outage(send(web, 6 * MEGABYTE))
        assert [name for name in disk.files() if not name.startswith("wgunicorn")] == []
        assert send(web).status_code == 202
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("SELECT count(*) FROM imports").fetchone() == (2,)
    finally:
        web.stop()
    assert "Traceback" not in web.log.read_text()


def test_no_room_in_the_database(disk: Disk, folder: Path, redis_server: RedisServer) -> None:
    settings = {"DATABASE_URL": f"sqlite:///{disk.folder}/full-2.db"}
    web = WebServer("web-full-2", folder, redis_server.url(9), **settings)
    try:
        for _ in range(3):
            check_that_it_is_an_outage(
                send(web, 2 * MEGABYTE)
            )  # there is room for it once, not twice
            assert nothing_is_in(disk.folder / "full-2.db")
        assert send(web).status_code == 202
        disk.fill()
        check_that_it_is_an_outage(send(web))
        user = {"username": "ann", "email": "ann@example.com"}
        for _ in range(3):
            answer = requests.post(f"{web.url}/users", json=user, timeout=PATIENCE)
            assert answer.status_code in (
                202,
                409,
                503,
            )  # there may be room in a file that is there
        assert requests.get(f"{web.url}/health", timeout=PATIENCE).json()["redis"] == "up"
        disk.make_room()
        assert send(web, b"a,b\n").status_code == 202
    finally:
        web.stop()
    assert "Traceback" not in web.log.read_text()


def test_a_disk_that_is_full_half_way(folder: Path, redis_server: RedisServer) -> None:
    """No file may grow beyond 3 MB here: the temporary one fits, the database does not."""
    database = folder / "full-3.db"
    settings = {"DATABASE_URL": f"sqlite:///{database}"}
    limit = ["prlimit", "--fsize=3000000:"]
    web = WebServer("web-full-3", folder, redis_server.url(9), inside=limit, **settings)
    try:
        for _ in range(3):
            check_that_it_is_an_outage(send(web, (3 * MEGABYTE)[:2_950_000]))
            assert nothing_is_in(database)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        for pid in Path(f"/proc/{web.pid}/task/{web.pid}/children").read_text().split():
            resource.prlimit(int(pid), resource.RLIMIT_FSIZE, (hard, hard))
        assert send(web).status_code == 202
    finally:
        web.stop()
    log = web.log.read_text()
    assert "Traceback" not in log
    assert re.search("database or disk is full|disk I/O error", log)


def nothing_is_in(database: Path) -> bool:
    with closing(sqlite3.connect(database)) as connection:
        tables = ("imports", "import_pieces")
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables
        ]
    return counts == [(0,), (0,)]
