"""A task's id as a part of an address: Celery takes any text for one, and an address does not."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

from werkzeug.routing import BaseConverter

#: Characters that an id may have. RabbitMQ takes no longer one.
LONGEST = 255

#: What any client and any proxy leaves as it is in a path. `.` and `..` they take for folders.
_PLAIN = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]+")

_ENCODED = "~"


def is_id(text: str) -> bool:
    """Whether this can be the id of a task."""
    return 1 <= len(text) <= LONGEST


class TaskIdConverter(BaseConverter):
    """`<task_id:…>` in a rule. An id that is not plain is written as `~` and its UTF-8 in base64url (RFC 4648)."""

    regex = "[^/].*?"
    part_isolating = False

    def to_python(self, value: str) -> str:
        if value.startswith(_ENCODED):
            text = value[1:]
            try:
                return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            except ValueError:  # an id that begins so, in an address that a client has made itself
                pass
        return value

    def to_url(self, value: object) -> str:
        text = str(value)
        if _PLAIN.fullmatch(text):
            return text
        encoded = urlsafe_b64encode(text.encode("utf-8", "replace")).decode().rstrip("=")
        return _ENCODED + encoded
