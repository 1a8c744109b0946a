"""Short waits for a transport, for a worker without an event loop (gevent, eventlet).

Such a worker waits for messages for two seconds at a time. Meanwhile it would not notice that it must stop or, after
it has held as many messages as it may, that it may take another one.
"""

import time
from typing import Any

from flask_longtask.celery.attempt import is_stopping

#: Seconds between two checks.
LOOK_INTERVAL = 0.1


class ShortWaits:
    def drain_events(self, connection: Any, timeout: float | None = None, **options: Any) -> Any:
        if timeout is None:
            return super().drain_events(connection, timeout=None, **options)  # type: ignore[misc]
        until = time.monotonic() + timeout
        while True:
            left = max(0, until - time.monotonic())
            try:
                return super().drain_events(  # type: ignore[misc]
                    connection, timeout=min(left, LOOK_INTERVAL), **options
                )
            except TimeoutError:
                if left <= LOOK_INTERVAL or is_stopping():
                    raise
