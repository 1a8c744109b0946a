"""Task ids in URLs. Celery accepts any string as an id, so some ids must be encoded."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

from werkzeug.routing import BaseConverter

from flask_longtask.celery.sending import LONGEST_ID

#: Ids that clients and proxies leave unchanged in a path. They resolve `.` and `..`.
_PLAIN = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]+")

_ENCODED = "~"


def is_id(text: str) -> bool:
    """Whether this can be the id of a task."""
    return 1 <= len(text) <= LONGEST_ID


class TaskIdConverter(BaseConverter):
    """`<task_id:…>` in a rule. An id that is not plain is written as `~` and its UTF-8 in base64url (RFC 4648).

    A path that ends like the address of something that belongs to a task is not taken for that of a task.
    """

    regex = "[^/].*?(?<!/history)(?<!/parts)(?<!/restart)"
    part_isolating = False

    def to_python(self, value: str) -> str:
        if value.startswith(_ENCODED):
            text = value[1:]
            try:
                return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            except ValueError:  # a plain id that begins with `~`, in a URL that a client has built
                pass
        return value

    def to_url(self, value: object) -> str:
        text = str(value)
        if _PLAIN.fullmatch(text):
            return text
        encoded = urlsafe_b64encode(text.encode("utf-8", "replace")).decode().rstrip("=")
        return _ENCODED + encoded
