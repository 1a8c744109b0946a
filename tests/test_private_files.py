"""What is kept in `instance/` is for nobody else on the machine: the session key, the database, Redis's data."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes import ROOT, Process, environment, find_program, free_port, wait_until


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """This app as somebody has it who has not started it yet."""
    files = subprocess.run(
        ["git", "ls-files", "-z", "*.py", "*.sh", "*.html", "*.lua", "static", "flask_longtask"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    folder = tmp_path / "copy"
    for name in filter(None, files.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def settings() -> dict[str, str]:
    """With its own key and database, and Redis where nobody is asked for it."""
    ours = environment(f"redis://127.0.0.1:{free_port()}")
    programs = [str(Path(find_program("redis-server", "valkey-server")).parent), os.environ["PATH"]]
    own = {"SECRET_KEY": "", "DATABASE_URL": "", "PATH": os.pathsep.join(programs)}
    return {**os.environ, **ours, **own}


def start_app(copy: Path) -> None:
    command = [sys.executable, "-c", "import app"]
    subprocess.run(command, cwd=copy, env=settings(), umask=0o022, check=True)


def modes(folder: Path) -> dict[str, str]:
    paths = [folder, *folder.rglob("*")]
    return {str(path.relative_to(folder)): oct(path.stat().st_mode & 0o777) for path in paths}


def test_a_new_one_is_its_users_alone(copy: Path) -> None:
    start_app(copy)

    assert modes(copy / "instance") == {".": "0o700", "secret_key": "0o600", "longtask.db": "0o600"}


def test_one_of_an_older_version_becomes_so(copy: Path) -> None:
    folder = copy / "instance"
    (folder / "redis-6379").mkdir(parents=True)
    (folder / "secret_key").write_text("a key")
    (folder / "elsewhere").symlink_to(copy / "app.py")
    with closing(sqlite3.connect(folder / "longtask.db")):
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)

    start_app(copy)

    assert (folder / "elsewhere").is_symlink()
    (folder / "elsewhere").unlink()
    assert (folder / "secret_key").read_text() == "a key"
    assert modes(folder) == {
        ".": "0o700",
        "redis-6379": "0o700",
        "secret_key": "0o600",
        "longtask.db": "0o600",
    }
    assert (copy / "app.py").stat().st_mode & 0o044  # it is not in there


@pytest.mark.parametrize("older", [False, True])
def test_and_so_is_what_redis_keeps(copy: Path, older: bool) -> None:
    port = str(free_port())
    data = copy / "instance" / f"redis-{port}"
    if older:
        data.mkdir(parents=True)
        (data / "notes").touch(0o644)
    command = ["bash", "-c", "umask 022; exec ./run-redis.sh"]
    redis = Process("private-redis", command, copy, {**settings(), "REDIS_PORT": port}, cwd=copy)
    try:
        wait_until(lambda: "Ready to accept connections" in redis.log.read_text())
        found = modes(copy / "instance")
        assert any("appendonly" in name for name in found)
        assert {mode for mode in found.values() if mode not in ("0o700", "0o600")} == set()
    finally:
        redis.stop()
