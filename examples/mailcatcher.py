"""A local mail server that delivers no mail: it passes each mail to a callback. Uses neither Flask nor Redis."""

import logging
import signal
from collections.abc import Callable, Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

logger = logging.getLogger(__name__)

#: Maximum size of a mail in bytes, and maximum number of characters of its text that are kept.
MOST_BYTES = 1_000_000
KEPT_CHARACTERS = 10_000

Keep = Callable[[Mapping[str, Any]], None]


class Catcher:
    """Handles each mail that arrives. aiosmtpd defines the name of the method."""

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
        except Exception:  # with a 451 reply, the client tries again and the mail is not lost
            logger.exception("A mail could not be kept")
            return "451 4.3.0 The mail cannot be kept at the moment"
        return "250 2.0.0 Caught"


def _text(message: EmailMessage) -> str:
    part = message.get_body(("plain", "html"))
    try:
        return str(part.get_content())[:KEPT_CHARACTERS] if part else ""
    except (LookupError, ValueError):  # unknown character set
        return ""


def catch_mail(host: str, port: int, keep: Keep) -> None:
    """Serve until SIGTERM or Ctrl-C. `keep` is called with each mail."""
    controller = Controller(Catcher(keep), hostname=host, port=port, data_size_limit=MOST_BYTES)
    # The signals are blocked before another thread starts, so that only `sigwait` below receives them.
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    controller.start()
    print(f"Catching mail at {host}:{port}", flush=True)
    signal.sigwait(ends)
    controller.stop()
