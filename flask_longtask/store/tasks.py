"""The records of tasks (record.py): the one place where they are written, and where they are read."""

from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis

from flask_longtask.record import Record, load_record
from flask_longtask.store.batch import BatchedReads
from flask_longtask.store.clients.browsers import KEPT, LENGTH
from flask_longtask.store.clock import Clock
from flask_longtask.store.keys import Keys
from flask_longtask.store.scripts import Scripts
from flask_longtask.store.types import (
    Acceptance,
    Accepted,
    Change,
    Claim,
    Event,
    Outcome,
    Queue,
    Run,
    Stall,
    Stored,
)

#: Seconds after which a message for another broker has been sent, or never will be.
SENDING_SECONDS = 3.0

#: How many tasks with large results a process remembers.
MOST_LARGE = 10_000


class Tasks:
    """The records of tasks in one Redis. Every method is one round trip.

    Each raises redis.exceptions.RedisError when Redis does not answer.
    """

    def __init__(self, client: Redis, keys: Keys, clock: Clock, scripts: Scripts) -> None:
        self._keys = keys
        self._clock = clock
        self._scripts = scripts
        self._reads = BatchedReads[str](client.mget)
        self._ranks = BatchedReads[tuple[str, str]](self._read_ranks)
        self._client = client
        #: Tasks with a large result, which is not read with every poll.
        self._large: set[str] = set()

    def accept(
        self,
        task_id: str,
        record: Record,
        queue: Queue,
        nonce: str,
        *,
        message: bytes | str = "",
        followers: Mapping[str, Record] | None = None,
        claim: Claim | None = None,
        most_waiting: int = 0,
        not_after: float | None = None,
        sender: str | None = None,
        renews: bool = False,
        parent: str | None = None,
        arguments: str = "",
        browser: str | None = None,
    ) -> Acceptance:
        """Record a task and push its message, in one step. Without a message, record that it is about to be sent.

        `nonce` makes it safe to call this twice. `most_waiting` is how many tasks may wait in the queue; 0 means any
        number. Nothing happens after `not_after`, a time by Redis's clock. `sender` is the running task that sends this
        one: a retry of itself or the next step of its chain, for instance. It does not send a task again that has
        ended. With `renews`, followers that have ended are of an earlier start and begin anew. `parent` is the task
        whose family it joins. `arguments` is what is needed to start the task again. `browser` is the list of tasks to
        which a new task is added (clients/browsers.py).
        """
        followers = followers or {}
        task_ids = [task_id, *followers]
        outcome, now, *rest = self._scripts.run(
            "accept",
            message,
            arguments,
            keys=[self._keys.document(task_id)],
            id=task_id,
            record={
                **record,
                "queue": queue.name,
                **({"followers": [*followers]} if followers else {}),
            },
            followers=followers,
            nonce=nonce,
            lists=list(queue.lists),
            list=queue.list_number + 1,
            most_waiting=most_waiting,
            not_after=not_after,
            sender=sender,
            renews=renews,
            parent=parent,
            browser=browser and {"name": browser, "most": LENGTH, "seconds": KEPT},
            claim=claim and {"name": claim.name, "body": claim.body, "tasks": task_ids},
            sending_seconds=SENDING_SECONDS,
        )
        self._clock.set(float(now))
        accepted = Accepted(outcome.decode())
        if accepted is Accepted.ACCEPTED:
            return Acceptance(accepted, record=load_record(rest[0]), ahead=rest[1])
        return Acceptance(accepted, [task_id.decode() for task_id in rest])

    def arguments(self, task_id: str) -> bytes | None:
        """Return what is needed to start a task again; None if it is not kept."""
        text: Any = self._client.get(self._keys.arguments(task_id))
        return text or None

    def confirm(self, task_id: str, nonce: str, sent: bool) -> None:
        """Record that another broker has the message or, if `sent` is false, that this is unknown.

        In the latter case, the task never runs.
        """
        self._scripts.run("confirm", id=task_id, nonce=nonce, sent=sent)

    def cancel_all(self, documents: Mapping[str, bytes | str]) -> None:
        """Cancel tasks, given with Celery's documents of them, in one round trip. Those that have ended stay so."""
        pipeline: Any = self._client.pipeline(transaction=False)
        for task_id, document in documents.items():
            self._run_event(task_id, Event.CANCEL, document, pipeline=pipeline, fields={})
        pipeline.execute()

    def record_event(
        self,
        task_id: str,
        event: Event,
        document: bytes | str = "",
        *,
        run: Run | None = None,
        worker: str | None = None,
        most_lost: int | None = None,
        outcome: str | None = None,
        error: str | None = None,
        stall: Stall | None = None,
        **fields: Any,
    ) -> Change:
        """Record an event and Celery's document of the task, and publish the change.

        With CHECKPOINT, `document` is what the attempt keeps for the next one, as JSON.
        `run` is the attempt that writes, if one does. `worker` goes with HAND_BACK and STALL, `most_lost` with START,
        `stall` with STALL.
        `outcome` says how an attempt has ended that rests or ends, and `error` is the text of its error.
        """
        answer, now, attempt, lost, stalled, *kept = self._run_event(
            task_id,
            event,
            document,
            run=run and {name: value for name, value in run._asdict().items() if value is not None},
            worker=worker,
            most_lost=most_lost,
            outcome=outcome,
            error=error,
            **(stall._asdict() if stall else {}),
            fields={name: value for name, value in fields.items() if value is not None},
        )
        self._clock.set(float(now))
        return Change(Outcome(answer.decode()), attempt, lost, stalled, float(now), *kept)

    def _run_event(self, task_id: str, event: Event, document: bytes | str, **options: Any) -> Any:
        document_key = self._keys.document(task_id)
        return self._scripts.run(
            "record_event", document, keys=[document_key], id=task_id, event=event.value, **options
        )

    def read(self, task_ids: Sequence[str], whole: bool = False) -> list[Stored | None]:
        """Return what is stored of each task; None for a task that does not exist.

        For a task with a large result, Celery's document may be missing unless `whole` is true.
        """
        if not task_ids:
            return []
        if not whole and not self._large.isdisjoint(task_ids):
            return self._read_around_large(task_ids)
        stored = self._read(task_ids)
        for task_id, each in zip(task_ids, stored, strict=True):
            if each and each.record and "result_bytes" in each.record:
                if len(self._large) >= MOST_LARGE:
                    self._large.clear()
                self._large.add(task_id)
        return stored

    def _read_around_large(self, task_ids: Sequence[str]) -> list[Stored | None]:
        """Like `_read`, but read only the records of tasks that had a large result when they were last read."""
        large = [task_id for task_id in task_ids if task_id in self._large]
        records = self._reads.read([self._keys.record(task_id) for task_id in large])
        found: dict[str, Stored | None] = {}
        for task_id, text in zip(large, records, strict=True):
            record = load_record(text)
            if record and "result_bytes" in record:
                found[task_id] = Stored(None, record)
        others = [task_id for task_id in task_ids if task_id not in found]
        self._large.difference_update(others)
        if others:
            found |= zip(others, self._read(others), strict=True)
        return [found[task_id] for task_id in task_ids]

    def _read(self, task_ids: Sequence[str]) -> list[Stored | None]:
        keys = [key for i in task_ids for key in (self._keys.document(i), self._keys.record(i))]
        values = self._reads.read(keys)
        return [
            Stored(document, load_record(record)) if document or record else None
            for document, record in zip(values[::2], values[1::2], strict=True)
        ]

    def records(self, task_ids: Sequence[str]) -> list[Record | None]:
        """Return the record of each task; None for a task that has none."""
        if not task_ids:
            return []
        return [*map(load_record, self._reads.read([self._keys.record(i) for i in task_ids]))]

    def queues(self) -> list[str]:
        """Return the names of the queues to which tasks were sent that may still be open."""
        names: Any = self._client.hkeys(self._keys.queues)
        return sorted(name.decode() for name in names)

    def ahead(self, waiting: Sequence[tuple[str, str]]) -> Sequence[int | None]:
        """Return how many tasks are ahead of each task, given as queue and id; None for a task that does not wait."""
        return self._ranks.read(waiting) if waiting else []

    def _read_ranks(self, waiting: Sequence[tuple[str, str]]) -> Sequence[Any]:
        pipeline: Any = self._client.pipeline(transaction=False)
        for queue, task_id in waiting:
            pipeline.zrank(self._keys.waiting(queue), task_id)
        return list(pipeline.execute())
