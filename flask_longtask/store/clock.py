"""Redis's clock, which every time stamp, lease and grace period goes by. No host's own clock decides anything."""

import time
from collections.abc import Callable


class Clock:
    """What Redis's `TIME` would answer now.

    Between two answers of Redis the time is told by this process's monotonic clock, which no change of the
    host's time can move. `ask` returns the seconds since 1970 by Redis's clock.
    """

    #: Seconds for which one answer is good. A host that was suspended has not counted meanwhile.
    FRESH = 10.0
    #: Seconds for which an answer may be on its way.
    LATEST = 5.0

    def __init__(self, ask: Callable[[], float]) -> None:
        self._ask = ask
        self._offset: float | None = None
        self._offset_at = 0.0
        self._set_at = 0.0

    def set(self, now: float) -> None:
        """Redis has just told the time."""
        self._set_at = time.monotonic()
        offset = now - self._set_at
        known = self._offset is not None and self._set_at - self._offset_at < self.FRESH
        # An answer that was late on its way tells an earlier time than it is, never a later one. One that was later
        # than any answer is waited for says that the time was set.
        is_late = known and 0 < (self._offset or 0.0) - offset < self.LATEST
        if not is_late:
            self._offset, self._offset_at = offset, self._set_at

    @property
    def is_known(self) -> bool:
        """Whether the time can be told without asking."""
        return self._offset is not None and time.monotonic() - self._set_at < self.FRESH

    def now(self) -> float:
        """Seconds since 1970. Raises redis.exceptions.RedisError if it must be asked for and cannot be had."""
        if not self.is_known:
            self.set(self._ask())
        assert self._offset is not None
        return time.monotonic() + self._offset
