"""Server-sent events: the status of tasks as a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    $ curl -N -H 'Accept: text/event-stream' http://localhost:5000/status/<id>
    retry: 2000

    data: {"state": "PROGRESS", "current": 3, "total": 7, …, "task_id": "…", …}

    : nothing new

    data: {"state": "SUCCESS", …}

Each event is one status object, the present one first, then one for each change; when all of its tasks have
ended the stream ends. A client that reads slowly is told the newest state only. A change of `eta` alone is
no event: it counts down by itself. Two events have names of their own:

`gone`     `{"task_id": "…"}`: there is no such task, or its result has expired meanwhile;
`problem`  the problem document of the 503 that a request would be answered now. The stream goes on: when
           Redis is back, it tells how every task is.

A comment every 15 seconds keeps proxies from closing the connection and finds clients that are gone. When
the server is stopped, or serves one request at a time only, the stream ends early, and browsers come back by
themselves.
"""

import math
import time
from collections.abc import Iterator, Mapping

from flask import Response

from flask_longtask.celery.app import Celery
from flask_longtask.installed import installed
from flask_longtask.json_text import dumps
from flask_longtask.status import ENDED_STATES
from flask_longtask.web.problems import OUTAGE, document
from flask_longtask.web.streams import may_wait
from flask_longtask.web.streams.subscription import Status, Subscription

MIMETYPE = "text/event-stream"

#: Seconds without news after which a comment is sent.
HEARTBEAT = 15.0

#: Seconds for which a stream goes on where the app's `authorize` says who may read: a browser then asks anew.
PERMITTED = 60.0

#: Milliseconds after which a browser whose connection was lost tries again.
RECONNECT = 2000


def subscribe(celery_app: Celery) -> Subscription:
    """What the streams of an app are made from."""
    outage = b"event: problem\ndata: %b\n\n" % dumps(document(OUTAGE))
    return Subscription(celery_app, _event, outage)


def stream(statuses: Mapping[str, Status]) -> Response:
    """The answer that tells how these tasks are from now on."""
    until = time.monotonic() + PERMITTED if installed().authorize else math.inf
    events = _events(installed().subscription, statuses, until if may_wait() else 0)
    response = Response(events, mimetype=MIMETYPE)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would keep events until it has a bufferful
    response.vary.add("Accept")
    return response


def _events(
    subscription: Subscription, statuses: Mapping[str, Status], until: float
) -> Iterator[bytes]:
    going_on = {
        task_id: status
        for task_id, status in statuses.items()
        if status and status["state"] not in ENDED_STATES
    }
    first = [_event(task_id, status) for task_id, status in statuses.items()]
    yield f"retry: {RECONNECT}\n\n".encode() + b"".join(first)
    if not going_on or not until:  # a browser comes back after RECONNECT
        return
    with subscription.watch(going_on) as watcher:
        left = set(going_on)
        del statuses, going_on, first  # thousands of streams may wait here for long
        while left and not watcher.closed and time.monotonic() < until:
            told = watcher.wait(HEARTBEAT)
            left.difference_update(news.task_id for news in told if news.ended)
            yield b"".join(news.text for news in told) or b": nothing new\n\n"


def _event(task_id: str, status: Status) -> bytes:
    if status is None:
        return b"event: gone\ndata: %b\n\n" % dumps({"task_id": task_id})
    return b"data: %b\n\n" % dumps(status)
