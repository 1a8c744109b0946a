"""The messages in Redis: pushed to lists, held by workers, acknowledged, handed back, and found missing.

A worker holds the messages it has taken and not acknowledged, in a hash of its own. They stay its own as long as it
lives (see presence.py); those of a lost worker are handed back. The lists are Kombu's, and so is the JSON text of a
message, of which only the delivery tag, the task's id and the mark of a redelivery matter here.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import ResponseError

from flask_longtask.store.keys import Keys
from flask_longtask.store.scripts import Scripts

#: Seconds after which a task whose message was not sent is taken for lost.
SENDING_GRACE = 8.0

#: A queue with more messages than this is not looked through for lost ones, which would hold Redis up.
MOST_LOOKED_THROUGH = 20_000

#: Messages handed back in one round trip.
AT_ONCE = 100

#: Of the messages that no worker could take: how many are kept, the bytes of each, and for how many seconds.
MOST_REJECTED = 100
LONGEST_REJECTED = 10_000
REJECTED_KEPT = 7 * 24 * 3600


#: What the tag begins with by which a worker holds a copy of a message that it holds already.
COPY = "copy-"


class Taken(NamedTuple):
    """A message as it is stored, and the tag by which the worker holds it: "" if it does not."""

    queue: str
    text: bytes
    tag: str

    @property
    def is_copy(self) -> bool:
        return self.tag.startswith(COPY)


class TakeRequest(NamedTuple):
    """Which lists a worker looks at for a message, in this order; of each its queue, and whether it is acknowledged."""

    worker: str
    lists: Sequence[str]
    queues: Sequence[str]
    acknowledged: Sequence[bool]


class Messages:
    """Every method is one round trip but `hand_back`.

    Each raises redis.exceptions.RedisError when Redis does not answer.
    """

    def __init__(self, client: Redis, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts

    def push(self, queue: str, list_name: str, message: str) -> None:
        """A message that belongs to no task: it is only pushed."""
        self._scripts.run("push", message, list=list_name, queue=queue)

    def take(self, request: TakeRequest) -> Taken | None:
        """The next message. One that is to be acknowledged is held from now on."""
        reply = self._scripts.run("take", keys=request.lists, **self._options(request))
        return self.taken(reply)

    def take_command(self, request: TakeRequest) -> list[Any]:
        """The same as a command of Redis, to be sent in an event loop. `taken` reads the reply."""
        return self._scripts.command("take", request.lists, **self._options(request))

    @staticmethod
    def taken(reply: Any) -> Taken | None:
        return Taken(reply[0].decode(), reply[1], reply[2].decode()) if reply else None

    def wait_command(self, queues: Sequence[str], timeout: float) -> list[Any]:
        """The command that waits until there may be a message in one of the queues, or the time is up, in seconds."""
        return ["BRPOP", *map(self._keys.bell, queues), timeout]

    def _options(self, request: TakeRequest) -> dict[str, Any]:
        worker, _, queues, acknowledged = request
        return {"worker": worker, "queues": queues, "acknowledged": acknowledged, "copy": COPY}

    def acknowledge(self, worker: str, tag: str) -> None:
        """The message is done with. Does nothing if the worker does not hold it any more."""
        self._client.hdel(self._keys.held(worker), tag)

    def count(self, lists: Iterable[str]) -> int:
        """The messages in a queue's lists."""
        pipeline: Any = self._client.pipeline(transaction=False)
        for name in lists:
            pipeline.llen(name)
        return sum(pipeline.execute())

    def held(self, worker: str) -> set[str]:
        """The tags of the messages that a worker holds."""
        tags: Any = self._client.hkeys(self._keys.held(worker))
        return {tag.decode(errors="replace") for tag in tags}

    def hand_back(
        self, worker: str, tags: Iterable[str] | None = None, *, at_the_end: bool = False
    ) -> None:
        """Put messages back into their queues, all that the worker holds or those with these tags."""
        key = self._keys.held(worker)
        held: Iterator[tuple[str, Any]]
        if tags is None:
            held = (
                (tag.decode(), text)
                for tag, text in self._client.hscan_iter(key, count=AT_ONCE)
                if tag.isascii() or not self._client.hdel(key, tag)  # no tag of a message
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
                    self.put_aside("It was not held as a message is.", worker=worker, tag=tag)
                    continue
                list_name, queue, message = entry
                self._scripts.run(
                    "hand_back_message",
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
        """Put a message aside that no worker can take.

        It is the one that `worker` holds by `tag`, or one of another broker, of which `text` tells.
        """
        self._scripts.run(
            "put_aside",
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
        except ResponseError:  # somebody has written something else there, which a worker mends
            return 0

    def unsettle(self, seconds: float) -> None:
        """Find no message missing for so long: another broker may be about to hand some out again."""
        self._client.set(self._keys.unsettled, 1, px=int(seconds * 1000))

    def missing(self, ready: int | None = None, sure: bool = False) -> tuple[bool, list[str]]:
        """Whether there are fewer messages than tasks that need one, and the tasks that have none.

        `ready` is how many messages another broker has; None where this Redis is the broker. `sure` says that there
        were too few of them the last times, too.
        """
        too_few, *task_ids = self._scripts.run(
            "audit", grace=SENDING_GRACE, most=MOST_LOOKED_THROUGH, messages=ready, sure=sure
        )
        return bool(too_few), [task_id.decode() for task_id in task_ids]


def _read_held(text: bytes) -> tuple[str, str, str] | None:
    """The list, the queue and the text of a message that is held; None if that is not what is there.

    A message may be any bytes; those that are not UTF-8 are kept as Python keeps them in names of files.
    """
    try:
        list_name, queue, message = json.loads(text.decode(errors="surrogateescape"))
    except (ValueError, TypeError):
        return None
    entry = list_name, queue, message
    return entry if all(isinstance(part, str) for part in entry) else None


def _redelivered(message: str) -> bytes:
    """The message with the marks by which Celery knows that it was delivered before."""
    try:
        parsed = json.loads(message)
        for holder, name in ((parsed["properties"], "delivery_info"), (parsed, "headers")):
            holder[name] = {**(holder.get(name) or {}), "redelivered": True}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        # Not what Kombu has written: the worker that takes it puts it aside.
        return message.encode(errors="surrogateescape")
    return json.dumps(parsed).encode()
