"""The history of a task as server-sent events: its attempts, and its log lines as they come.

The first event is the whole history. Each later one has all attempts, but only the new lines. The id of an event is the
number of its last line, so that a browser that reconnects gets no line twice. The events `gone` and `problem`, and the
end of the stream, are those of stream.py.
"""

import time
from collections.abc import Iterator
from typing import Any

from flask import Response
from redis.exceptions import RedisError

from flask_longtask.celery.backend import RedisBackend
from flask_longtask.installed import installed
from flask_longtask.json_text import dumps
from flask_longtask.status import ENDED_STATES
from flask_longtask.web.streams import stream
from flask_longtask.web.streams.subscription import LOOK_INTERVAL, Status, Subscription


def stream_history(task_id: str, status: Status, after: int) -> Response:
    """Return a stream of the history of a task with this status, from the line after this number on."""
    ours = installed()
    news = _News(ours.celery.backend, task_id, after)
    return stream.respond(_events(ours.subscription, news, status, stream.end_of_stream()))


class _News:
    """What a reader of a history does not know yet."""

    def __init__(self, backend: RedisBackend, task_id: str, after: int) -> None:
        self.task_id = task_id
        self.is_away = False  # Redis does not answer
        self.is_gone = False
        self._backend = backend
        self._after = after
        self._attempts: Any = None

    @property
    def attempt_runs(self) -> bool:
        """Whether an attempt still runs, of a task whose family has failed already."""
        return bool(self._attempts) and self._attempts[-1]["outcome"] is None

    def read(self) -> bytes:
        """Return the next event; empty if there is nothing new."""
        was_away, self.is_away = self.is_away, False
        try:
            history = self._backend.history(self.task_id, self._after)
        except RedisError:
            self.is_away = True
            return b"" if was_away else stream.outage()
        if history is None:
            self.is_gone = True
            return stream.event(self.task_id, None)
        lines = history["lines"]
        if not lines and history["attempts"] == self._attempts:
            return b""
        self._attempts = history["attempts"]
        if lines:
            self._after = lines[-1]["number"]
        return b"id: %d\ndata: %b\n\n" % (self._after, dumps(history))


def _events(
    subscription: Subscription, news: _News, status: Status, until: float
) -> Iterator[bytes]:
    yield f"retry: {stream.RECONNECT}\n\n".encode() + news.read()
    ended = status is None or status["state"] in ENDED_STATES
    if not until or (ended and not news.attempt_runs):
        return
    said_at = time.monotonic()
    with subscription.watch({news.task_id: status}) as watcher:
        while not (news.is_gone or watcher.closed or time.monotonic() >= until):
            # Lines change nothing about the status, so look for them even if there is no news of it.
            ended = any(it.ended for it in watcher.wait(LOOK_INTERVAL)) or ended
            text = news.read()
            if not text and time.monotonic() - said_at >= stream.HEARTBEAT:
                text = b": nothing new\n\n"
            if text:
                said_at = time.monotonic()
                yield text
            if ended and not news.is_away and not news.attempt_runs:
                return
