"""Every command and every block of code of the README: in a fresh clone of what is committed, or in a new app."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.documents import Reader, blocks_of, server_in
from tests.processes import ROOT, Process, environment, free_port, wait_until

README = blocks_of(ROOT / "README.md")
THIS_APP = blocks_of(ROOT / "docs" / "howto" / "running" / "this-app.md")

COMMANDS = [block.text for block in README if block.language == "sh"]

#: Commands that go on running until they are stopped.
SERVERS = {
    "./run-redis.sh\n",
    ".venv/bin/celery -A celery_worker worker --loglevel=INFO\n",
    ".venv/bin/python app.py\n",
}
RUN = "./run.sh\n"
TEST = "./test.sh\n"

#: A folder with an environment of its own installs the package in tests/home.
INSTALL_PACKAGE = "pip install Flask-LongTask\n"
INSTALL = [text for text in COMMANDS if "-r requirements.txt" in text]
CURL = [text for text in COMMANDS if "curl" in text]
KILL = [block.text for block in THIS_APP if "kill -9" in block.text]

#: What the section "Add it to your app" consists of.
APP = [block for block in README if block.caption]
RUN_APP = [text for text in COMMANDS if server_in(text) and text not in SERVERS]

#: Lines of a terminal.
SCREEN = 24


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
    assert '"state": "SUCCESS"' in printed
    assert '"state": "REVOKED"' in printed
    assert '{"tasks": {' in printed
    assert re.search(r'{"redis": "up", "workers": \d, "waiting": \d+}', printed)


def test_there_is_no_command_that_is_not_tried_here() -> None:
    tried = {RUN, TEST, INSTALL_PACKAGE, *SERVERS, *INSTALL, *CURL, *RUN_APP}
    assert set(COMMANDS) == tried
    assert {block.language for block in README} == {"sh", "python", "html"}
    assert [block.caption for block in APP] == ["app.py", "templates/index.html"]
    assert all((INSTALL, CURL, KILL, len(RUN_APP) == 3))


def test_the_app_of_the_readme_is_short() -> None:
    app = next(block for block in APP if block.caption == "app.py")
    code = [line for line in app.text.splitlines() if line and not line.startswith("#")]
    assert len(code) <= 22


def test_it_is_added_to_an_app_as_it_is_written(tmp_path: Path, page: Page) -> None:
    folder, own = tmp_path / "counting", tmp_path / "own"
    folder.mkdir()
    own.mkdir()
    reader = Reader(folder, own)
    try:
        for block in APP:
            reader.write(block, reader.here(block.text))
        for command in RUN_APP:
            reader.shell(command)

        # When somebody opens the page and clicks
        page.goto(f"http://127.0.0.1:{reader.ports['5000']}")
        page.get_by_role("button", name="Count to 20").click()

        # Then there is a bar, which moves, and is back after a reload
        expect(page.get_by_text("Counting").first).to_be_visible()
        expect(page.get_by_text("10 %").or_(page.get_by_text("10%")).first).to_be_visible()
        page.reload()
        expect(page.get_by_text("Counting").first).to_be_visible()
    finally:
        reader.stop()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_run_sh_brings_everything_up_from_a_fresh_clone_and_ctrl_c_takes_it_down(
    clone: Path, settings: dict[str, str]
) -> None:
    # Not the 30 seconds of the default until a killed worker counts as lost.
    everything = serve(RUN, clone, {**settings, "LONGTASK_LEASE_SECONDS": "3"})
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


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_three_terminals_do_the_same(clone: Path, settings: dict[str, str]) -> None:
    for command in INSTALL:
        run(command, clone, settings)

    servers = [serve(command, clone, settings) for command in sorted(SERVERS)]
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


def processes_in(folder: Path) -> list[str]:
    """The command lines of what runs from this folder."""
    listing = subprocess.run(
        ["ps", "-eo", "args"], capture_output=True, text=True, check=True
    ).stdout
    return [line for line in listing.splitlines() if str(folder) in line]
