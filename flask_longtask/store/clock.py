"""Redis's clock, used for every time stamp, lease and grace period. No host's own clock decides anything."""

import time
from collections.abc import Callable


class Clock:
    """Tells the time that Redis's `TIME` would return now.

    Between two answers from Redis, it counts by this process's monotonic clock, which is not affected when the host's
    time is changed. `ask` returns the seconds since 1970 by Redis's clock.
    """

    #: Seconds for which an answer is used. The monotonic clock stands still while the host is suspended.
    FRESH = 10.0
    #: Seconds, at most, that an answer may take to arrive.
    LATEST = 5.0

    def __init__(self, ask: Callable[[], float]) -> None:
        self._ask = ask
        self._offset: float | None = None
        self._offset_at = 0.0
        self._set_at = 0.0

    def set(self, now: float) -> None:
        """Set the clock to the time that Redis has just returned."""
        self._set_at = time.monotonic()
        offset = now - self._set_at
        known = self._offset is not None and self._set_at - self._offset_at < self.FRESH
        # A late answer has an earlier time than the present, never a later one. If it is earlier than any late answer
        # can be, Redis's clock was set back.
        is_late = known and 0 < (self._offset or 0.0) - offset < self.LATEST
        if not is_late:
            self._offset, self._offset_at = offset, self._set_at

    @property
    def is_known(self) -> bool:
        """Whether the time is known without asking Redis."""
        return self._offset is not None and time.monotonic() - self._set_at < self.FRESH

    def now(self) -> float:
        """Return the seconds since 1970. Raises redis.exceptions.RedisError if it must ask Redis and gets no answer."""
        if not self.is_known:
            self.set(self._ask())
        assert self._offset is not None
        return time.monotonic() + self._offset
