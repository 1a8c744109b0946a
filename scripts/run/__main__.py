"""The main program of `./run.sh`: starts the processes, restarts those that end, and stops them all."""

import argparse
import os
import sys
import threading
import time
from pathlib import Path

import config
from scripts.run.answers import (
    SITE,
    port_is_free,
    redis_address,
    redis_answers,
    site_answers,
)
from scripts.run.child import MOST_ENDS, Child, how
from scripts.run.guard import Guard
from scripts.run.lines import Level
from scripts.run.stopping import runs, stop
from scripts.run.terminal import label, say, signals, take_signals

#: The setting of each process's port.
PORTS = {"web": "PORT", "mailcatcher": "MAIL_PORT", "flower": "FLOWER_PORT"}

#: These start once the page works. Started along with its processes, they would only make it wait for the processor.
LATER = {"beat", "flower"}

#: Seconds after which a message says that not everything is ready.
SLOW = 20

#: Seconds after which the processes count as ready if there is no web server to check.
SETTLED = 10


class Run:
    """The processes of one `./run.sh`."""

    def __init__(self, children: list[Child], shows_all: bool) -> None:
        self._children = children
        self._shows_all = shows_all
        names = [child.name for child in children]
        self._labels = {name: label(name, names) for name in names}
        self._guard = Guard()
        self._has_redis = "redis" not in names
        self._ready = threading.Event()
        self._is_ready = False
        self._slow_at: float | None = None  # None until all have been started, 0 after the message

    def go_on(self) -> int:
        """Keep the processes running until a signal arrives or one ends too often. Returns the exit code."""
        threading.Thread(target=self._wait_until_ready, daemon=True).start()
        while not signals:
            self._guard.tell(self._pids())
            self._has_redis = self._has_redis or redis_answers()
            is_ready_now = not self._is_ready and self._ready.is_set()
            self._is_ready |= is_ready_now
            for child in self._children:
                code = child.new_end()
                self._relay(child)
                if code is not None and not self._starts_again(child, code):
                    return max(1, code)
                if child.pid is None and self._may_start(child):
                    self._start(child)
            self._say_if_slow()
            if is_ready_now:
                self._say_that_it_is_ready()
            time.sleep(0.1)
        return 128 + signals[0]

    def stop(self) -> None:
        running = {child.pid: child for child in self._children if child.pid}
        stop(
            self._pids(),
            runs=lambda pid: running[pid].runs,
            say=say,
            moves_on=lambda: len(signals),
            meanwhile=self._relay_all,
        )
        self._guard.dismiss()
        self._relay_all()
        for child in self._children:
            child.close()

    def _pids(self) -> dict[str, int | None]:
        return {child.name: child.pid for child in self._children}

    def _may_start(self, child: Child) -> bool:
        is_its_turn = self._has_redis or child.name == "redis"
        if child.name in LATER and "web" in self._labels:
            is_its_turn = self._is_ready
        return is_its_turn and time.monotonic() >= child.due and not signals

    def _start(self, child: Child) -> None:
        child.start()
        self._guard.tell(self._pids())
        say(f"{self._labels[child.name]}process {child.pid}, prints to {child.log}")

    def _starts_again(self, child: Child, code: int) -> bool:
        """Say how a process has ended. Returns whether it is started again."""
        if not self._is_ready and code >= 0:
            # An invalid setting or a missing package: another start would end in the same way.
            say(f"{child.name} {how(code)} before it was ready, so everything stops.")
        elif child.ends_too_often:
            say(
                f"{child.name} {how(code)}, the {MOST_ENDS}th time within a minute, so everything stops."
            )
        else:
            say(f"{child.name} {how(code)}: started again in {child.start_later()} s")
            return True
        if child.last_lines and not self._shows_all:
            say("Its last lines:")
            for line in child.last_lines:
                say(f"    {line}")
        return False

    def _relay(self, child: Child) -> None:
        for line, level in child.printed():
            # run-redis.sh says that it installs or builds Redis, which takes some minutes.
            is_of_script = child.name == "redis" and level is Level.PREFACE
            is_warning = self._is_ready and level is Level.WARNING
            if self._shows_all or is_of_script or is_warning:
                say(self._labels[child.name] + line)

    def _relay_all(self) -> None:
        for child in self._children:
            self._relay(child)

    def _wait_until_ready(self) -> None:
        if "web" in self._labels:
            workers = len({"worker", "mailworker"}.intersection(self._labels))
            while not site_answers(workers):
                time.sleep(0.2)
        else:
            while not all(child.pid for child in self._children):
                time.sleep(0.2)
            time.sleep(SETTLED)
        self._ready.set()

    def _say_if_slow(self) -> None:
        if self._is_ready or self._slow_at == 0:
            return
        if not all(child.pid or child.name in LATER for child in self._children):
            return
        self._slow_at = self._slow_at or time.monotonic() + SLOW
        if time.monotonic() > self._slow_at:
            say(
                f"Not ready after {SLOW} seconds. The logs of all processes are in instance/run/*.log."
            )
            self._slow_at = 0

    def _say_that_it_is_ready(self) -> None:
        if "web" in self._labels:
            say(f"Longtask is ready: {SITE}")
            if os.environ["LONGTASK_OPERATE_ON_LOOPBACK"].lower() in ("yes", "true", "1"):
                say(f"All tasks, workers and queues: {SITE}/operate")
        if not self._shows_all:
            say("From here on this terminal shows warnings and errors. Ctrl-C stops everything.")


def main() -> int:
    commands = read_procfile()
    parser = argparse.ArgumentParser("./run.sh", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(commands)}")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show the whole output of all processes"
    )
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in commands]
    if unknown:
        sys.exit(f"The Procfile has no {unknown[0]}, only: {', '.join(commands)}.")
    names = [name for name in commands if name in options.names or not options.names]

    if "mailcatcher" in names and not config.MAIL_CATCHER:
        names.remove("mailcatcher")  # a mail server is configured
    children = {name: Child(name, commands[name]) for name in names}
    refuse_beside_an_earlier_run(list(children.values()))
    for name, setting in PORTS.items():
        port = getattr(config, setting)
        if name in names and not port_is_free(port):
            sys.exit(f"Port {port} is taken. Choose another: {setting}={port + 1} ./run.sh")
    if "redis" in names and not redis_is_to_be_started():
        children.pop("redis").close()

    # For the web server. `.env` has been read into the environment by now.
    os.environ["LONGTASK_OPERATE_ON_LOOPBACK"] = (
        os.environ.get("LONGTASK_OPERATE_ON_LOOPBACK") or "yes"
    )
    take_signals()
    run = Run(list(children.values()), options.verbose)
    try:
        return run.go_on()
    finally:
        run.stop()


def read_procfile() -> dict[str, str]:
    lines = Path("Procfile").read_text().splitlines()
    entries = [line.split(":", 1) for line in lines if line and not line.startswith("#")]
    return {name.strip(): command.strip() for name, command in entries}


def refuse_beside_an_earlier_run(children: list[Child]) -> None:
    """Exit if an earlier `./run.sh` still runs one of these processes, even on another port.

    A second beat would send periodic tasks twice, and both would use the same Redis.
    """
    still = {child.name: child.earlier_pid for child in children if not child.lock()}
    if still:
        which = [f"{name} (process {pid})" if pid else name for name, pid in still.items()]
        # If the main process of a group was killed, a negative number stands for the rest of the group.
        numbers = " ".join(f"{pid if runs(pid) else -pid}" for pid in still.values() if pid)
        advice = f"; if that is gone: kill -- {numbers}" if numbers else "."
        sys.exit(
            f"An earlier ./run.sh still runs: {', '.join(which)}.\n"
            f"Ctrl-C in its terminal stops it{advice}"
        )


def redis_is_to_be_started() -> bool:
    address = redis_address()
    if redis_answers():
        say(f"Redis already runs at {address}: using that one.")
        return False
    if address not in {f"127.0.0.1:{config.REDIS_PORT}", f"localhost:{config.REDIS_PORT}"}:
        sys.exit(f"No Redis answers at {address}. Unset REDIS_URL to start one here.")
    return True


if __name__ == "__main__":
    sys.exit(main())
