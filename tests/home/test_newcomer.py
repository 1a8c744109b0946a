"""Follows "Add it to your app" in the README with a new folder, a new venv and the built wheel."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.processes import PATIENCE, ROOT, Process, free_port, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

#: The name of a file in the first line of its block: `# app.py`, `<!-- templates/index.html -->`.
NAME = re.compile(r"(?:#|<!--) (\S+\.\w+)(?: -->)?\n")

#: The Redis in the README's app.
REDIS = re.compile(r"redis://127\.0\.0\.1(?::6379)?/\d+")


def add_it_to_your_app() -> list[tuple[str, str]]:
    """Return the blocks of that section, each with its language and text."""
    _, _, section = (ROOT / "README.md").read_text().partition("\n## Add it to your app\n")
    assert section, "README.md has no section 'Add it to your app'."
    return BLOCK.findall(section.partition("\n## ")[0])


class Newcomer:
    """A user with Python, a Redis and this README."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder, self.redis_url = folder, redis_url
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.logs = folder.parent
        self.processes: list[Process] = []
        nothing = {"PYTHONPATH": "", "REDIS_URL": "", "CELERY_BROKER_URL": "", "SECRET_KEY": ""}
        self.environment = {**nothing, "FLASK_RUN_PORT": str(self.port)}
        self.wheel = self.build()
        self.run(sys.executable, "-m", "venv", ".venv")
        self.environment["PATH"] = os.pathsep.join([str(folder / ".venv/bin"), os.environ["PATH"]])

    def run(self, *command: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def build(self) -> Path:
        wheels = self.folder.parent / "wheels"
        self.run(
            *(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(wheels), "."),
            cwd=ROOT,
        )
        (wheel,) = wheels.glob("*.whl")
        return wheel

    def follow(self, language: str, text: str) -> None:
        """Run a block."""
        text = REDIS.sub(self.redis_url, text)
        if language in ("python", "html"):
            name = NAME.match(text)
            assert name, f"No name of a file in the first line of:\n{text}"
            file = self.folder / name[1]
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
            return
        assert language == "sh", language
        for command in text.splitlines():
            if command.startswith("pip install"):
                # From the package index, once it is published
                self.run(*re.sub(r"(?i)flask-longtask", str(self.wheel), command).split())
            elif not command.startswith("redis-server"):
                self.serve(command)

    def serve(self, command: str) -> None:
        program = command.partition(" ")[0]
        shell = ["bash", "-c", f"exec {command}"]
        process = Process(
            f"newcomer-{program}", shell, self.logs, self.environment, cwd=self.folder
        )
        self.processes.append(process)

    def is_ready(self) -> bool:
        assert all(process.runs for process in self.processes)
        try:
            return bool(self.ask("GET", "/health").json()["workers"] == 1)
        except requests.ConnectionError:
            return False

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        url = path if path.startswith("http") else self.url + path
        return requests.request(method, url, timeout=2 * PATIENCE, **options)

    def start(self) -> str:
        """Send the page's form, as curl would, and return the task's address."""
        form = re.search(r'<form data-longtask action="([^"]+)"', self.ask("GET", "/").text)
        assert form
        started = self.ask("POST", form[1])
        assert started.status_code == 202, started.text
        return started.headers["Location"]


@pytest.fixture(scope="module")
def newcomer(home_redis: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    folder = tmp_path_factory.mktemp("newcomer") / "app"
    folder.mkdir()
    newcomer = Newcomer(folder, home_redis.url(199))
    try:
        for language, text in add_it_to_your_app():
            newcomer.follow(language, text)
        wait_until(newcomer.is_ready)
        yield newcomer
    finally:
        for process in newcomer.processes:
            process.stop()


def test_what_is_installed_is_the_wheel_and_what_it_needs(newcomer: Newcomer) -> None:
    where = newcomer.run("python", "-c", "import flask_longtask; print(flask_longtask.__file__)")

    assert str(newcomer.folder / ".venv") in where
    newcomer.run("pip", "check")


def test_the_first_task_is_followed_to_its_end_with_curl(newcomer: Newcomer) -> None:
    address = newcomer.start()

    wait_until(lambda: newcomer.ask("GET", address).json()["state"] == "PROGRESS")
    end = newcomer.ask("GET", address, headers={"Prefer": f"wait={PATIENCE:.0f}"})
    assert end.json()["state"] == "SUCCESS"
    assert newcomer.ask("DELETE", newcomer.start()).json()["state"] == "REVOKED"


def test_the_first_bar_goes_on_after_a_reload_and_ends_at_100_percent(
    newcomer: Newcomer, page: Page
) -> None:
    page.goto(newcomer.url)
    page.get_by_role("button").first.click()
    expect(page.get_by_text(re.compile(r"\b[1-9]\d?%"))).to_be_visible()

    page.reload()

    expect(page.get_by_text(re.compile(r"\b\d\d%"))).to_be_visible()
    expect(page.get_by_text("100%")).to_be_visible()
