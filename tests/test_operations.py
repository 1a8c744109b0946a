"""What looks after the app: the mail catcher, the cleaning up, the two queues, Flower, and the background."""

import json
import os
import shlex
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
import requests
from celery.beat import Scheduler
from redis import Redis

from tests.mailing import MailServer, Site, mail_server
from tests.processes import (
    PATIENCE,
    ROOT,
    Process,
    RedisServer,
    WebServer,
    Worker,
    environment,
    free_port,
    wait_until,
)

__all__ = ["mail_server"]  # a fixture


def command_of(name: str) -> list[str]:
    """A command of the Procfile."""
    lines = (ROOT / "Procfile").read_text().splitlines()
    commands = dict(line.split(": ", 1) for line in lines)
    program, *arguments = shlex.split(commands[name])
    return [sys.executable, "-m", program, *arguments]


class Catching:
    """A site without a mail server: what it sends goes to the catcher."""

    def __init__(self, redis_server: RedisServer, folder: Path) -> None:
        self.url = redis_server.url(7)
        self.port = free_port()
        settings = {**environment(self.url), "MAIL_PORT": str(self.port), "MAIL_SERVER": ""}
        self.catcher = Process("catcher", command_of("mailcatcher"), folder, settings)
        self.catcher.wait_for(self.listens)
        self.site = Site("catching", folder, self.url, MAIL_PORT=str(self.port), KEEP_DAYS="2")
        self.site.start_worker()

    def listens(self) -> bool:
        try:
            smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE).quit()
        except OSError:
            return False
        return True

    def send(self, message: EmailMessage | bytes) -> None:
        content = message if isinstance(message, bytes) else message.as_bytes()
        with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE) as server:
            server.sendmail("a@example.com", ["b@example.com"], content)

    def outbox(self) -> list[dict[str, object]]:
        answer = requests.get(f"{self.site.url}/outbox", timeout=PATIENCE)
        assert answer.status_code == 200
        return list(answer.json()["mails"])

    def stop(self) -> None:
        self.catcher.stop()
        self.site.stop()


@pytest.fixture(scope="module")
def catching(redis_server: RedisServer, folder: Path) -> Iterator[Catching]:
    catching = Catching(redis_server, folder)
    yield catching
    catching.stop()


def test_what_is_sent_without_a_mail_server_is_in_the_outbox(catching: Catching):
    assert catching.outbox() == []
    task = catching.site.ended(catching.site.post("/mail", email="ann@example.com"))
    assert task["state"] == "SUCCESS"
    [mail] = catching.outbox()
    assert mail["to"] == ["ann@example.com"]
    assert mail["subject"] == "Hello from Flask"
    assert mail["received"] <= task["finished"]


def test_the_outbox_shows_any_mail_as_text(catching: Catching):
    message = EmailMessage()
    message["Subject"] = "Grüße <script>alert(1)</script>"
    message.set_content("Only text: </pre><b>bold</b> …")
    message.add_alternative("<p>HTML</p>", subtype="html")
    catching.send(message)
    assert catching.outbox()[0]["subject"] == message["Subject"]

    page = requests.get(
        f"{catching.site.url}/outbox", headers={"Accept": "text/html"}, timeout=PATIENCE
    )
    assert page.headers["Content-Type"].startswith("text/html")
    assert "Grüße &lt;script&gt;" in page.text
    assert "&lt;b&gt;bold" in page.text
    assert "<b>" not in page.text


@pytest.mark.parametrize(
    ("content", "subject", "text"),
    [
        (b"", "", ""),
        (b"no header\r\n", "", None),
        (b"Subject: =?utf-8?q?=ff?=\r\n\r\nx", None, "x"),
        (b"Content-Type: text/plain; charset=klingon\r\n\r\nx\xff", "", None),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b--", "", ""),
        (b"Content-Type: image/png\r\n\r\nx", "", ""),
    ],
)
def test_a_mail_that_is_hardly_one_is_caught_too(catching: Catching, content, subject, text):
    before = len(catching.outbox())
    catching.send(content)
    newest, *others = catching.outbox()
    assert len(others) == before
    assert subject in (newest["subject"], None)
    assert text in (newest["text"], None) or newest["text"].strip() == text


def test_a_mail_that_is_too_large_is_refused(catching: Catching):
    with pytest.raises(smtplib.SMTPResponseException) as refusal:
        catching.send(b"Subject: large\r\n\r\n" + b"x" * 77 * 20_000)
    assert refusal.value.smtp_code == 552


def test_the_outbox_is_only_there_without_a_mail_server(redis_server: RedisServer, folder: Path):
    web = WebServer("sending", folder, redis_server.url(7), MAIL_SERVER="mx.example.com")
    try:
        assert requests.get(f"{web.url}/outbox", timeout=PATIENCE).status_code == 404
        assert (
            "/outbox"
            not in requests.get(web.url, headers={"Accept": "text/html"}, timeout=PATIENCE).text
        )
    finally:
        web.stop()


def test_what_is_older_than_the_setting_is_removed(catching: Catching):
    with Redis.from_url(catching.url) as redis:
        redis.delete("longtask:outbox")
        now = time.time()
        for subject, days in [("old", 3), ("just too old", 2 + 1 / 86_400), ("new", 1.9)]:
            mail = {"from": "a@b", "to": [], "subject": subject, "text": ""}
            entry = f"{int((now - days * 86_400) * 1000)}-0"
            redis.xadd("longtask:outbox", {"mail": json.dumps(mail)}, id=entry)
    assert len(catching.outbox()) == 3
    task_id = send_task(catching.url, "examples.cleanup.clean_up")
    address = f"{catching.site.url}/status/{task_id}"
    wait_until(lambda: requests.get(address, timeout=PATIENCE).json()["state"] == "SUCCESS")
    assert [mail["subject"] for mail in catching.outbox()] == ["new"]


def test_what_beat_sends_is_run(app, worker, ended):
    scheduler = Scheduler(app.extensions["celery"])
    [entry] = scheduler.schedule.values()
    task = ended(scheduler.apply_async(entry).id)
    assert (task["state"], task["task"]) == ("SUCCESS", "clean_up")


def test_a_stuck_mail_server_holds_up_mail_only(
    redis_server: RedisServer, folder: Path, mail_server: MailServer
):
    # Given the two workers of the Procfile
    url = redis_server.url(9)
    settings = {
        "MAIL_SERVER": "127.0.0.1",
        "MAIL_PORT": str(mail_server.port),
        "MAIL_TIMEOUT": "30",
    }
    site = Site("queues", folder, url, **settings)
    processes = [
        Process(name, [*command_of(name), "-c", "2"], folder, {**environment(url), **settings})
        for name in ("worker", "mailworker")
    ]
    try:
        both = lambda: requests.get(f"{site.url}/health", timeout=PATIENCE).json()["workers"] == 2  # noqa: E731
        processes[1].wait_for(both)
        # When more mails hang than all workers have processes
        addresses = [f"hang-{number}@example.com" for number in range(6)]
        mail_server.stuck.update(addresses)
        mails = [site.post("/mail", email=address) for address in addresses]
        wait_until(lambda: len(mail_server.tries.keys() & set(addresses)) == 2)

        # Then a bar moves as ever
        task = site.ended(site.post("/longtask", steps=1, delay=0))
        assert task["state"] == "SUCCESS"
        assert [site.status(mail)["state"] for mail in mails].count("PENDING") == 4
    finally:
        mail_server.stuck.clear()
        for process in processes:
            process.stop()
        site.stop()


def test_flower_shows_the_tasks_to_those_who_may_see_them(redis_server: RedisServer, folder: Path):
    url, port = redis_server.url(10), free_port()
    settings = {**environment(url), "FLOWER_PORT": str(port), "FLOWER_BASIC_AUTH": "ann:secret"}
    flower = Process("flower", command_of("flower"), folder, settings)
    worker = None
    try:
        address = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            try:
                return requests.get(f"{address}/healthcheck", timeout=PATIENCE).status_code == 200
            except requests.ConnectionError:
                return False

        flower.wait_for(answers)
        worker = Worker("shown", folder, url, "-E", "-c", "1")
        assert requests.get(f"{address}/", timeout=PATIENCE).status_code == 401

        def shown() -> set[str]:
            # It hears only of what happens once it listens, which it does not say: of one of these.
            send_task(url, "app.long_task", 1, 0)
            answer = requests.get(f"{address}/api/tasks", auth=("ann", "secret"), timeout=PATIENCE)
            return {task["state"] for task in answer.json().values()}

        wait_until(lambda: "SUCCESS" in shown(), describe=shown)
    finally:
        flower.stop()
        if worker:
            worker.stop()


@pytest.mark.long
def test_a_worker_in_the_background(redis_server: RedisServer, folder: Path, tmp_path: Path):
    url = redis_server.url(11)

    def multi(command: str) -> None:
        files = f"--pidfile={tmp_path}/%n.pid --logfile={tmp_path}/%n.log"
        subprocess.run(
            [sys.executable, "-m", "celery", "multi", *command.split(), *files.split()],
            cwd=ROOT,
            env={**os.environ, **environment(url)},
            check=True,
            timeout=PATIENCE,
            stdout=subprocess.DEVNULL,
        )

    web = WebServer("background", folder, url)
    try:
        # When a worker is started in the background, and stopped while a task runs
        multi("start worker -A celery_worker -E -Q:worker celery -c 1 --loglevel=INFO")
        task = requests.post(f"{web.url}/longtask", data={"steps": "60"}, timeout=PATIENCE)

        def state() -> str:
            return str(requests.get(task.headers["Location"], timeout=PATIENCE).json()["state"])

        wait_until(lambda: state() == "PROGRESS", describe=state)
        multi("stopwait worker -A celery_worker")

        # Then it has ended, has left its log, and has handed the task back
        assert state() == "PENDING"
        assert [file.name for file in tmp_path.iterdir()] == ["worker.log"]
        assert "app.long_task[" in (tmp_path / "worker.log").read_text()
    finally:
        for file in tmp_path.glob("*.pid"):
            os.kill(int(file.read_text()), signal.SIGKILL)
        web.stop()


def send_task(redis_url: str, name: str, *arguments: object) -> str:
    """Start a task of another Redis database than the one of the app in this process."""
    script = (
        f"from celery_worker import celery; print(celery.send_task({name!r}, {arguments!r}).id)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, **environment(redis_url)},
        check=True,
        timeout=PATIENCE,
        capture_output=True,
        text=True,
    )
    return result.stdout.strip()
