"""One read of Redis for many requests: those that a busy web process has at the same moment share it."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any


class _Batch:
    """What some callers want to read together, and what came of it."""

    __slots__ = ("done", "error", "keys", "since", "values")

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.keys: list[bytes] = []
        self.values: Sequence[Any] = ()
        self.error: BaseException | None = None
        self.done = threading.Event()


class Together:
    """Whoever asks first waits until the read that is under way has ended, or else one turn of the event
    loop (or of the threads), and then reads for all who have asked by then.

    Of a read of two keys the round trip is by far the greatest part, for this process even more than for
    Redis. On an idle server nobody else is there, and each reads at once.
    """

    def __init__(self, read: Callable[[Sequence[bytes]], Sequence[Any]]) -> None:
        self._read = read
        self._reading = threading.Lock()
        self._failed = (0.0, Exception())  # when a read failed the last time, and how
        self._lock = threading.Lock()  # guards what follows
        self._open: _Batch | None = None

    def read(self, keys: Sequence[bytes]) -> Sequence[Any]:
        """The values of these keys, as they were when this was called or later."""
        with self._lock:
            batch = self._open
            is_first = batch is None
            if batch is None:
                batch = self._open = _Batch()
            start = len(batch.keys)
            batch.keys += keys
        if is_first:
            self._read_for_all(batch)
        else:
            batch.done.wait()
        if batch.error is not None:
            raise batch.error
        return batch.values[start : start + len(keys)]

    def _read_for_all(self, batch: _Batch) -> None:
        try:
            try:
                time.sleep(0)
                self._reading.acquire()
            finally:
                with self._lock:
                    self._open = None
            try:
                batch.values = self._values(batch)
            finally:
                self._reading.release()
        except BaseException as error:  # of this greenlet's end the others must know, too
            batch.error = error
        finally:
            batch.done.set()

    def _values(self, batch: _Batch) -> Sequence[Any]:
        failed_at, error = self._failed
        if failed_at > batch.since:
            raise error  # to try as well would only take as long again
        try:
            return self._read(batch.keys)
        except Exception as error:
            self._failed = time.monotonic(), error
            raise
