"""The messages in Redis: pushed to lists, held by workers, acknowledged, handed back, and found missing.

Each worker has a hash of the messages that it holds: those that it has taken and not acknowledged. It holds them for as
long as it lives (see presence.py); those of a lost worker are handed back. The lists and the JSON text of a message are
Kombu's. Only the delivery tag, the task's id and the redelivery mark in that text matter here.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import ResponseError

from flask_longtask.store.keys import Keys
from flask_longtask.store.scripts import Scripts

#: Seconds after which a task whose message has not been sent is taken for lost.
SENDING_GRACE = 8.0

#: A queue with more messages than this is not searched for missing ones, which would block Redis for too long.
MOST_LOOKED_THROUGH = 20_000

#: Messages handed back in one round trip.
AT_ONCE = 100

#: How many messages that no worker could handle are kept, how many bytes of each, and for how many seconds.
MOST_REJECTED = 100
LONGEST_REJECTED = 10_000
REJECTED_KEPT = 7 * 24 * 3600


#: The beginning of the tag by which a worker holds a copy of a message that it already holds.
COPY = "copy-"


class Taken(NamedTuple):
    """A message as it is stored, and the tag by which the worker holds it; "" if the worker does not hold it."""

    queue: str
    text: bytes
    tag: str

    @property
    def is_copy(self) -> bool:
        return self.tag.startswith(COPY)


class TakeRequest(NamedTuple):
    """The lists in which a worker looks for a message, in this order.

    `queues` has the queue of each list, and `acknowledged` whether its messages are acknowledged.
    """

    worker: str
    lists: Sequence[str]
    queues: Sequence[str]
    acknowledged: Sequence[bool]


class Messages:
    """The messages in one Redis. Every method but `hand_back` is one round trip.

    Each raises redis.exceptions.RedisError when Redis does not answer.
    """

    def __init__(self, client: Redis, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts

    def push(self, queue: str, list_name: str, message: str) -> None:
        """Push a message that belongs to no task."""
        self._scripts.run("messages/push", message, list=list_name, queue=queue)

    def take(self, request: TakeRequest) -> Taken | None:
        """Take the next message. If it is to be acknowledged, the worker holds it from now on."""
        reply = self._scripts.run("messages/take", keys=request.lists, **self._options(request))
        return self.taken(reply)

    def take_command(self, request: TakeRequest) -> list[Any]:
        """Return the Redis command of `take`, to be sent in an event loop. `taken` reads the reply."""
        return self._scripts.command("messages/take", request.lists, **self._options(request))

    @staticmethod
    def taken(reply: Any) -> Taken | None:
        return Taken(reply[0].decode(), reply[1], reply[2].decode()) if reply else None

    def wait_command(self, queues: Sequence[str], timeout: float) -> list[Any]:
        """Return the Redis command that waits up to `timeout` seconds until one of the queues may have a message."""
        return ["BRPOP", *map(self._keys.bell, queues), timeout]

    def _options(self, request: TakeRequest) -> dict[str, Any]:
        worker, _, queues, acknowledged = request
        return {"worker": worker, "queues": queues, "acknowledged": acknowledged, "copy": COPY}

    def acknowledge(self, worker: str, tag: str) -> None:
        """Acknowledge a message. Does nothing if the worker no longer holds it."""
        self._client.hdel(self._keys.held(worker), tag)

    def count(self, lists: Iterable[str]) -> int:
        """Count the messages in a queue's lists."""
        pipeline: Any = self._client.pipeline(transaction=False)
        for name in lists:
            pipeline.llen(name)
        return sum(pipeline.execute())

    def held(self, worker: str) -> set[str]:
        """Return the tags of the messages that a worker holds."""
        tags: Any = self._client.hkeys(self._keys.held(worker))
        return {tag.decode(errors="replace") for tag in tags}

    def hand_back(
        self, worker: str, tags: Iterable[str] | None = None, *, at_the_end: bool = False
    ) -> None:
        """Put messages back into their queues: those with these tags or, without `tags`, all that the worker holds."""
        key = self._keys.held(worker)
        held: Iterator[tuple[str, Any]]
        if tags is None:
            held = (
                (tag.decode(), text)
                for tag, text in self._client.hscan_iter(key, count=AT_ONCE)
                if tag.isascii() or not self._client.hdel(key, tag)  # not the tag of a message
            )
        else:
            tags = list(tags)
            texts: Any = self._client.hmget(key, tags) if tags else []
            held = ((tag, text) for tag, text in zip(tags, texts, strict=True) if text)
        while some := list(islice(held, AT_ONCE)):
            pipeline: Any = self._client.pipeline(transaction=False)
            for tag, text in some:
                entry = _read_held(text)
                if entry is None:
                    self.put_aside("The worker's entry was not valid.", worker=worker, tag=tag)
                    continue
                list_name, queue, message = entry
                self._scripts.run(
                    "messages/hand_back_message",
                    _redelivered(message),
                    pipeline=pipeline,
                    worker=worker,
                    tag=tag,
                    list=list_name,
                    queue=queue,
                    at_the_end=at_the_end,
                )
            pipeline.execute()

    def put_aside(
        self,
        reason: str,
        *,
        worker: str | None = None,
        tag: str | None = None,
        queue: str = "",
        text: bytes | str = "",
    ) -> None:
        """Put aside a message that no worker can handle.

        It is the message that `worker` holds by `tag` or, with another broker, the one that `text` describes.
        """
        self._scripts.run(
            "messages/put_aside",
            text,
            worker=worker,
            tag=tag,
            queue=queue,
            reason=reason,
            most=MOST_REJECTED,
            longest=LONGEST_REJECTED,
            kept=REJECTED_KEPT,
        )

    def count_rejected(self) -> int:
        try:
            return int(self._client.llen(self._keys.rejected))
        except ResponseError:  # the key is of the wrong type, which a worker will mend
            return 0

    def unsettle(self, seconds: float) -> None:
        """Find no message missing for this many seconds, since another broker may be about to redeliver some."""
        self._client.set(self._keys.unsettled, 1, px=int(seconds * 1000))

    def missing(self, ready: int | None = None, sure: bool = False) -> tuple[bool, list[str]]:
        """Return whether there are fewer messages than tasks that need one, and the tasks that have none.

        `ready` is how many messages another broker has; None if this Redis is the broker. `sure` says that the last
        checks have found too few as well.
        """
        too_few, *task_ids = self._scripts.run(
            "audit", grace=SENDING_GRACE, most=MOST_LOOKED_THROUGH, messages=ready, sure=sure
        )
        return bool(too_few), [task_id.decode() for task_id in task_ids]


def _read_held(text: bytes) -> tuple[str, str, str] | None:
    """Return the list, the queue and the text of a held message; None if the entry is not valid.

    A message may consist of any bytes. Those that are not UTF-8 are kept as surrogates, as in Python's file names.
    """
    try:
        list_name, queue, message = json.loads(text.decode(errors="surrogateescape"))
    except (ValueError, TypeError):
        return None
    entry = list_name, queue, message
    return entry if all(isinstance(part, str) for part in entry) else None


def _redelivered(message: str) -> bytes:
    """Return the message with the marks that tell Celery that it has been delivered before."""
    try:
        parsed = json.loads(message)
        for holder, name in ((parsed["properties"], "delivery_info"), (parsed, "headers")):
            holder[name] = {**(holder.get(name) or {}), "redelivered": True}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        # Not written by Kombu: the worker that takes it puts it aside.
        return message.encode(errors="surrogateescape")
    return json.dumps(parsed).encode()
