"""A mail is sent, at once or in a minute, and its bar says how that goes.

What a mail server may refuse for now is tried again, what it refuses for good is not. Routes and other
examples hand over an address and fixed words only, so nobody can put a header of their own into a mail.
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

#: Seconds that a mail may be put off.
LONGEST_DELAY = 86_400

#: Seconds between two tries, at most.
LONGEST_PAUSE = 3600

#: How much of a mail server's answer is shown.
SHOWN_CHARACTERS = 300

mail = Mail()
bp = Blueprint("mail", __name__)


class MailDeferred(Exception):
    """The mail could not be sent now; the text says why. It is tried again."""


class MailRefused(Exception):
    """The mail cannot be sent; the text says why."""


class MailTask(Task):
    """A task that leaves its arguments and its result out of logs and dashboards: they hold an address."""

    resultrepr_maxsize = 1  # characters; with 0 Celery leaves the brackets out, too

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
    """Send a mail on behalf of a task; the task returns what this returns.

    Raises Retry after a failure that may pass, MailDeferred when there have been enough of them, and
    MailRefused after one that will not.
    """
    config = current_app.config
    task.update_state(
        state="PROGRESS", meta={"current": 0, "total": 1, "status": f"Sending to {recipient}"}
    )
    message = Message(subject, [recipient], body)
    # The same for every try: a server that has taken the mail, but whose answer was lost, takes it again,
    # and mail programs show two mails of one id as one.
    domain = str(message.sender).rpartition("@")[2].rstrip(">")
    message.msgId = f"<{task.request.id}@{domain}>"
    try:
        with _SMTP(current_app.extensions["mail"]) as connection:
            connection.send(message)
    except OSError as error:  # which every error of smtplib is, too
        # A server may repeat the address, and the text of an exception is logged.
        words = re.sub(re.escape(recipient), "the address", _in_words(error), flags=re.IGNORECASE)
        if not _may_pass(error):
            raise MailRefused(words) from None
        raise task.retry(
            exc=MailDeferred(words),
            countdown=pause_before(task.request.retries),
            max_retries=config["MAIL_RETRIES"],
        ) from None
    return {"current": 1, "total": 1, "status": f"Sent to {recipient}", "result": None}


def pause_before(retry: int) -> float:
    """Seconds until the next try: each time twice as long, and never the same for many mails at once."""
    pause = min(LONGEST_PAUSE, current_app.config["MAIL_RETRY_SECONDS"] * 2.0 ** min(retry, 32))
    return random.uniform(pause / 2, pause)


class _SMTP(Connection):
    """Flask-Mail's connection, which waits for a server no longer than MAIL_TIMEOUT and checks who it is."""

    def configure_host(self) -> smtplib.SMTP | smtplib.SMTP_SSL:
        mail, timeout = self.mail, current_app.config["MAIL_TIMEOUT"]
        host: smtplib.SMTP | smtplib.SMTP_SSL
        if mail.use_ssl:
            context = ssl.create_default_context()
            host = smtplib.SMTP_SSL(mail.server, mail.port or 0, timeout=timeout, context=context)
        else:
            host = smtplib.SMTP(mail.server, mail.port or 0, timeout=timeout)
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
        # A server that does not say goodbye has taken the mail all the same: to fail now would send it twice.
        if self.host is not None:
            with suppress(OSError):
                self.host.quit()
            self.host.close()


def _may_pass(error: OSError) -> bool:
    """Whether the same mail may be taken another time: 4xx, and servers that are away (RFC 5321, 4.2.1)."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code < 500 for code, _ in error.recipients.values())
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code < 500
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return True
    # What the server cannot do at all, and one that is not who it says.
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
    words = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return f"The mail server says: {code} {' '.join(words.split())}"[:SHOWN_CHARACTERS]


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
    with mail_limit:
        return accepted(send_mail.apply_async((address.ascii_email,), countdown=delay or None))


def mail_address(name: str) -> ValidatedEmail:
    """A field of the request that must be one mail address."""
    value = fields().get(name)
    if not isinstance(value, str) or not value.strip():
        raise BadField(name, "must be a mail address.")
    try:
        return validate_email(
            value.strip(" "),
            # A name before the @ that is not ASCII needs a mail server that knows SMTPUTF8.
            allow_smtputf8=False,
            check_deliverability=current_app.config["MAIL_CHECK_DELIVERABILITY"],
        )
    except EmailNotValidError as error:
        raise BadField(name, f"is not valid. {error}") from None


def init_app(app: Flask) -> None:
    mail.init_app(app)
