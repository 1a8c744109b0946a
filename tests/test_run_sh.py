"""What ./run.sh does once everything is installed, which is test_readme.py's: real processes, killed and stopped."""

import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.run import child as of_child
from scripts.run.child import Child
from scripts.run.lines import Level, Lines
from tests.processes import PATIENCE, ROOT, Process, RedisServer, environment, free_port, wait_until

pytestmark = pytest.mark.long

#: What a copy of the project does not need to run.
LEFT_OUT = shutil.ignore_patterns(".*", "instance", "node_modules", "tests", "docs", "__pycache__")

#: Enough for most: Redis, a web server, a worker.
FEW = ("redis", "web", "worker")


class RunSh(Process):
    """`./run.sh` in a folder of its own, which it is allowed to keep things in."""

    def __init__(self, folder: Path, *arguments: str, **settings: str) -> None:
        ports = {f"{name}PORT": str(free_port()) for name in ("", "REDIS_", "MAIL_", "FLOWER_")}
        self.settings = {
            **dict.fromkeys(environment(""), ""),  # empty counts as not set
            "RATELIMIT_ENABLED": "no",
            "WEB_CONCURRENCY": "1",
            "WORKER_CONCURRENCY": "2",
            **ports,
            # Where the tests' own programs are: this one's, a Redis.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **settings,
        }
        self.url = f"http://127.0.0.1:{self.settings['PORT']}"
        self.run_folder = folder / "instance" / "run"
        command = [sys.executable, "-m", "scripts.run", *arguments]
        super().__init__("run", command, folder.parent, self.settings, cwd=folder)

    def start(self) -> None:
        self.log.unlink(missing_ok=True)
        super().start()

    @property
    def printed(self) -> str:
        return self.log.read_text()

    def says(self, text: str) -> None:
        wait_until(lambda: text in self.printed or not self.runs, describe=lambda: self.printed)
        assert text in self.printed

    def is_ready(self) -> None:
        self.says(f"Longtask is ready: {self.url}\n")

    def pid_of(self, name: str) -> int:
        """Of a process that has been started, or will be before long."""
        file = self.run_folder / f"{name}.pid"
        return int(wait_until(lambda: file.exists() and file.read_text().strip()))

    def everything(self) -> list[int]:
        """The sessions of all that it has started. It starts each in one of its own."""
        listed = [line.split() for line in ps("pid=,ppid=,stat=")]
        return [
            int(pid) for pid, parent, state in listed if int(parent) == self.pid and state[0] != "Z"
        ]

    def guard(self) -> int | None:
        """The process that looks after the others when this one is killed."""
        started = self.everything()
        listed = [line.split(None, 1) for line in ps("pid=,args=")]
        guards = [int(pid) for pid, args in listed if "scripts.run.guard" in args]
        return next((pid for pid in guards if pid in started), None)

    def ends(self, timeout: float = PATIENCE) -> int:
        assert self._process is not None
        return self._process.wait(timeout)

    def start_task(self, **fields: Any) -> str:
        answer = requests.post(f"{self.url}/longtask", data=fields, timeout=PATIENCE)
        assert answer.status_code == 202, answer.text
        return str(answer.headers["Location"])


def ps(columns: str) -> list[str]:
    done = subprocess.run(["ps", "-eo", columns], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def left_of(sessions: list[int]) -> list[str]:
    """What still runs in them: children of children too, whose parent may be gone."""
    listed = [line.split(None, 2) for line in ps("sid=,stat=,args=")]
    return [args for sid, state, args in listed if int(sid) in sessions and state[0] != "Z"]


def status(task: str) -> dict[str, Any]:
    """What a client is told, and nothing where the server is away."""
    try:
        answer = requests.get(task, timeout=PATIENCE)
    except requests.RequestException:
        return {}
    return dict(answer.json()) if answer.status_code == 200 else {}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT, tmp_path / "longtask", ignore=LEFT_OUT))


@pytest.fixture
def parent(place: Path) -> str:
    """The name of a process with one of its own, which outlives it."""
    with (place / "Procfile").open("a") as procfile:
        procfile.write("parent: sleep 1000 & wait\n")
    return "parent"


@pytest.fixture
def run_sh(place: Path) -> Iterator[Callable[..., RunSh]]:
    """Starts one; whatever is left of any when the test has ended is killed."""
    started: list[RunSh] = []

    def start(*arguments: str, **settings: str) -> RunSh:
        started.append(RunSh(place, *arguments, **settings))
        return started[-1]

    yield start
    for run in started:
        pids = [int(text) for file in run.run_folder.glob("*.pid") if (text := file.read_text())]
        sessions = [*pids, *(run.everything() if run.runs else [])]
        for pid in sessions:
            # The file of a process that has ended may name another one by now, or none
            with suppress(OSError):
                if Path(f"/proc/{pid}/cwd").readlink().is_relative_to(place):
                    os.killpg(pid, signal.SIGKILL)
        run.stop()


# Killed


def test_what_it_has_started_ends_with_it_and_running_tasks_go_on_with_the_next(
    run_sh: Callable[..., RunSh],
) -> None:
    # Given a task that runs, and messages of dead workers that would come back after an hour only
    run = run_sh(*FEW, LONGTASK_LEASE_SECONDS="3600")
    run.is_ready()
    task = run.start_task(steps=5, delay=2)
    wait_until(lambda: status(task).get("current") == 2)
    sessions = run.everything()
    assert len(left_of(sessions)) > len(FEW) + 1

    os.kill(run.pid, signal.SIGKILL)

    wait_until(lambda: not left_of(sessions), describe=lambda: left_of(sessions))
    assert "./run.sh was killed, so its processes are stopped.\n" in run.printed
    run.stop()
    # Then the worker has handed the task back, and so Redis still answered when it was stopped.
    run.start()
    run.is_ready()
    # And the bar goes on from where it was.
    wait_until(lambda: status(task).get("attempt") == 2)
    assert status(task)["current"] >= 2
    wait_until(lambda: status(task).get("state") == "SUCCESS", describe=lambda: status(task))
    assert status(task)["attempt"] == 2


def test_a_group_whose_head_was_killed_too_ends(run_sh: Callable[..., RunSh], parent: str) -> None:
    run = run_sh(parent)
    head = run.pid_of(parent)
    wait_until(lambda: len(left_of([head])) == 2)
    wait_until(run.guard)
    sessions = run.everything()

    os.kill(run.pid, signal.SIGSTOP)  # so that it cannot mend what is next
    os.kill(head, signal.SIGKILL)
    wait_until(lambda: left_of([head]) == ["sleep 1000"])
    os.kill(run.pid, signal.SIGKILL)

    wait_until(lambda: not left_of(sessions), describe=lambda: left_of(sessions))


def test_a_guard_that_is_killed_is_replaced(run_sh: Callable[..., RunSh]) -> None:
    run = run_sh("redis")
    redis = run.pid_of("redis")
    first = wait_until(run.guard)
    os.kill(first, signal.SIGKILL)
    second = wait_until(lambda: run.guard() not in (None, first) and run.guard())
    sessions = run.everything()
    assert sorted(sessions) == sorted([redis, second])

    os.kill(run.pid, signal.SIGKILL)

    wait_until(lambda: not left_of(sessions), describe=lambda: left_of(sessions))


def test_the_next_start_says_what_still_runs_and_how_to_stop_it(
    run_sh: Callable[..., RunSh], parent: str
) -> None:
    # Given what has outlived both ./run.sh and its guard, of one only the child
    names = (*FEW, parent)
    run = run_sh(*names)
    run.is_ready()
    sessions = run.everything()
    pids = {name: run.pid_of(name) for name in names}
    os.kill(run.pid, signal.SIGSTOP)
    for pid in (wait_until(run.guard), pids[parent], run.pid):
        os.kill(pid, signal.SIGKILL)
    run.stop()

    run.start()

    assert run.ends() == 1
    which = ", ".join(f"{name} (process {pid})" for name, pid in pids.items())
    first, advice = run.printed.splitlines()
    assert first == f"An earlier ./run.sh still runs: {which}."
    # Then what it advises ends all of it
    subprocess.run(shlex.split(advice.partition("gone: ")[2]), check=True)
    wait_until(lambda: not left_of(sessions), describe=lambda: left_of(sessions))
    # And a number that belongs to nobody, or to somebody else by now, is not in the way
    (run.run_folder / "redis.pid").write_text(f"{os.getpid()}\n")
    run.stop()
    run.start()
    run.is_ready()


def test_a_second_one_in_the_same_folder_is_refused_whatever_its_ports(
    run_sh: Callable[..., RunSh],
) -> None:
    run = run_sh("redis")
    pid = run.pid_of("redis")
    run.says("\n")
    first = run.printed

    run.log.rename(run.log.with_name("first.log"))
    second = run_sh("redis", "beat")

    assert second.ends() == 1
    assert f"An earlier ./run.sh still runs: redis (process {pid})." in second.printed
    assert first == f"redis | process {pid}, prints to instance/run/redis.log\n"
    assert run.runs


def test_a_port_that_something_else_has_taken_is_named(
    run_sh: Callable[..., RunSh], redis_server: RedisServer
) -> None:
    run = run_sh("web", PORT=str(redis_server.port), REDIS_URL=redis_server.url())

    assert run.ends() == 1
    port = redis_server.port
    assert run.printed == f"Port {port} is taken. Choose another: PORT={port + 1} ./run.sh\n"


# Processes that end by themselves


@pytest.mark.timeout(180)
def test_a_worker_that_is_killed_is_started_again_and_its_task_goes_on_until_it_ends_too_often(
    run_sh: Callable[..., RunSh],
) -> None:
    run = run_sh(*FEW, LONGTASK_LEASE_SECONDS="3")
    run.is_ready()
    task = run.start_task(steps=7, delay=1)
    wait_until(lambda: status(task).get("current", 0) > 0)
    first = run.pid_of("worker")

    os.kill(first, signal.SIGKILL)

    run.says("worker was killed by SIGKILL: started again in 1 s\n")
    wait_until(lambda: status(task).get("state") == "SUCCESS", describe=lambda: status(task))
    assert status(task)["attempt"] == 2
    assert run.pid_of("worker") != first

    # When it is killed four more times
    sessions = run.everything()
    for pause in (2, 4, 8, None):
        os.kill(run.pid_of("worker"), signal.SIGKILL)
        if pause:
            run.says(f"worker was killed by SIGKILL: started again in {pause} s\n")

    # Then everything stops
    assert run.ends() == 1
    assert (
        "worker was killed by SIGKILL, the 5th time within a minute, so everything stops.\n"
        "Its last lines:\n    "
    ) in run.printed
    assert not left_of(sessions)


def test_what_a_process_leaves_behind_is_ended_before_it_is_started_again(
    run_sh: Callable[..., RunSh], parent: str
) -> None:
    run = run_sh(parent)
    head = run.pid_of(parent)
    wait_until(lambda: len(left_of([head])) == 2)

    os.kill(head, signal.SIGKILL)

    run.says("parent was killed by SIGKILL: started again in 1 s\n")
    wait_until(lambda: not left_of([head]))


@pytest.mark.timeout(180)
def test_redis_is_started_again_while_the_others_go_on(run_sh: Callable[..., RunSh]) -> None:
    run = run_sh(*FEW)
    run.is_ready()
    others = [run.pid_of("web"), run.pid_of("worker")]
    task = run.start_task(steps=6, delay=1)
    wait_until(lambda: status(task).get("current", 0) > 0)

    os.kill(run.pid_of("redis"), signal.SIGKILL)

    run.says("redis was killed by SIGKILL: started again in 1 s\n")
    wait_until(lambda: status(task).get("state") == "SUCCESS", describe=lambda: status(task))
    assert [run.pid_of("web"), run.pid_of("worker")] == others


def test_one_that_ends_before_it_was_ready_stops_everything_at_once_with_what_it_said(
    run_sh: Callable[..., RunSh],
) -> None:
    run = run_sh(*FEW, GUNICORN_CMD_ARGS="--no-such-option")

    assert run.ends() == 2
    assert "web ended with exit code 2 before it was ready, so everything stops.\n" in run.printed
    last = run.printed.partition("Its last lines:\n")[2]
    assert "unrecognized arguments: --no-such-option" in last
    assert "started again" not in run.printed


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stops_in_a_pause_too(run_sh: Callable[..., RunSh], signum: signal.Signals) -> None:
    run = run_sh("redis", "worker")
    for pause in (1, 2, 4, 8):
        os.kill(run.pid_of("worker"), signal.SIGKILL)
        run.says(f"worker was killed by SIGKILL: started again in {pause} s\n")
    sessions = run.everything()

    os.kill(run.pid, signum)

    assert run.ends() == 128 + signum
    assert not left_of(sessions)
    assert list(run.run_folder.glob("*.pid")) == []


def test_it_stops_while_redis_is_away(run_sh: Callable[..., RunSh]) -> None:
    run = run_sh(*FEW)
    run.is_ready()
    task = run.start_task(steps=100)
    wait_until(lambda: status(task).get("state") == "PROGRESS")
    sessions = run.everything()
    os.kill(run.pid_of("redis"), signal.SIGKILL)
    run.says("redis was killed by SIGKILL: started again in 1 s\n")

    os.kill(run.pid, signal.SIGINT)

    assert run.ends() == 130
    assert not left_of(sessions)


def test_ctrl_c_again_does_not_wait_for_what_will_not_stop(
    run_sh: Callable[..., RunSh], place: Path
) -> None:
    script = "import signal; signal.signal(15, signal.SIG_IGN); print('ready'); signal.pause()"
    with (place / "Procfile").open("a") as procfile:
        procfile.write(f"stubborn: {shlex.join([sys.executable, '-c', script])}\n")
    run = run_sh("-v", "stubborn")
    run.says("stubborn | ready\n")

    since = time.monotonic()
    os.kill(run.pid, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        run.ends(timeout=2)
    os.kill(run.pid, signal.SIGINT)

    assert run.ends() == 130
    assert time.monotonic() - since < 20  # which it has after the first


# What it prints


def test_what_it_prints_until_it_is_ready_fits_on_a_screen(
    run_sh: Callable[..., RunSh], place: Path
) -> None:
    run = run_sh()
    run.is_ready()

    names = ["redis", "mailcatcher", "web", "worker", "mailworker", "beat", "flower"]
    *started, ready, operate, hint = run.printed.splitlines()
    assert started == [
        f"{name:11} | process {run.pid_of(name)}, prints to instance/run/{name}.log"
        for name in names
    ]
    assert ready == f"Longtask is ready: {run.url}"
    assert operate == f"All tasks, workers and queues: {run.url}/operate"
    assert len(hint) < 80
    # And the rest is where it says, for nobody else to read
    wait_until(lambda: "[tasks]" in (place / "instance/run/worker.log").read_text())
    modes = {stat.S_IMODE(file.stat().st_mode) for file in run.run_folder.glob("*.log")}
    assert modes == {0o600}
    assert stat.S_IMODE(run.run_folder.stat().st_mode) == 0o700


def test_that_it_takes_long_is_told(run_sh: Callable[..., RunSh], place: Path) -> None:
    # Given workers that never come
    procfile = place / "Procfile"
    procfile.write_text(
        re.sub("^worker: .*", "worker: sleep 600", procfile.read_text(), flags=re.M)
    )

    run = run_sh(*FEW)

    run.says("Not ready after 20 seconds. The logs of all processes are in instance/run/*.log.\n")
    assert "ready:" not in run.printed


def test_v_shows_all_of_it(run_sh: Callable[..., RunSh]) -> None:
    run = run_sh("-v", *FEW)
    run.is_ready()

    for words in (
        r"^worker \| .*\[tasks\]",
        r"^web    \| .*Listening at",
        r"^redis  \| .*Ready to accept connections",
    ):
        wait_until(lambda words=words: re.search(words, run.printed, re.MULTILINE))


def test_what_installs_redis_is_heard_and_warnings_are_once_all_is_ready(
    run_sh: Callable[..., RunSh], place: Path
) -> None:
    # Given a script that first says what it does, and a server that warns now and then
    celery = "[2026-11-21 20:22:06,190: {}/MainProcess] {}"
    said = [celery.format("WARNING", "early"), celery.format("INFO", "of no interest")]
    later = [celery.format("ERROR", "It hurts."), "Traceback", celery.format("INFO", "again not")]
    (place / "run-redis.sh").write_text(
        "echo 'Building Redis, which takes some minutes.' >&2\n"
        f"printf '%s\\n' {shlex.join(said)}\n"
        f"(while [ ! -e go ]; do sleep 0.1; done; printf '%s\\n' {shlex.join(later)}) &\n"
        "exec redis-server --port $REDIS_PORT --save '' >/dev/null\n"
    )
    run = run_sh("redis", "web")
    run.is_ready()
    (place / "go").touch()

    run.says("redis | Traceback\n")

    heard = [line for line in run.printed.splitlines() if line.startswith("redis | ")]
    assert heard[1:] == [
        "redis | Building Redis, which takes some minutes.",
        f"redis | {later[0]}",
        "redis | Traceback",
    ]


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("[2026-11-21 20:22:57,343: WARNING/MainProcess] Task 0d has ended", Level.WARNING),
        ("[2026-11-21 20:22:06,190: INFO/MainProcess] Connected to redis://", Level.QUIET),
        ("[2026-11-21 20:22:06,190: CRITICAL/MainProcess] Unrecoverable", Level.WARNING),
        ("[2026-11-21 20:22:04 +0000] [8935] [INFO] Starting gunicorn 27.0.1", Level.QUIET),
        ("[2026-11-21 20:22:04 +0000] [8935] [ERROR] Worker (pid:1) was sent", Level.WARNING),
        ("[2026-11-21 20:22:04,190] ERROR in app: Exception on / [GET]", Level.WARNING),
        ("[I 261121 20:22:06 command:177] Visit me at http://127.0.0.1:5599", Level.QUIET),
        ("[W 261121 20:22:07 inspector:98] Inspect method stats failed", Level.WARNING),
        ("8923:M 21 Nov 2026 20:22:03.213 * Ready to accept connections", Level.QUIET),
        ("8923:M 21 Nov 2026 20:22:03.213 # Server initialized", Level.QUIET),
        ("8923:M 21 Nov 2026 20:22:03.213 # Can't save in background: fork", Level.WARNING),
        ("Traceback (most recent call last):", Level.WARNING),
        (" -------------- mail@vm v5.7.0 (collider)", Level.PREFACE),
    ],
)
def test_the_level_of_each_programs_lines_is_known(line: str, level: Level) -> None:
    assert Lines().level(line) is level


def test_a_log_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(of_child, "MOST_BYTES", 1000)
    child = Child("talker", "seq 1 1000; sleep 30")
    assert child.lock()
    child.start()
    try:
        read: list[str] = []

        def all_of_it() -> bool:
            read.extend(line for line, _ in child.printed())
            return len(read) >= 1000

        wait_until(all_of_it)
        assert read == [str(number) for number in range(1, 1001)]
        assert child.log.stat().st_size <= 1000
        assert Path(f"{child.log}.1").stat().st_size > 1000
    finally:
        assert child.pid
        os.killpg(child.pid, signal.SIGKILL)
        wait_until(lambda: child.new_end() is not None)
        child.close()
