"""A mail server for this machine that delivers nothing: what it takes, it hands over. Knows neither Flask nor Redis."""

import logging
import signal
from collections.abc import Callable, Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

logger = logging.getLogger(__name__)

#: Bytes that a mail may have, and characters of its text that are kept.
MOST_BYTES = 1_000_000
KEPT_CHARACTERS = 10_000

Keep = Callable[[Mapping[str, Any]], None]


class Catcher:
    """What happens to a mail that has come. The method's name is aiosmtpd's."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        message = message_from_bytes(envelope.original_content or b"", policy=policy.default)
        try:
            self._keep(
                {
                    "from": envelope.mail_from,
                    "to": envelope.rcpt_tos,
                    "subject": str(message["Subject"] or ""),
                    "text": _text(message),
                }
            )
        except Exception:  # whatever it was, the mail is not lost: it will be tried again
            logger.exception("A mail could not be kept")
            return "451 4.3.0 The mail cannot be kept at the moment"
        return "250 2.0.0 Caught"


def _text(message: EmailMessage) -> str:
    part = message.get_body(("plain", "html"))
    try:
        return str(part.get_content())[:KEPT_CHARACTERS] if part else ""
    except (LookupError, ValueError):  # in a character set that does not exist
        return ""


def catch_mail(host: str, port: int, keep: Keep) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    controller = Controller(Catcher(keep), hostname=host, port=port, data_size_limit=MOST_BYTES)
    # Blocked before there is another thread, so that they wait for this one to take them.
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    controller.start()
    print(f"Catching mail at {host}:{port}", flush=True)
    signal.sigwait(ends)
    controller.stop()
