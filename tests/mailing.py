"""Fixtures for the tests of mail: a mail server in this process, and a site with a worker that sends mail to it.

The site has its own Redis database and SQLite file, since another worker would take its mails.
"""

import asyncio
import itertools
import sqlite3
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import requests
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.processes import PATIENCE, RedisServer, WebServer, Worker, free_port, wait_until

#: The settings of a site, besides the address of its mail server.
SETTINGS = {
    "MAIL_DEFAULT_SENDER": "longtask@example.org",
    # Long, because a mail server that is too busy to respond in time would get the same mail twice.
    "MAIL_TIMEOUT": "60",
    "MAIL_RETRIES": "3",
    # Long enough to see the status between two tries.
    "MAIL_RETRY_SECONDS": "4",
    "MAIL_LIMIT": "10000 per minute",
}


_numbers = itertools.count()


class MailServer:
    """A real mail server. It accepts each mail, unless a test has set another reply for the recipient."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        #: The replies to the next tries, in order, for each recipient.
        self.answers: dict[str, list[str]] = {}
        #: The number of tries for each recipient.
        self.tries: dict[str, int] = {}
        #: For recipients in `mute`, the server closes the connection without a reply to QUIT. For recipients in
        #: `stuck`, it does not reply to RCPT.
        self.mute: set[str] = set()
        self.stuck: set[str] = set()
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())
        self.port = self._controller.port

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()

    def mails_to(self, recipient: str) -> list[EmailMessage]:
        return [mail for mail in self.taken if mail["To"] == recipient]

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.tries[address] = self.tries.get(address, 0) + 1
        if address in self.stuck:
            await asyncio.sleep(60)
        answers = self.answers.get(address)
        if answers:
            return answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        session.hangs_up = bool(self.mute.intersection(envelope.rcpt_tos))
        content = envelope.original_content or b""
        self.taken.append(message_from_bytes(content, policy=policy.default))
        return "250 OK"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if getattr(session, "hangs_up", False):
            server.transport.abort()
        return "221 Bye"


class Site:
    """A web server and a worker that serves all queues."""

    def __init__(self, name: str, folder: Path, redis_url: str, **settings: str) -> None:
        self.database = folder / f"{name}.db"
        settings = {"DATABASE_URL": f"sqlite:///{self.database}", **SETTINGS, **settings}
        self.web = WebServer(f"web-{name}", folder, redis_url, **settings)
        self.worker: Worker | None = None
        self._worker = (f"worker-{name}", folder, redis_url)
        self._settings = settings

    @property
    def url(self) -> str:
        return self.web.url

    def start_worker(self) -> None:
        name, folder, redis_url = self._worker
        self.worker = Worker(name, folder, redis_url, "-c", "4", **self._settings)

    def stop(self) -> None:
        self.web.stop()
        if self.worker:
            self.worker.stop()

    def post(self, path: str, **fields: Any) -> requests.Response:
        return requests.post(f"{self.url}{path}", data=fields, timeout=PATIENCE)

    def status(self, response: requests.Response) -> dict[str, Any]:
        """Return the current status of the task that `response` has started."""
        assert response.status_code == 202, response.text
        answer = requests.get(response.headers["Location"], timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def wait_for(self, response: requests.Response, *states: str) -> dict[str, Any]:
        """Wait until the task is in one of these states, and return its status."""
        return wait_until(
            lambda: (task := self.status(response))["state"] in states and task,
            describe=lambda: self.status(response),
        )

    def ended(self, response: requests.Response) -> dict[str, Any]:
        return self.wait_for(response, "SUCCESS", "FAILURE", "REVOKED")

    def users(self) -> list[tuple[str, str]]:
        connection = sqlite3.connect(self.database)
        try:
            return connection.execute("SELECT username, email FROM users ORDER BY id").fetchall()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def site(mail_server: MailServer, redis_server: RedisServer, folder: Path) -> Iterator[Site]:
    settings = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": str(mail_server.port)}
    site = Site(f"mail-{next(_numbers)}", folder, redis_server.url(5), **settings)
    site.start_worker()
    yield site
    site.stop()
