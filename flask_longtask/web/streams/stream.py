"""Server-sent events: the status of tasks as a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    $ curl -N -H 'Accept: text/event-stream' http://localhost:5000/status/<id>
    retry: 2000

    data: {"state": "PROGRESS", "current": 3, "total": 7, …, "task_id": "…", …}

    : nothing new

    data: {"state": "SUCCESS", …}

Each event is one status object: first the present one, then one for each change. The stream ends when all of its
tasks have ended. A client that reads slowly gets only the newest state, and one that reads nothing is dropped: see
readers.py. A change of `eta` alone sends no event, since
clients count down by themselves. Two events have names of their own:

`gone`     `{"task_id": "…"}`: there is no such task, or its result has expired meanwhile;
`problem`  the problem document of the 503 that a request would get now. The stream goes on: when Redis is back,
           it sends the status of every task.

A comment every 15 seconds keeps proxies from closing the connection, and detects clients that are gone. If the server
is stopping, or serves only one request at a time, the stream ends early, and browsers reconnect by themselves.
"""

import math
import time
from collections.abc import Iterator, Mapping

from flask import Response, request

from flask_longtask.celery.app import Celery
from flask_longtask.installed import installed
from flask_longtask.json_text import dumps
from flask_longtask.status import ENDED_STATES
from flask_longtask.web.problems import OUTAGE, document
from flask_longtask.web.streams import may_wait, readers
from flask_longtask.web.streams.subscription import Status, Subscription

MIMETYPE = "text/event-stream"

#: Seconds without news after which a comment is sent.
HEARTBEAT = 15.0

#: Seconds after which a stream ends if the app has `authorize`: the browser reconnects, and is checked again.
PERMITTED = 60.0

#: Milliseconds after which a browser reconnects when its connection was lost.
RECONNECT = 2000


def subscribe(celery_app: Celery) -> Subscription:
    """Return the subscription that the streams of an app read from."""
    return Subscription(celery_app, event, outage())


def outage() -> bytes:
    """Return the event for a Redis that does not answer."""
    return b"event: problem\ndata: %b\n\n" % dumps(document(OUTAGE))


def stream(statuses: Mapping[str, Status]) -> Response:
    """Return a stream of these statuses and of their changes from now on."""
    return respond(_events(installed().subscription, statuses, end_of_stream()))


def end_of_stream() -> float:
    """Return the monotonic time at which a stream that begins now must end; 0 if it can have only its first events."""
    if not may_wait():
        return 0
    return time.monotonic() + PERMITTED if installed().authorize else math.inf


def respond(events: Iterator[bytes]) -> Response:
    readers.bound(request.environ)
    # Passed through, so that the server keeps no more than the iterator while the stream is open.
    response = Response(events, mimetype=MIMETYPE, direct_passthrough=True)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back to fill its buffer
    response.vary.add("Accept")
    return response


def _events(
    subscription: Subscription, statuses: Mapping[str, Status], until: float
) -> Iterator[bytes]:
    open_tasks = {
        task_id: status
        for task_id, status in statuses.items()
        if status and status["state"] not in ENDED_STATES
    }
    first = [event(task_id, status) for task_id, status in statuses.items()]
    yield f"retry: {RECONNECT}\n\n".encode() + b"".join(first)
    if not open_tasks or not until:  # a browser reconnects after RECONNECT
        return
    with subscription.watch(open_tasks) as watcher:
        left = list(open_tasks)
        del statuses, open_tasks, first  # free memory: thousands of streams may wait here for long
        while left and not watcher.closed and time.monotonic() < until:
            changed = watcher.wait(HEARTBEAT)
            ended = {news.task_id for news in changed if news.ended}
            left = [task_id for task_id in left if task_id not in ended]
            yield b"".join(news.text for news in changed) or b": nothing new\n\n"


def event(task_id: str, status: Status) -> bytes:
    if status is None:
        return b"event: gone\ndata: %b\n\n" % dumps({"task_id": task_id})
    return b"data: %b\n\n" % dumps(status)
