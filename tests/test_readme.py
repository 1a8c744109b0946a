"""Every command of the README, run against a fresh clone of what is committed."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT, Process, RedisServer, environment, free_port, wait_until

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


#: Commands that go on running until they are stopped.
SERVERS = {
    "./run.sh\n",
    "./run-redis.sh\n",
    ".venv/bin/celery -A celery_worker worker --loglevel=INFO\n",
    ".venv/bin/python app.py\n",
    ".venv/bin/flask --app app mailcatcher\n",
}
TEST = "./test.sh\n"

#: Lines of a terminal.
SCREEN = 24

INSTALL = [block for block in blocks("sh") if "pip install" in block]
KILL = [block for block in blocks("sh") if "kill -9" in block]
CURL = [block for block in blocks("sh") if "curl" in block and block not in KILL]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("readme") / "longtask"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    yield folder
    shutil.rmtree(folder)  # its .venv is large


@pytest.fixture
def settings() -> dict[str, str]:
    """A newcomer's environment, but for ports that others may be using."""
    ours = environment("")  # which the tests have set for themselves; empty counts as not set
    nothing = {**dict.fromkeys([*ours, "PYTEST_ADDOPTS"], ""), "WEB_CONCURRENCY": "2"}
    names = ["PORT", "REDIS_PORT", "FLOWER_PORT", "MAIL_PORT"]
    return {**os.environ, **nothing, **{name: str(free_port()) for name in names}}


def run(command: str, clone: Path, settings: dict[str, str]) -> str:
    """What a command of the README prints."""
    command = command.replace("127.0.0.1:5000", f"127.0.0.1:{settings['PORT']}")
    shell = ["bash", "-euo", "pipefail", "-c", command]
    done = subprocess.run(
        shell, cwd=clone, env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def serve(command: str, clone: Path, settings: dict[str, str]) -> Process:
    name = re.sub(r"\W+", "-", command).strip("-")
    return Process(name, ["bash", "-c", f"exec {command}"], clone.parent, settings, cwd=clone)


def try_curl(clone: Path, settings: dict[str, str]) -> None:
    """The curl commands in their order, in one shell, as a reader pastes them."""
    printed = run("".join(CURL), clone, settings)
    assert re.search(r"^HTTP/1.1 202 ACCEPTED$", printed, re.MULTILINE | re.IGNORECASE)
    location = rf"^Location: http://127.0.0.1:{settings['PORT']}/status/[0-9a-f-]{{36}}$"
    assert re.search(location, printed, re.MULTILINE)
    assert '"state": "REVOKED"' in printed
    assert '{"tasks": {' in printed
    assert re.search(r'{"redis": "up", "workers": \d, "waiting": \d+}', printed)


def test_every_setting_is_in_the_table() -> None:
    example = (ROOT / ".env.example").read_text()
    settings = re.findall(r"^#([A-Z_]+)=", example, re.MULTILINE)
    assert settings
    assert [name for name in settings if f"`{name}`" not in README] == []


def test_there_is_no_command_that_is_not_tried_here() -> None:
    assert set(blocks("sh")) == {*SERVERS, TEST, *INSTALL, *CURL, *KILL}
    assert INSTALL
    assert KILL
    assert CURL


@pytest.mark.long
@pytest.mark.timeout(300)
def test_run_sh_brings_everything_up_from_a_fresh_clone_and_ctrl_c_takes_it_down(
    clone: Path, settings: dict[str, str]
) -> None:
    # Not the 30 seconds of the default until a killed worker counts as lost.
    everything = serve("./run.sh", clone, {**settings, "LONGTASK_LEASE_SECONDS": "3"})
    try:
        comes_up_and_is_of_use(everything, clone, settings)
        try_to_kill_the_worker(everything, clone, settings)
    finally:
        # It has started its processes in groups of their own, so only it can take them down.
        os.kill(everything.pid, signal.SIGINT)
        wait_until(lambda: not everything.runs)
        everything.stop()
    wait_until(lambda: not processes_in(clone), describe=lambda: processes_in(clone))


def comes_up_and_is_of_use(everything: Process, clone: Path, settings: dict[str, str]) -> None:
    ready = f"Longtask is ready: http://127.0.0.1:{settings['PORT']}\n"
    wait_until(lambda: not everything.runs or ready in everything.log.read_text(), timeout=240)
    printed = everything.log.read_text()
    assert printed.count(ready) == 1
    assert len(printed.splitlines()) <= SCREEN
    try_curl(clone, settings)


def try_to_kill_the_worker(everything: Process, clone: Path, settings: dict[str, str]) -> None:
    streamed = run("".join(KILL), clone, settings)
    assert "worker was killed by SIGKILL: started again in 1 s\n" in everything.log.read_text()
    last = streamed.rstrip().splitlines()[-1]
    assert '"state": "SUCCESS"' in last
    assert '"attempt": 2' in last
    assert "its worker was lost" in streamed


@pytest.mark.timeout(300)
def test_the_three_terminals_do_the_same(clone: Path, settings: dict[str, str]) -> None:
    for command in INSTALL:
        run(command, clone, settings)

    servers = [serve(command, clone, settings) for command in sorted(SERVERS - {"./run.sh\n"})]
    try:
        health = f"curl -s http://127.0.0.1:{settings['PORT']}/health || true"
        wait_until(lambda: '"workers": 1' in run(health, clone, settings))
        try_curl(clone, settings)
    finally:
        for server in servers:
            server.stop()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_test_sh_installs_and_checks_everything_in_a_fresh_clone(
    clone: Path, settings: dict[str, str]
) -> None:
    # The tests themselves are what is running just now: here they are only collected.
    run(TEST, clone, {**settings, "PYTEST_ADDOPTS": "--collect-only --quiet"})


def test_the_task_of_your_own_works_as_it_is_written(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    task, route, extension = blocks("python")
    extension = extension.replace('"redis://127.0.0.1/1"', repr(redis_server.url()))
    parts = [
        "from celery import shared_task",
        "from flask import Flask, request",
        "app = Flask(__name__)",
        extension,
        task,
        route,
        'response = app.test_client().post("/count", data={"text": "one two\\nthree"})',
        "print(response.status_code, count_words(['one two', 'three']))",
    ]
    (tmp_path / "own.py").write_text("\n".join(parts))
    done = subprocess.run(
        [sys.executable, "own.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "202 3\n", done.stderr


def processes_in(folder: Path) -> list[str]:
    """The command lines of what runs from this folder."""
    listing = subprocess.run(
        ["ps", "-eo", "args"], capture_output=True, text=True, check=True
    ).stdout
    return [line for line in listing.splitlines() if str(folder) in line]
