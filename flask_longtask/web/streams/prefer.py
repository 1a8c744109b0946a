"""`Prefer: wait=30` (RFC 7240): lets a client wait for the end of a task, so that a shell script needs no loop."""

import re
import time
from collections.abc import Mapping
from typing import Any

from flask import request

from flask_longtask.installed import installed
from flask_longtask.status import ENDED_STATES
from flask_longtask.web.streams import may_wait

#: The most seconds that one request may wait: less than the usual timeout of proxies.
LONGEST = 50

_WAIT = re.compile(r'(?:^|,)\s*wait\s*=\s*"?(\d{1,9})"?\s*(?=[,;]|$)', re.IGNORECASE)


def wait_for_end(task_id: str, status: Mapping[str, Any]) -> int | None:
    """Wait until the task has ended or the preferred time is up, whichever comes first.

    Returns the seconds that the request was allowed to wait, or None if the client has no such preference.
    """
    # As in the RFC, only the first `wait` counts, and an invalid preference is ignored.
    preferred = _WAIT.search(request.environ.get("HTTP_PREFER", ""))
    if preferred is None or not may_wait():
        return None
    seconds = min(int(preferred[1]), LONGEST)
    if status["state"] in ENDED_STATES:
        return seconds
    until = time.monotonic() + seconds
    with installed().subscription.watch({task_id: status}) as watcher:
        while (left := until - time.monotonic()) > 0 and not watcher.closed:
            if any(news.ended for news in watcher.wait(left)):
                break
    return seconds
