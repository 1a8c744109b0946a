"""Finds the code blocks of the documentation, and runs them as a reader would. For test_readme.py and test_docs.py."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from redis import Redis
from redis.exceptions import RedisError

from tests.processes import (
    PATIENCE,
    ROOT,
    Process,
    environment,
    find_program,
    free_port,
    wait_until,
)

#: In a document, stands for text that differs from run to run.
ANYTHING = "…"

#: Sphinx directives that contain no code.
NO_CODE = {"{toctree}", "{eval-rst}", "{figure}"}

#: The beginning of a caption, if the block is to be appended to the file.
ADD = "add to "

#: The commands that serve the web page.
WEB = {"flask", "gunicorn", "python"}


class Block(NamedTuple):
    """A code block. If it is a file, `caption` has the name of the file."""

    page: Path
    line: int
    language: str
    caption: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str:
        return self.caption.removeprefix(ADD)


def blocks_of(page: Path) -> list[Block]:
    """Return all code blocks of a page, in order."""
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text())
    blocks = []
    for token in tokens:
        if token.type not in ("fence", "code_block") or token.info.split(" ")[0] in NO_CODE:
            continue
        language, caption, text = token.info.strip(), "", token.content
        if language.startswith("{code-block}"):
            language = language.removeprefix("{code-block}").strip()
            if match := re.match(r":caption: (.*)\n\n?", text):
                caption, text = match[1], text[match.end() :]
        # GitHub shows no captions, so in the README a comment names the file.
        elif match := re.match(r"(?:# |<!-- )(\S+\.\w+)(?: -->)?\n", text):
            caption = match[1]
        line = token.map[0] + 1 if token.map else 0
        blocks.append(Block(page, line, language, caption, text))
    return blocks


def resembles(printed: str, shown: str) -> bool:
    """Whether the output is the text that a document shows."""
    pattern = re.escape(shown.strip()).replace(re.escape(ANYTHING), ".*")
    return re.fullmatch(pattern, printed.strip().replace("\r", ""), re.DOTALL) is not None


def holds(value: Any, shown: Any) -> bool:
    """Whether a JSON value has all the parts that a document shows."""
    if shown == ANYTHING:
        return True
    if isinstance(shown, dict):
        return isinstance(value, dict) and all(
            name in value and holds(value[name], part) for name, part in shown.items()
        )
    if isinstance(shown, list):
        return (
            isinstance(value, list) and len(value) == len(shown) and all(map(holds, value, shown))
        )
    return bool(value == shown)


#: A substitute for redis-cli, which may not be installed. It uses the reader's Redis.
REDIS_CLI = """\
#!{python}
import sys, redis
words = sys.argv[1:]
database = int(words[1]) if words[0] == "-n" else 0
words = words[2:] if words[0] == "-n" else words
with redis.Redis(port={port}, db=database, decode_responses=True) as client:
    print(client.execute_command(*words))
"""


class Reader:
    """Follows a page in its own folder, block after block."""

    def __init__(self, folder: Path, own: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        #: The folder for the reader's other files.
        self.own = own
        #: Free ports, instead of the usual ones.
        self.ports = {usual: free_port() for usual in ("80", "5000", "5555", "6379")}
        self.servers: dict[str, Process] = {}
        self.printed = ""
        (own / "shell").touch()
        redis_cli = own / "redis-cli"
        redis_cli.write_text(REDIS_CLI.format(python=sys.executable, port=self.ports["6379"]))
        redis_cli.chmod(0o700)
        path = [own, Path(sys.executable).parent, Path(find_program("redis-server")).parent]
        nobodys = {*environment(""), "PYTEST_ADDOPTS"}
        self.settings = {
            **{name: value for name, value in os.environ.items() if name not in nobodys},
            "PATH": os.pathsep.join([*map(str, path), os.environ["PATH"], "/usr/sbin"]),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_PLUGINS": "flask_longtask.testing.plugin",  # an entry point, where the package is installed
            "FLASK_RUN_PORT": str(self.ports["5000"]),
            "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{self.ports['5000']} --no-control-socket",
            **(settings or {}),
        }

    def follow(self, block: Block, checks: Mapping[str, Callable[["Reader", Block], None]]) -> None:
        """Run a block. Raises AssertionError if the result is not what the page says.

        `checks` has functions for blocks that cannot simply be run. Its keys are names or suffixes of files, first
        words of commands, and languages in parentheses.
        """
        text = self.here(block.text)
        if block.caption:
            self.write(block, text)
            path = Path(block.file)
            check = checks.get(path.name) or checks.get(path.suffix)
            assert check, f"Nobody knows how to try {block.place}: {block.file}."
            check(self, block)
            return
        for words, check in checks.items():
            if block.text.startswith(words):
                check(self, block)
                return
        if block.language == "sh":
            self.shell(text)
        elif block.language == "text":
            assert resembles(self.printed, text), f"{block.place} shows {text}, not {self.printed}"
        elif block.language == "json":
            printed = json.loads(self.printed)
            assert holds(printed, json.loads(text)), f"{block.place} does not show {printed}"
        elif block.language == "python":
            self.python(f"from app import *\n{text}")
        else:
            check = checks.get(f"({block.language})")
            assert check, f"Nobody knows how to try {block.place}: {block.language!r}."
            check(self, block)

    def here(self, text: str) -> str:
        for usual, port in self.ports.items():
            text = re.sub(rf"(127\.0\.0\.1:|listen ){usual}\b", rf"\g<1>{port}", text)
        return text.replace("0.0.0.0", "127.0.0.1")

    def path(self, block: Block) -> Path:
        return self.folder / block.file.lstrip("/")

    def write(self, block: Block, text: str) -> None:
        path = self.path(block)
        path.parent.mkdir(parents=True, exist_ok=True)
        if block.caption.startswith(ADD):
            assert path.exists(), f"{block.place}: there is no {path.name} yet."
            text = f"{path.read_text()}\n\n{text}"
        path.write_text(text)

    # Commands

    def shell(self, text: str) -> None:
        if kind := server_in(text):
            self.serve(kind, text.strip())
            return
        # Keep the variables that a block sets for the next block.
        state = self.own / "shell"
        keep = f"\nfor name in $(compgen -v | grep -x '[a-z]*'); do declare -p $name; done >{state}"
        self.run(["bash", "-eu", "-c", f"source {state}\n{text}{keep}"])

    def python(self, code: str) -> None:
        self.run([sys.executable, "-W", "error", "-c", code])

    def run(self, command: list[str]) -> None:
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            self.printed, errors = process.communicate(timeout=PATIENCE * 3)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            _, errors = process.communicate()
        assert process.returncode == 0, f"{command[-1]}\n{self.printed}{errors}"

    # Servers

    def serve(self, kind: str, command: str) -> None:
        """Start a server and wait for it. Replaces the server that the same command started before."""
        name = "web" if kind in WEB else re.sub(r"\W+", "-", command)[-80:]
        port = self.ports[{"redis-server": "6379", "flower": "5555"}.get(kind, "5000")]
        if earlier := self.servers.pop(name, None):
            earlier.stop()
            if kind != "celery":
                wait_until(lambda: not listens(port))
        if kind == "redis-server":
            command += f" --port {port} --bind 127.0.0.1 --save '' --dir {self.own}"
        before = self.workers()
        server = Process(
            name, ["bash", "-c", f"exec env {command}"], self.own, self.settings, self.folder
        )
        self.servers[name] = server
        server.wait_for(lambda: self.workers() > before if kind == "celery" else listens(port))

    def workers(self) -> int:
        """Return the number of workers that have registered in any database."""
        port, workers = self.ports["6379"], 0
        if not listens(port):
            return 0
        with suppress(RedisError), Redis(port=port) as client:
            for name in client.info("keyspace"):  # type: ignore[union-attr]
                with Redis(port=port, db=int(name.removeprefix("db"))) as database:
                    workers += int(database.zcard("longtask:workers"))  # type: ignore[arg-type]
        return workers

    def stop(self) -> None:
        for path in self.folder.glob("instance/*.pid"):  # processes in the background
            with suppress(ProcessLookupError, ValueError):
                os.kill(int(path.read_text()), signal.SIGKILL)
        for server in reversed(self.servers.values()):
            server.stop()


def server_in(text: str) -> str:
    """Return the program of a block that is a single command which keeps running, or "" for any other block."""
    command = text.strip()
    if "\n" in command:
        return ""
    words = shlex.split(command)
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    program, options = Path(words[0]).name, words[1:]
    if program == "celery" and options[-1:] == ["flower"]:
        return "flower"
    serves = {
        "celery": "worker" in options and "multi" not in options,
        "flask": "run" in options,
        "gunicorn": True,
        "python": options == ["app.py"],
        "redis-server": True,
    }
    return program if serves.get(program) else ""


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
