"""Sends each change of a task to its watchers: one Redis subscription serves all watchers of a process.

Celery's store publishes each change of a task on a channel named after it. A message only says which task
to look at again: what a watcher is told is what is stored, read for all of the changed tasks at once. The
same look is taken when Redis confirms a subscription, so that nothing is lost between the first look and
the subscription, nor while Redis was away; and once a second, for what changes without a message (how many
tasks are ahead, whether any worker is there, what has expired).

Nothing here knows HTTP. It runs in threads, and in greenlets where gevent has patched `threading`.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from flask_longtask.celery.app import Celery
from flask_longtask.celery.backend import RedisBackend
from flask_longtask.status import ENDED_STATES
from flask_longtask.store import Changes
from flask_longtask.store.changes import AT_ONCE

logger = logging.getLogger(__name__)

#: Seconds between two looks at every watched task, and before Redis is tried again.
LOOK_INTERVAL = 1.0

Status = Mapping[str, Any] | None


class News(NamedTuple):
    """What a watcher is told about one task. `text` is shared by all of a task's watchers."""

    task_id: str
    text: bytes
    ended: bool


class Watcher:
    """One client's view of some tasks. What it has not taken yet is replaced by what is newer."""

    __slots__ = ("_changed", "_news", "closed", "told")

    def __init__(self, statuses: Mapping[str, Status]) -> None:
        #: What the client knows of each task.
        self.told = dict(statuses)
        #: Set when the server is being stopped: there will be no more news.
        self.closed = False
        self._news: dict[str, News] = {}
        self._changed = threading.Condition(threading.Lock())

    def wait(self, timeout: float) -> list[News]:
        """The news since the last call, or the first to come; nothing when the time is up."""
        with self._changed:
            if not self._news and not self.closed:
                self._changed.wait(timeout)
            news, self._news = self._news, {}
        return list(news.values())

    def tell(self, news: News) -> None:
        with self._changed:
            self._news[news.task_id] = news
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify()


class _Topic:
    """A task that has watchers."""

    __slots__ = ("news", "status", "watchers")

    def __init__(self) -> None:
        self.watchers: set[Watcher] = set()
        self.status: Status = None
        self.news: News | None = None  # None before the first look


class Subscription:
    """The watchers of this process. Its thread and its connection to Redis exist while there are any.

    `write` makes the text of a task's news from its status object, None for a task that is not there.
    `outage` is the text that every watcher is told when Redis is away; when it is back, each is told
    again how its tasks are.
    """

    def __init__(self, app: Celery, write: Callable[[str, Status], bytes], outage: bytes) -> None:
        self._app = app
        self._write = write
        self._outage = News("", outage, ended=False)
        self._is_stopping: Callable[[], bool] = bool  # that is False
        self._lock = threading.Lock()  # guards what follows
        self._topics: dict[str, _Topic] = {}
        self._thread: threading.Thread | None = None
        self._changes: Changes | None = None  # None while Redis is away

    def stop_when(self, is_stopping: Callable[[], bool]) -> None:
        """Let all watchers go within a second of this being true: the server is being stopped."""
        self._is_stopping = is_stopping

    @contextmanager
    def watch(self, statuses: Mapping[str, Status]) -> Iterator[Watcher]:
        """Watch tasks from these states on."""
        watcher = Watcher(statuses)
        task_ids = list(statuses)
        with self._lock:
            for task_id in task_ids:
                self._topics.setdefault(task_id, _Topic()).watchers.add(watcher)
            # Redis confirms what is subscribed already, too, and with that this watcher has its look.
            self._send(Changes.subscribe, task_ids)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="longtask-watch", daemon=True
                )
                self._thread.start()
        try:
            yield watcher
        finally:
            with self._lock:
                for task_id in task_ids:
                    self._topics[task_id].watchers.discard(watcher)
                left = [task_id for task_id in task_ids if not self._topics[task_id].watchers]
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
        """Under the lock. The thread reads the answers."""
        if self._changes is None:
            return  # all that is watched will be subscribed to once Redis is back
        try:
            command(self._changes, task_ids)
        except (RedisError, OSError):
            self._changes = None  # the thread sees it as well, and connects anew

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._goes_on():
            try:
                self._serve()
            except Exception as error:
                # Whatever it was: without this thread all watchers would stand still.
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
        """Send what changes until there are no watchers, or Redis is away."""
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
                self._let_go()
            some = list(islice(to_look_at, AT_ONCE))
            now = time.monotonic()
            if not some and now >= next_look:
                next_look = now + LOOK_INTERVAL
                to_look_at = iter(self._open_tasks())
                continue
            changed = changes.wait(0 if some else next_look - now)
            changed.update(some)
            self._tell(changed)

    def _let_go(self) -> None:
        with self._lock:
            for watcher in self._watchers():
                watcher.close()

    def _watchers(self) -> set[Watcher]:
        """Under the lock."""
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
            # Nearly all know it already, and know the very same object.
            known = watcher.told.get(task_id, ...)
            if known is topic.status:
                continue
            watcher.told[task_id] = topic.status
            if not _same(known, topic.status):
                watcher.tell(topic.news)

    def _tell_outage(self) -> None:
        with self._lock:
            for watcher in self._watchers():
                if watcher.told:
                    watcher.told.clear()  # so that each task's next state is news
                    watcher.tell(self._outage)


def _same(known: Any, status: Status) -> bool:
    """Whether nothing has changed but the seconds left, which change all the time."""
    if not known or not status or known is ...:
        return known is status
    return bool({**known, "eta": None} == {**status, "eta": None})
