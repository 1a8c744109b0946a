"""Idempotency keys: the tasks that a key stands for, and the turns in which requests with a key are answered."""

import threading
from contextlib import suppress
from typing import Any

from redis import Redis
from redis.exceptions import LockError, RedisError, ResponseError
from redis.lock import Lock

from flask_longtask.json_text import loads
from flask_longtask.store.keys import Keys
from flask_longtask.store.types import Claim

#: Seconds after which the turn of a request ends if its process has died.
TURN_SECONDS = 3.0

#: Seconds between two checks whether a turn has ended.
LOOK_INTERVAL = 0.02


class Claims:
    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._turns: set[Lock] = set()
        self._lock = threading.Lock()  # guards the set and the thread
        self._thread: threading.Thread | None = None

    def tasks(self, claim: Claim) -> tuple[list[str], bool]:
        """Return the tasks that a key stands for, none for a new key, and whether their request had the same body."""
        try:
            earlier: Any = loads(self._client.get(self._keys.claim(claim.name)) or b"{}")
            return list(earlier.get("tasks", [])), earlier.get("body", claim.body) == claim.body
        except (ResponseError, ValueError, TypeError, AttributeError):  # not written by this class
            return [], True

    def take_turn(self, claim: Claim, patience: float) -> Lock | None:
        """Take the turn of a key: of all requests with the key, only the one that has the turn is answered.

        Returns None if another request still has the turn after `patience` seconds. The turn ends with `end_turn`, or
        soon after this process has died.
        """
        turn = Lock(
            self._client,
            self._keys.turn(claim.name),
            timeout=TURN_SECONDS,
            blocking_timeout=patience,
            sleep=LOOK_INTERVAL,
            thread_local=False,
        )
        if not turn.acquire():
            if self._client.pttl(turn.name) == -1:
                self._client.delete(turn.name)  # not a turn, which would have a time to live
            return None
        with self._lock:
            self._turns.add(turn)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._keep_turns, name="longtask-turns", daemon=True
                )
                self._thread.start()
        return turn

    def end_turn(self, turn: Lock) -> None:
        with self._lock:
            self._turns.discard(turn)
        with suppress(RedisError):  # the turn expires soon, or has already
            turn.release()

    def _keep_turns(self) -> None:
        """Renew the turns of this process while their requests are being answered, until there are none."""
        ended = threading.Event()
        while True:
            ended.wait(TURN_SECONDS / 6)
            with self._lock:
                turns = list(self._turns)
                if not turns:
                    self._thread = None
                    return
            for turn in turns:
                with suppress(LockError, RedisError):
                    turn.reacquire()
