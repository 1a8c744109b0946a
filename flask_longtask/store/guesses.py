"""How many wrong tokens a client has shown: a count for each address, for all web processes together."""

import time
from typing import Any

from redis import Redis

from flask_longtask.store.keys import Keys

#: Seconds after the first of them in which they are counted together.
PERIOD = 60

#: Addresses that one process remembers as barred.
REMEMBERED = 10_000


class Guesses:
    """Asks Redis only when a guess was wrong: each process remembers whom it has barred."""

    def __init__(self, client: Redis, keys: Keys, remembered: int = REMEMBERED) -> None:
        self._client = client
        self._keys = keys
        self._remembered = remembered
        self._barred_until: dict[str, float] = {}  # by the process's own, steady clock

    def seconds_barred(self, address: str) -> int:
        """How long nothing that this client shows is to be looked at, as far as this process knows; 0 if it is."""
        until = self._barred_until.get(address)
        if until is None:
            return 0
        left = until - time.monotonic()
        if left <= 0:
            self._barred_until.pop(address, None)
            return 0
        return int(left) + 1

    def count(self, address: str, most: int) -> int:
        """Count a wrong guess of this client, which may make so many in a period.

        Returns 0 if it was one of those, else the seconds until it may make more. With the last of them it is barred.
        """
        key = self._keys.guesses(address)
        pipeline: Any = self._client.pipeline()
        pipeline.set(key, 0, ex=PERIOD, nx=True)
        pipeline.incr(key)
        pipeline.ttl(key)
        _, number, left = pipeline.execute()
        if number >= most:
            while len(self._barred_until) >= self._remembered:
                self._barred_until.pop(next(iter(self._barred_until)), None)
            self._barred_until[address] = time.monotonic() + max(1, left)
        return max(1, int(left)) if number > most else 0
