"""Sends a mail, at once or after a delay, with a bar.

A mail that the mail server temporarily refuses is retried; a permanently refused one is not. Callers pass an
address and fixed texts only, so no client can inject headers into a mail.
"""

import random
import re
import smtplib
import ssl
from contextlib import suppress
from typing import Any

from celery import shared_task
from celery.result import AsyncResult
from email_validator import EmailNotValidError, ValidatedEmail, validate_email
from flask import Blueprint, Flask, current_app, session
from flask_mail import Connection, Mail, Message
from werkzeug.wrappers import Response

from examples.limits import mail_limit
from flask_longtask import BadField, Task, accepted, fields, openapi, seconds

#: Maximum delay of a mail in seconds.
LONGEST_DELAY = 86_400

#: Maximum pause between two tries in seconds.
LONGEST_PAUSE = 3600

#: Maximum number of characters of a mail server's reply in a status.
SHOWN_CHARACTERS = 300

mail = Mail()
bp = Blueprint("mail", __name__)


class MailDeferred(Exception):
    """The mail could not be sent for now. The message says why. The task is retried."""


class MailRefused(Exception):
    """The mail cannot be sent. The message says why."""


class MailTask(Task):
    """A task that hides its arguments and its result from logs and dashboards, because they contain an address."""

    resultrepr_maxsize = 1  # characters; with 0 Celery would also leave out the brackets

    def apply_async(self, *args: Any, **options: Any) -> AsyncResult:
        return super().apply_async(*args, **options, argsrepr="(...)", kwargsrepr="{...}")


@shared_task(bind=True, base=MailTask)
def send_mail(self: Task, recipient: str) -> dict[str, Any]:
    return deliver(
        self,
        recipient,
        subject="Hello from Flask",
        body="This is a test mail, sent by a background task of Longtask.\n",
    )


def deliver(task: Task, recipient: str, subject: str, body: str) -> dict[str, Any]:
    """Send a mail for a task, and return the result of the task.

    Raises Retry after a temporary failure, MailDeferred after the last retry, and MailRefused after a permanent
    failure.
    """
    config = current_app.config
    task.update_state(
        state="PROGRESS", meta={"current": 0, "total": 1, "status": f"Sending to {recipient}"}
    )
    message = Message(subject, [recipient], body)
    # Every try has the same id. If a server's reply was lost, it gets the mail twice, and mail programs show two mails
    # with one id as one.
    domain = str(message.sender).rpartition("@")[2].rstrip(">")
    message.msgId = f"<{task.request.id}@{domain}>"
    try:
        with _SMTP(current_app.extensions["mail"]) as connection:
            connection.send(message)
            answer = connection.answer
    except OSError as error:  # the base class of smtplib's errors
        # The text of an exception is logged, and a server may repeat the address in its reply.
        words = re.sub(re.escape(recipient), "the address", _in_words(error), flags=re.IGNORECASE)
        if not _may_pass(error):
            raise MailRefused(words) from None
        raise task.retry(
            exc=MailDeferred(words),
            countdown=pause_before(task.request.retries),
            max_retries=config["MAIL_RETRIES"],
        ) from None
    sent = {"current": 1, "total": 1, "status": f"Sent to {recipient}"}
    # static/mail.js shows it under the bar.
    task.update_state(state="PROGRESS", meta={**sent, "answer": answer})
    return {**sent, "result": None}


def pause_before(retry: int) -> float:
    """Return the seconds until the next try: twice as long each time, and random, so that mails spread out."""
    pause = min(LONGEST_PAUSE, current_app.config["MAIL_RETRY_SECONDS"] * 2.0 ** min(retry, 32))
    return random.uniform(pause / 2, pause)


class _Host(smtplib.SMTP):
    """Keeps the server's reply to the mail itself, which smtplib drops."""

    answer: tuple[int, bytes] = (0, b"")

    def data(self, msg: Any) -> tuple[int, bytes]:
        self.answer = super().data(msg)
        return self.answer


class _SecureHost(_Host, smtplib.SMTP_SSL):
    pass


class _SMTP(Connection):
    """Flask-Mail's connection with a timeout of MAIL_TIMEOUT and a check of the server's certificate."""

    @property
    def answer(self) -> str:
        """What the server has replied to the mail, such as "250 2.0.0 Ok: queued as 4D2E1"."""
        assert isinstance(self.host, _Host)
        return _reply(*self.host.answer)

    def configure_host(self) -> _Host:
        mail, timeout = self.mail, current_app.config["MAIL_TIMEOUT"]
        host: _Host
        if mail.use_ssl:
            context = ssl.create_default_context()
            host = _SecureHost(mail.server, mail.port or 0, timeout=timeout, context=context)
        else:
            host = _Host(mail.server, mail.port or 0, timeout=timeout)
        try:
            if mail.use_tls:
                host.starttls(context=ssl.create_default_context())
            if mail.username and mail.password:
                host.login(mail.username, mail.password)
        except BaseException:
            host.close()
            raise
        return host

    def __exit__(self, *exc_info: object) -> None:
        # The server has accepted the mail even if QUIT fails. An error here would send the mail twice.
        if self.host is not None:
            with suppress(OSError):
                self.host.quit()
            self.host.close()


def _may_pass(error: OSError) -> bool:
    """Whether a failure is temporary: a 4xx reply, or a server that is away (RFC 5321, 4.2.1)."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code < 500 for code, _ in error.recipients.values())
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code < 500
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return True
    # Commands that the server does not support, and invalid certificates, are permanent.
    return not isinstance(error, smtplib.SMTPException | ssl.SSLCertVerificationError)


def _in_words(error: OSError) -> str:
    code: int
    answer: bytes | str
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, answer = next(iter(error.recipients.values()))
    elif isinstance(error, smtplib.SMTPResponseException):
        code, answer = error.smtp_code, error.smtp_error
    elif isinstance(error, TimeoutError):
        return "The mail server does not answer"
    elif _may_pass(error):
        return f"The mail server cannot be reached: {error.strerror or error}"[:SHOWN_CHARACTERS]
    else:
        return f"The mail server cannot be used: {error}"[:SHOWN_CHARACTERS]
    return f"The mail server says: {_reply(code, answer)}"[:SHOWN_CHARACTERS]


def _reply(code: int, answer: bytes | str) -> str:
    words = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return f"{code} {' '.join(words.split())}"[:SHOWN_CHARACTERS]


@bp.post("/mail")
@openapi.documented(
    openapi.starts(
        "Send a mail",
        required=("email",),
        email={"type": "string", "format": "email"},
        delay=openapi.seconds(LONGEST_DELAY),
    )
)
def start() -> Response:
    address = mail_address("email")
    delay = seconds("delay", default=0, maximum=LONGEST_DELAY)
    session["email"] = address.normalized
    mail_limit.count()
    return accepted(send_mail.apply_async((address.ascii_email,), countdown=delay or None))


def mail_address(name: str) -> ValidatedEmail:
    """Return the mail address in a field of the request. Raises BadField if it is not valid."""
    value = fields().get(name)
    if not isinstance(value, str) or not value.strip():
        raise BadField(name, "must be a mail address.")
    try:
        return validate_email(
            value.strip(" "),
            # A non-ASCII name before the @ needs a mail server with SMTPUTF8.
            allow_smtputf8=False,
            check_deliverability=current_app.config["MAIL_CHECK_DELIVERABILITY"],
        )
    except EmailNotValidError as error:
        raise BadField(name, f"is not valid. {error}") from None


def init_app(app: Flask) -> None:
    mail.init_app(app)
