"""Runs the Procfile's processes in one terminal: what run.sh does once everything is installed.

Other programs read a Procfile too, but they stop all of it at once by a signal to each process group. That
breaks off the tasks that are running, since it reaches the worker's child processes, and takes Redis away
from a worker that still has results to write. Here only the head of each group is asked to stop, and Redis
is asked last.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import redis

import config

#: How to ask a process to stop, and the seconds it is then given. On SIGTERM the worker hands its tasks back
#: and gunicorn finishes its requests; on SIGQUIT both break off. Ctrl-C again moves on to the next.
REQUESTS = [(signal.SIGTERM, 20), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)]

#: The settings of the ports on which a process listens.
PORTS = {"web": "PORT", "mailcatcher": "MAIL_PORT", "flower": "FLOWER_PORT"}

#: Of terminals, for the names: cyan, yellow, green, magenta, blue, red.
COLOURS = [36, 33, 32, 35, 34, 31]

processes: dict[str, subprocess.Popen[bytes]] = {}
signals: list[int] = []


def main(names: list[str]) -> int:
    commands = read_procfile()
    unknown = [name for name in names if name not in commands]
    if unknown:
        sys.exit(f"The Procfile has no {unknown[0]}, only: {', '.join(commands)}.")
    names = [name for name in commands if name in names or not names]

    if "mailcatcher" in names and not config.MAIL_CATCHER:
        names.remove("mailcatcher")  # a mail server is configured
    for name, setting in PORTS.items():
        port = getattr(config, setting)
        if name in names and not port_is_free(port):
            sys.exit(f"Port {port} is taken. Choose another: {setting}={port + 1} ./run.sh")
    if "redis" in names and not redis_is_to_be_started():
        names.remove("redis")

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda signum, frame: signals.append(signum))
    try:
        if "redis" in names:
            start("redis", commands, names)
            wait_until(redis_answers)
        for name in names:
            if name != "redis" and all_is_well():
                start(name, commands, names)
        if "web" in names:
            workers = len({"worker", "mailworker"}.intersection(names))
            threading.Thread(target=tell_when_ready, args=[workers], daemon=True).start()
        wait_until(lambda: False)
        failed = [name for name, process in processes.items() if process.poll() is not None]
        if failed and not signals:
            code = processes[failed[0]].returncode
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            say(f"{failed[0]} has ended {how}, so everything stops.")
    finally:
        without_redis = "redis" in processes and processes["redis"].poll() is not None
        # Celery waits for a lost Redis for minutes before it stops, and could not save a task's result.
        stop(
            [name for name in processes if name != "redis"],
            REQUESTS[1:] if without_redis else REQUESTS,
        )
        stop(["redis"] if "redis" in processes else [], REQUESTS)

    if signals:
        return 128 + signals[0]
    return max(1, processes[failed[0]].returncode)


def read_procfile() -> dict[str, str]:
    lines = Path("Procfile").read_text().splitlines()
    entries = [line.split(":", 1) for line in lines if line and not line.startswith("#")]
    return {name.strip(): command.strip() for name, command in entries}


def port_is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def redis_is_to_be_started() -> bool:
    url = urlsplit(config.REDIS_URL)
    # The address without the password that may stand before it.
    address = f"{url.hostname}:{url.port or 6379}"
    try:
        answers = redis_answers()
    except redis.AuthenticationError:
        sys.exit(f"The Redis at {address} wants another password than REDIS_URL has.")
    if answers:
        say(f"Redis already runs at {address}: using that one.")
        return False
    if address not in {f"127.0.0.1:{config.REDIS_PORT}", f"localhost:{config.REDIS_PORT}"}:
        sys.exit(f"No Redis answers at {address}. Without REDIS_URL one would be started here.")
    return True


def redis_answers() -> bool:
    client = redis.Redis.from_url(config.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)
    try:
        return bool(client.ping())
    except redis.AuthenticationError:
        raise
    except redis.RedisError:
        return False
    finally:
        client.close()


def start(name: str, commands: dict[str, str], names: list[str]) -> None:
    process = subprocess.Popen(
        f"exec {commands[name]}",
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        # Ctrl-C in the terminal is then for this program alone, which passes it on in the right order.
        start_new_session=True,
    )
    processes[name] = process
    label = f"{name:{max(map(len, names))}} | "
    if sys.stdout.isatty():
        label = f"\033[{COLOURS[names.index(name) % len(COLOURS)]}m{label}\033[0m"
    threading.Thread(target=relay, args=[process, label]).start()


def relay(process: subprocess.Popen[bytes], label: str) -> None:
    assert process.stdout
    with process.stdout as lines:
        for line in lines:
            say(label + line.decode(errors="replace").rstrip("\r\n"))


def say(line: str) -> None:
    # One write a line, or lines of two threads would run into each other.
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError:
        # Nobody reads any more: `./run.sh | head`, or a closed terminal.
        if not signals:
            signals.append(signal.SIGHUP)


def all_is_well() -> bool:
    return not signals and all(process.poll() is None for process in processes.values())


def wait_until(condition: Callable[[], bool]) -> None:
    while all_is_well() and not condition():
        time.sleep(0.1)


def tell_when_ready(workers: int) -> None:
    address = f"http://127.0.0.1:{config.PORT}"
    # No proxy of the environment's: they do not reach this machine's own loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while all_is_well():
        try:
            with opener.open(f"{address}/health", timeout=5) as response:
                health = json.load(response)
        except (OSError, ValueError):
            health = {}
        if health.get("redis") == "up" and (health.get("workers") or 0) >= workers:
            say(f"Longtask is ready: {address}")
            return
        time.sleep(0.2)


def stop(names: list[str], requests: list[tuple[signal.Signals, int]]) -> None:
    def running() -> list[str]:
        return [name for name in names if processes[name].poll() is None]

    if {"worker", "mailworker"}.intersection(running()) and requests == REQUESTS:
        say("Stopping. Running tasks go back to the queue; the next worker starts them again.")
    for signum, seconds in requests:
        for name in running():
            processes[name].send_signal(signum)
        heard = len(signals)
        deadline = time.monotonic() + seconds
        while running() and len(signals) == heard and time.monotonic() < deadline:
            time.sleep(0.1)
    for name in names:
        # What is left of a group whose head was killed: pool processes of a worker, for one.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(processes[name].pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
