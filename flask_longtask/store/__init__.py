"""What Redis holds, and the only code that reads or writes it. Knows neither Flask nor Celery. From a plain script:

store = Store(Redis.from_url("redis://127.0.0.1:6379/0"))
store.tasks.accept("4711", {"task": "add"}, Queue("celery", ["celery"]), nonce="1", message="{…}")
store.tasks.read(["4711"])
"""

from functools import cached_property
from typing import Any

from redis import Redis

from flask_longtask.record import Record
from flask_longtask.store.changes import Changes
from flask_longtask.store.clients.browsers import Browsers
from flask_longtask.store.clients.claims import Claims
from flask_longtask.store.clients.guesses import Guesses
from flask_longtask.store.clock import Clock
from flask_longtask.store.families import Families
from flask_longtask.store.history import History, LogLine, StoredHistory
from flask_longtask.store.keys import Keys
from flask_longtask.store.listing import Listing
from flask_longtask.store.messages import Messages
from flask_longtask.store.presence import CachedPresence, Presence, Workers
from flask_longtask.store.scripts import Scripts
from flask_longtask.store.tasks import Tasks
from flask_longtask.store.types import (
    Acceptance,
    Accepted,
    Change,
    Claim,
    Event,
    Outcome,
    Queue,
    Run,
    Server,
    Stall,
    Stored,
)

__all__ = [
    "Acceptance",
    "Accepted",
    "Change",
    "Changes",
    "Claim",
    "Event",
    "Keys",
    "LogLine",
    "Outcome",
    "Presence",
    "Queue",
    "Record",
    "Run",
    "Server",
    "Stall",
    "Store",
    "Stored",
    "StoredHistory",
]


class Store:
    """Everything that is kept in one Redis, accessed through one client.

    `prefix` is put before every key. `documents` is the prefix of Celery's own documents. `expires` is the number of
    seconds for which a task is kept after it has ended; 0 means for ever.
    """

    def __init__(
        self,
        client: Redis,
        prefix: str = "",
        documents: str = "celery-task-meta-",
        expires: int = 86_400,
    ) -> None:
        self.client = client
        self.keys = Keys(prefix, documents)
        self.clock = Clock(self._ask_time)
        self._scripts = Scripts(client, self.keys, expires)

    @cached_property
    def tasks(self) -> Tasks:
        return Tasks(self.client, self.keys, self.clock, self._scripts)

    @cached_property
    def families(self) -> Families:
        return Families(self.client, self.keys, self._scripts)

    @cached_property
    def history(self) -> History:
        return History(self.keys, self.clock, self._scripts)

    @cached_property
    def messages(self) -> Messages:
        return Messages(self.client, self.keys, self._scripts)

    @cached_property
    def workers(self) -> Workers:
        return Workers(self.client, self.keys, self.clock, self._scripts)

    @cached_property
    def presence(self) -> CachedPresence:
        return CachedPresence(self.workers)

    @cached_property
    def claims(self) -> Claims:
        return Claims(self.client, self.keys)

    @cached_property
    def browsers(self) -> Browsers:
        return Browsers(self.client, self.keys)

    @cached_property
    def listing(self) -> Listing:
        return Listing(self.client, self.keys, self._scripts, self.tasks)

    @cached_property
    def guesses(self) -> Guesses:
        return Guesses(self.client, self.keys)

    def release(self, worker: str) -> None:
        """Hand back the messages of a worker that is lost or has stopped, and forget the worker."""
        for _again in range(3):  # a message that it has asked for may arrive only now
            self.messages.hand_back(worker)
            if self.workers.forget(worker):
                return

    def mend(self) -> list[str]:
        """Remove keys of the wrong type, and return their names."""
        return self._scripts.mend()

    def may_forget(self) -> str | None:
        """Return the policy by which this Redis removes keys when its memory is full; None if it does not.

        With `noeviction`, a full Redis refuses new tasks. With the other policies, it loses accepted tasks; with those
        that begin with "volatile", only what has a time to live: ended tasks and their results.
        """
        memory: Any = self.client.info("memory")
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        return policy if memory.get("maxmemory") and policy != "noeviction" else None

    def server(self) -> Server:
        """Return what this Redis reports about itself."""
        info: Any = self.client.info()
        return Server(
            str(info.get("redis_version", "")),
            str(info.get("maxmemory_policy", "noeviction")),
            int(info.get("maxmemory", 0)),
            bool(info.get("aof_enabled")),
            info.get("role") in ("slave", "replica"),
            info["server_time_usec"] / 1e6,
        )

    def changes(self) -> Changes:
        """Open a connection that receives the changes of tasks. Close it after use."""
        return Changes(self.client, self.keys)

    def _ask_time(self) -> float:
        seconds, microseconds = self.client.time()
        return float(seconds + microseconds / 1e6)
