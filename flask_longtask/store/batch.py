"""Combines the reads of many requests: those that a busy web process handles at the same moment share one."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from redis.exceptions import RedisError

Item = TypeVar("Item")


class _Batch(Generic[Item]):
    """The items that several callers read together, and the outcome."""

    __slots__ = ("done", "error", "items", "since", "values")

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.items: list[Item] = []
        self.values: Sequence[Any] | None = None
        self.error: RedisError | None = None
        self.done = threading.Event()


class BatchedReads(Generic[Item]):
    """Combines the reads of all callers that ask while another read is under way.

    The first of these callers waits until that read has ended, or for one turn of the event loop (or of the threads),
    and then reads for all that have asked by then. The round trip is by far the greatest cost of reading two keys, for
    this process even more than for Redis. On an idle server there is no other caller, and each reads at once.
    """

    def __init__(self, read: Callable[[Sequence[Item]], Sequence[Any]]) -> None:
        self._read = read
        self._reading = threading.Lock()
        self._failed: tuple[float, RedisError | None] = (0.0, None)  # the last failure, and when
        self._lock = threading.Lock()  # guards the open batch
        self._open: _Batch[Item] | None = None

    def read(self, items: Sequence[Item]) -> Sequence[Any]:
        """Return the values of these items, as they were when this was called or later.

        Raises redis.exceptions.RedisError if they cannot be read.
        """
        while True:
            with self._lock:
                batch = self._open
                is_first = batch is None
                if batch is None:
                    batch = self._open = _Batch()
                start = len(batch.items)
                batch.items += items
            if is_first:
                self._read_for_all(batch)
            else:
                batch.done.wait()
            if batch.error is not None:
                raise batch.error
            if batch.values is not None:
                return batch.values[start : start + len(items)]
            # The first caller was interrupted, by gevent.Timeout for instance. That ends its own request only.

    def _read_for_all(self, batch: _Batch[Item]) -> None:
        try:
            try:
                time.sleep(0)
                self._reading.acquire()
            finally:
                with self._lock:
                    self._open = None
            try:
                batch.values = self._values(batch)
            except RedisError as error:
                batch.error = error
            finally:
                self._reading.release()
        finally:
            batch.done.set()

    def _values(self, batch: _Batch[Item]) -> Sequence[Any]:
        failed_at, error = self._failed
        if error is not None and failed_at > batch.since:
            raise error  # another try would only take as long again
        try:
            return self._read(batch.items)
        except RedisError as error:
            self._failed = time.monotonic(), error
            raise
