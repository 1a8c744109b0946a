"""`flask longtask watch`: bars on a terminal, lines elsewhere, and the exit status of the task."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator

import pytest
from redis import Redis

from tests.cli.conftest import Site
from tests.processes import PATIENCE, ROOT, RedisServer, Wire, Worker, wait_until
from tests.tasks import release

#: What a task that `holding` runs has told of itself.
META = json.dumps([{"current": 3, "total": 10, "status": "Row 3 of 10"}])


@pytest.mark.parametrize(
    ("task", "status"),
    [("returning", 0), ("failing", 1), ("ignoring", 1)],
)
def test_it_exits_as_the_task_ended(site: Site, cli_worker: Worker, task: str, status: int) -> None:
    arguments = "[1]" if task == "returning" else "[]"

    assert site.run("start", task, arguments, "--watch").returncode == status


def test_it_exits_with_2_for_an_unknown_task_and_3_for_a_cancelled_one(idle: Site) -> None:
    cancelled = idle.start("returning", "[1]")
    idle.run("cancel", cancelled)

    assert idle.run("watch", "nobody").returncode == 2
    assert idle.run("watch", cancelled).returncode == 3
    assert idle.run("watch", cancelled, "nobody").returncode == 3
    assert idle.run("watch", "nobody", cancelled).returncode == 2


def test_without_a_terminal_each_change_is_a_line(
    site: Site, cli_worker: Worker, redis: Redis
) -> None:
    task_id = site.start("holding", META)
    with site.open("watch", task_id) as watching:
        assert watching.stdout
        lines = iter(watching.stdout.readline, "")
        seen = until(lines, "Row 3 of 10")
        release(redis, task_id)
        rest = list(lines)

    assert seen == f"{task_id}: PROGRESS 30% Row 3 of 10\n"
    assert rest[-1] == f"{task_id}: SUCCESS 100% Task completed!\n"
    assert watching.returncode == 0


def test_with_json_each_line_is_a_status_object(site: Site, cli_worker: Worker) -> None:
    done = site.run("start", "failing", "--watch", "--json")

    tasks = [json.loads(line) for line in done.stdout.splitlines()]
    assert {task["task"] for task in tasks} == {"failing"}
    assert (tasks[-1]["state"], tasks[-1]["status"]) == ("FAILURE", "row 4 has no name")


def test_an_interrupt_ends_the_watching_and_not_the_task(
    site: Site, cli_worker: Worker, redis: Redis
) -> None:
    task_id = site.start("holding", META)
    with site.open("watch", task_id) as watching:
        assert watching.stdout
        until(iter(watching.stdout.readline, ""), "Row 3 of 10")
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=PATIENCE)

    assert watching.returncode == 130
    assert errors == "Stopped watching. Tasks that have not ended go on.\n"
    release(redis, task_id)
    assert site.run("watch", task_id).returncode == 0


def test_while_redis_is_away_it_says_so_and_goes_on_by_itself(
    site: Site, cli_worker: Worker, cli_redis: RedisServer, redis: Redis
) -> None:
    wire = Wire(cli_redis.port)
    cut_off = Site("tests.cli.site:app", f"redis://127.0.0.1:{wire.port}/0")
    task_id = site.start("holding", META)
    with cut_off.open("watch", task_id) as watching:
        assert watching.stdout
        assert watching.stderr
        until(iter(watching.stdout.readline, ""), "Row 3 of 10")

        wire.cut()
        assert watching.stderr.readline() == "Redis does not answer. Trying again until it does.\n"
        wire.mend()
        assert watching.stderr.readline() == "Redis answers again.\n"

        release(redis, task_id)
        out, errors = watching.communicate(timeout=PATIENCE)
    wire.close()
    assert (watching.returncode, errors) == (0, "")
    assert out.endswith(f"{task_id}: SUCCESS 100% Task completed!\n")


def test_it_waits_for_a_redis_that_is_away_when_it_begins(
    site: Site, cli_worker: Worker, cli_redis: RedisServer
) -> None:
    task_id = site.start("returning", "[1]")
    wire = Wire(cli_redis.port)
    wire.cut()
    with Site("tests.cli.site:app", f"redis://127.0.0.1:{wire.port}/0").open(
        "watch", task_id
    ) as watching:
        assert watching.stderr
        assert watching.stderr.readline() == "Redis does not answer. Trying again until it does.\n"
        wire.mend()
        out, _ = watching.communicate(timeout=PATIENCE)
    wire.close()
    assert (watching.returncode, out) == (0, f"{task_id}: SUCCESS 100% Task completed!\n")


def test_on_a_terminal_each_task_has_a_bar(site: Site, cli_worker: Worker, redis: Redis) -> None:
    task_id, other = site.start("holding", META), site.start("returning", "[1]")
    with Terminal(site, "watch", task_id, other) as terminal:
        terminal.wait_for("PROGRESS Row 3 of 10")
        terminal.wait_for("SUCCESS Task completed!")
        release(redis, task_id)
        assert terminal.wait_for_end() == 0

    assert f"holding {task_id[:8]}" in terminal.text
    assert "━" in terminal.text


def test_on_a_terminal_an_interrupt_leaves_the_cursor_visible(
    site: Site, cli_worker: Worker, redis: Redis
) -> None:
    task_id = site.start("holding", META)
    with Terminal(site, "watch", task_id) as terminal:
        terminal.wait_for("Row 3 of 10")
        os.write(terminal.master, b"\x03")  # Ctrl-C
        assert terminal.wait_for_end() == 130

    shown, hidden = terminal.raw.rfind("\x1b[?25h"), terminal.raw.rfind("\x1b[?25l")
    assert shown > hidden >= 0
    release(redis, task_id)


def test_without_rich_a_terminal_is_told_by_lines(
    site: Site, cli_worker: Worker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Given an environment in which Rich cannot be imported
    folder = tmp_path_factory.mktemp("without-rich")
    (folder / "rich.py").write_text("raise ImportError('not installed')\n")
    plain = Site("tests.cli.site:app", site.environment["REDIS_URL"], PYTHONPATH=str(folder))
    task_id = site.start("returning", "[1]")

    with Terminal(plain, "watch", task_id) as terminal:
        assert terminal.wait_for_end() == 0

    assert f"{task_id}: SUCCESS 100% Task completed!" in terminal.text


class Terminal:
    """The command line on a terminal of 120 columns, and what it has written there."""

    def __init__(self, site: Site, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        self.raw = ""

        self.process = subprocess.Popen(
            # A session of its own, whose terminal this is: Ctrl-C is then a signal to it.
            ["setsid", "--ctty", *site.command, *arguments],
            cwd=ROOT,
            env={**site.environment, "TERM": "xterm", "COLUMNS": "120"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    @property
    def text(self) -> str:
        """Without the colours."""
        return re.sub(r"\x1b\[[\d;]*m", "", self.raw)

    def read(self) -> bool:
        """Take in what it has written; False when it has ended and nothing is left."""
        if not select.select([self.master], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:  # nobody has the other end any more
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)

    def wait_for(self, text: str) -> None:
        wait_until(lambda: self.read() and text in self.text, describe=lambda: self.text)

    def wait_for_end(self) -> int:
        wait_until(lambda: not self.read(), describe=lambda: self.text)
        return self.process.wait(timeout=PATIENCE)


def until(lines: Iterator[str], text: str) -> str:
    """The first line with this text."""
    return next(line for line in lines if text in line)
