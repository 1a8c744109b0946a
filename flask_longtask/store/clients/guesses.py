"""Counts the wrong tokens that clients have sent, by address, for all web processes together."""

import time
from typing import Any

from redis import Redis

from flask_longtask.store.keys import Keys

#: Seconds from a client's first wrong token in which its wrong tokens are counted together.
PERIOD = 60

#: How many addresses one process remembers.
REMEMBERED = 10_000


class Guesses:
    """Asks Redis only after a wrong guess. Each process also remembers its own count for each client.

    With that it counts a burst of guesses, none of which has been answered yet, and guesses while Redis is away.
    """

    def __init__(self, client: Redis, keys: Keys, remembered: int = REMEMBERED) -> None:
        self._client = client
        self._keys = keys
        self._remembered = remembered
        # The number of guesses from each address, and when they are forgotten, by the process's monotonic clock.
        self._known: dict[str, tuple[int, float]] = {}

    def seconds_barred(self, address: str, most: int) -> int:
        """Return for how many seconds this client's tokens are refused unseen, as far as this process knows; or 0."""
        number, until = self._known.get(address, (0, 0.0))
        left = until - time.monotonic()
        return int(left) + 1 if number >= most and left > 0 else 0

    def count(self, address: str, most: int) -> int:
        """Count a wrong guess of this client, which may make `most` of them in a period.

        Returns 0 if the client has not made more, else the seconds until it may guess again. Raises RedisError while
        Redis is away; this process has counted the guess all the same.
        """
        self._note(address, 1)
        key = self._keys.guesses(address)
        pipeline: Any = self._client.pipeline()
        pipeline.set(key, 0, ex=PERIOD, nx=True)
        pipeline.incr(key)
        pipeline.ttl(key)
        _, number, left = pipeline.execute()
        left = max(1, int(left))
        known, _ = self._known.get(address, (0, 0.0))
        self._note(address, number - known, left)
        return left if number > most else 0

    def _note(self, address: str, more: int, seconds: float | None = None) -> None:
        now = time.monotonic()
        number, until = self._known.pop(address, (0, 0.0))
        if until <= now:
            number, until = 0, now + PERIOD
        while len(self._known) >= self._remembered:
            self._known.pop(next(iter(self._known)), None)  # the oldest entry
        self._known[address] = (
            number + max(0, more),
            until if seconds is None else now + seconds,
        )
