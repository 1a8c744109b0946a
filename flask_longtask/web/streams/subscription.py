"""Sends each change of a task to its watchers: one Redis subscription serves all watchers of a process.

Celery's store publishes each change of a task on a channel named after the task. A message says only which task to
read again: watchers get what is stored, which is read for all changed tasks at once. Tasks are also read when Redis
confirms a subscription, so that no change is lost between the first read and the subscription, or while Redis was
away; and once a second, for changes without a message (how many tasks are ahead, whether any worker runs, which tasks
have expired).

This module knows nothing of HTTP. It runs in threads, or in greenlets if gevent has patched `threading`.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, Self

from redis.exceptions import RedisError

from flask_longtask.celery.app import Celery
from flask_longtask.celery.backend import RedisBackend
from flask_longtask.status import ENDED_STATES
from flask_longtask.store import Changes
from flask_longtask.store.changes import AT_ONCE

logger = logging.getLogger(__name__)

#: Seconds between two reads of every watched task, and between two attempts to reach Redis.
LOOK_INTERVAL = 1.0

Status = Mapping[str, Any] | None

#: What a client knows of a task that it must be told of in any case.
UNKNOWN = object()


class News(NamedTuple):
    """A change of one task. All watchers of the task share its `text`."""

    task_id: str
    text: bytes
    ended: bool


class Watcher:
    """One client's view of some tasks. Newer news of a task replaces news that the client has not taken yet.

    Thousands of streams may wait here for long, each with a watcher, so it is kept small. A context manager: see
    `Subscription.watch`.
    """

    __slots__ = ("_news", "_signal", "_subscription", "closed", "seen")

    def __init__(self, subscription: "Subscription", statuses: Mapping[str, Status]) -> None:
        #: The status of each task that the client knows; UNKNOWN if it must be told in any case.
        self.seen: dict[str, Any] = dict(statuses)
        #: Set when the server is being stopped: there will be no more news.
        self.closed = False
        self._subscription = subscription
        self._news: dict[str, News] = {}
        self._signal = threading.Lock()  # released when there is news
        self._signal.acquire()

    def __enter__(self) -> Self:
        self._subscription.add(self)
        return self

    def __exit__(self, *error: object) -> None:
        self._subscription.remove(self)

    def wait(self, timeout: float) -> list[News]:
        """Return the news since the last call, else wait for some.

        Returns an empty list when the time is up, or earlier if the last call has returned this news already.
        """
        self._signal.acquire(timeout=timeout)
        # One at a time, since more may come meanwhile.
        return [self._news.pop(task_id) for task_id in list(self._news)]

    def tell(self, news: News) -> None:
        """Give news to the client. The subscription calls this, with its lock held."""
        self._news[news.task_id] = news
        self._wake()

    def close(self) -> None:
        """End the watching. The subscription calls this, with its lock held."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        if self._signal.locked():
            self._signal.release()


class _Topic:
    """A task that has watchers."""

    __slots__ = ("news", "status", "watchers")

    def __init__(self) -> None:
        self.watchers: set[Watcher] = set()
        self.status: Status = None
        self.news: News | None = None  # None before the first look


class Subscription:
    """The watchers of this process. Its thread and its connection to Redis exist while there are watchers.

    `write` returns the text of a task's news from its id and its status object, which is None for a task that does not
    exist. `outage` is the text that every watcher gets when Redis is away. When Redis is back, watchers get the status
    of all their tasks again.
    """

    def __init__(self, app: Celery, write: Callable[[str, Status], bytes], outage: bytes) -> None:
        self._app = app
        self._write = write
        self._outage = News("", outage, ended=False)
        self._is_stopping: Callable[[], bool] = bool  # `bool()` is False
        self._lock = threading.Lock()  # guards the attributes below
        self._topics: dict[str, _Topic] = {}
        self._thread: threading.Thread | None = None
        self._changes: Changes | None = None  # None while Redis is away

    def stop_when(self, is_stopping: Callable[[], bool]) -> None:
        """Close all watchers within a second after `is_stopping` returns true: the server is stopping."""
        self._is_stopping = is_stopping

    def watch(self, statuses: Mapping[str, Status]) -> Watcher:
        """Watch these tasks for the length of a `with` block. The watcher gets the changes from these statuses on."""
        return Watcher(self, statuses)

    def add(self, watcher: Watcher) -> None:
        task_ids = list(watcher.seen)
        with self._lock:
            for task_id in task_ids:
                self._topics.setdefault(task_id, _Topic()).watchers.add(watcher)
            # Redis also confirms a repeated subscription, which makes the thread read the task for this watcher.
            self._send(Changes.subscribe, task_ids)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="longtask-watch", daemon=True
                )
                self._thread.start()

    def remove(self, watcher: Watcher) -> None:
        with self._lock:
            for task_id in watcher.seen:
                self._topics[task_id].watchers.discard(watcher)
            left = [task_id for task_id in watcher.seen if not self._topics[task_id].watchers]
            for task_id in left:
                del self._topics[task_id]
            self._send(Changes.unsubscribe, left)

    @property
    def _backend(self) -> RedisBackend:
        backend: RedisBackend = self._app.backend
        return backend

    def _send(
        self, command: Callable[[Changes, Collection[str]], None], task_ids: Collection[str]
    ) -> None:
        """Send a command, with the lock held. The thread reads the answers."""
        if self._changes is None:
            return  # the thread subscribes to all watched tasks when Redis is back
        try:
            command(self._changes, task_ids)
        except (RedisError, OSError):
            self._changes = None  # the thread notices, and reconnects

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._goes_on():
            try:
                self._serve()
            except Exception as error:
                # Any exception: without this thread, watchers would get no more news.
                is_expected = isinstance(error, RedisError | OSError)
                logger.warning(
                    "Cannot follow the changes of tasks: %s", error, exc_info=not is_expected
                )
                self._tell_outage()
                time.sleep(LOOK_INTERVAL)

    def _goes_on(self) -> bool:
        with self._lock:
            if not self._topics:
                self._thread = None
            return self._thread is not None

    def _serve(self) -> None:
        """Send changes until there are no watchers, or Redis is away."""
        changes = self._backend.store.changes()
        try:
            with self._lock:
                self._changes = changes
                self._send(Changes.subscribe, self._topics)
            self._follow(changes)
        finally:
            with self._lock:
                self._changes = None
            changes.close()

    def _follow(self, changes: Changes) -> None:
        next_look = time.monotonic() + LOOK_INTERVAL
        to_look_at: Iterator[str] = iter(())
        while self._topics and self._changes is changes:
            if self._is_stopping():
                self._close_watchers()
            some = list(islice(to_look_at, AT_ONCE))
            now = time.monotonic()
            if not some and now >= next_look:
                next_look = now + LOOK_INTERVAL
                to_look_at = iter(self._open_tasks())
                continue
            changed = changes.wait(0 if some else next_look - now)
            changed.update(some)
            self._tell(changed)

    def _close_watchers(self) -> None:
        with self._lock:
            for watcher in self._watchers():
                watcher.close()

    def _watchers(self) -> set[Watcher]:
        """Return all watchers, with the lock held."""
        return {watcher for topic in self._topics.values() for watcher in topic.watchers}

    def _open_tasks(self) -> list[str]:
        with self._lock:
            topics = list(self._topics.items())
        return [task_id for task_id, topic in topics if not (topic.news and topic.news.ended)]

    def _tell(self, task_ids: set[str]) -> None:
        statuses = self._backend.describe([*task_ids])
        with self._lock:
            for task_id, status in statuses.items():
                if topic := self._topics.get(task_id):
                    self._tell_watchers(topic, task_id, status)

    def _tell_watchers(self, topic: _Topic, task_id: str, status: Status) -> None:
        if topic.news is None or not _same(topic.status, status):
            ended = status is None or status["state"] in ENDED_STATES
            topic.status = status
            topic.news = News(task_id, self._write(task_id, status), ended)
        for watcher in topic.watchers:
            # A quick check first: most watchers already have this very object.
            known = watcher.seen[task_id]
            if known is topic.status:
                continue
            watcher.seen[task_id] = topic.status
            if not _same(known, topic.status):
                watcher.tell(topic.news)

    def _tell_outage(self) -> None:
        with self._lock:
            for watcher in self._watchers():
                if any(status is not UNKNOWN for status in watcher.seen.values()):
                    watcher.seen = dict.fromkeys(watcher.seen, UNKNOWN)
                    watcher.tell(self._outage)


def _same(known: Any, status: Status) -> bool:
    """Whether nothing has changed but `eta`, which changes all the time."""
    if not known or not status or known is UNKNOWN:
        return known is status
    return bool({**known, "eta": None} == {**status, "eta": None})
