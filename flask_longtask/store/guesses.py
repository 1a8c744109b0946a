"""How many wrong tokens a client has shown: a count for each address, for all web processes together."""

import time
from typing import Any

from redis import Redis

from flask_longtask.store.keys import Keys

#: Seconds after the first of them in which they are counted together.
PERIOD = 60

#: Addresses that one process remembers.
REMEMBERED = 10_000


class Guesses:
    """Asks Redis only when a guess was wrong: each process remembers what it knows of a client.

    So a burst of guesses, of which none has been answered yet, is counted as well, and so is what comes while Redis
    is away: by each process for itself.
    """

    def __init__(self, client: Redis, keys: Keys, remembered: int = REMEMBERED) -> None:
        self._client = client
        self._keys = keys
        self._remembered = remembered
        # How many each has made, and when they are forgotten, by the process's own steady clock.
        self._known: dict[str, tuple[int, float]] = {}

    def seconds_barred(self, address: str, most: int) -> int:
        """How long nothing that this client shows is to be looked at, as far as this process knows; 0 if it is."""
        number, until = self._known.get(address, (0, 0.0))
        left = until - time.monotonic()
        return int(left) + 1 if number >= most and left > 0 else 0

    def count(self, address: str, most: int) -> int:
        """Count a wrong guess of this client, which may make so many in a period.

        Returns 0 if it was one of those, else the seconds until it may make more. Raises RedisError while Redis is
        away; this process has counted it even so.
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
            self._known.pop(next(iter(self._known)), None)  # who was wrong longest ago
        self._known[address] = (
            number + max(0, more),
            until if seconds is None else now + seconds,
        )
