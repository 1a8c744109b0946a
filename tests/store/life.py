"""Draws the life of a task: brings a task into each state on a real Redis, and applies each event to it.

`python -m tests.store.life` writes the tables into docs/explanation/life.md. A test compares them.
"""

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from redis import Redis

from flask_longtask.status import describe
from flask_longtask.status.sentences import Surroundings
from flask_longtask.store import Accepted, Event, Outcome, Store
from tests.processes import ROOT, RedisServer
from tests.store.actors import (
    EXPIRES,
    MOST_LOST,
    Attempt,
    Worker,
    cancel,
    lose,
    lose_worker,
    record_of,
    running_by,
    send,
    stall,
)

DOCUMENT = ROOT / "docs" / "explanation" / "life.md"
BEGIN, END = "<!-- begin: python -m tests.store.life -->\n", "<!-- end -->\n"

#: A cell's text for an event that cannot happen in a state.
IMPOSSIBLE = "·"


class Life:
    """One task, the attempts at it, and the workers that have made them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.older: Attempt | None = None
        self.present: Attempt | None = None
        #: Whether another broker has its message.
        self.is_elsewhere = False

    def send(self, **options: Any) -> None:
        self.is_elsewhere = options.get("elsewhere", False)
        send(self.store, "a", **options)

    def run(self) -> None:
        """Two attempts: the first worker was stopped, and the second has the task now."""
        self.send()
        self.older = Worker(self.store, "first").run()
        Worker(self.store, "first").stop()
        self.present = Worker(self.store, "second").run()
        self.present.report(3)

    @property
    def attempt(self) -> Attempt:
        assert self.present is not None
        return self.present

    @property
    def later(self) -> float:
        return self.store.clock.now() + 3600


# -- the states ------------------------------------------------------------------------------------


def follows(life: Life) -> None:
    send(life.store, "before", queue="another", followers={"a": {"task": "work"}})


def is_being_sent(life: Life) -> None:
    life.send(elsewhere=True)


def waits(life: Life) -> None:
    life.send()


def is_scheduled(life: Life) -> None:
    life.send(record={"eta": life.later})


def waits_without_record(life: Life) -> None:
    life.send()
    life.store.client.delete(life.store.keys.record("a"))


def runs(life: Life) -> None:
    life.run()


def runs_without_record(life: Life) -> None:
    life.run()
    life.store.client.delete(life.store.keys.record("a"), life.store.keys.document("a"))


def is_sent_again(life: Life) -> None:
    life.run()
    life.attempt.send_again({"eta": life.later})


def is_to_be_tried_again(life: Life) -> None:
    is_sent_again(life)
    life.attempt.rest()
    Worker(life.store, "second").acknowledge(life.attempt)


def is_handed_back(life: Life) -> None:
    life.run()
    Worker(life.store, "second").stop()


def has_lost_its_worker(life: Life) -> None:
    life.run()
    lose_worker(life.store, "second")


def has_lost_too_many(life: Life) -> None:
    has_lost_its_worker(life)
    attempt = Worker(life.store, "third").take()
    assert attempt is not None
    assert attempt.start(most_lost=1).outcome is Outcome.EXHAUSTED
    Worker(life.store, "third").acknowledge(attempt)


def is_cancelled_and_runs(life: Life) -> None:
    life.run()
    cancel(life.store, "a")


def is_cancelled(life: Life) -> None:
    life.send()
    cancel(life.store, "a")


def has_succeeded(life: Life) -> None:
    life.run()
    Worker(life.store, "second").finish(life.attempt)


def has_failed(life: Life) -> None:
    life.run()
    life.attempt.fail()
    Worker(life.store, "second").acknowledge(life.attempt)


def has_lost_its_message(life: Life) -> None:
    life.send()
    life.store.client.delete("q")
    lose(life.store, "a")


def is_unsent(life: Life) -> None:
    life.send(elsewhere=True, nonce="call")
    life.store.tasks.confirm("a", "call", sent=False)


#: The states by their names, in the order of a task's life.
STATES: Mapping[str, Callable[[Life], None]] = {
    "follows another task": follows,
    "being sent": is_being_sent,
    "waiting": waits,
    "scheduled": is_scheduled,
    "waiting, no record": waits_without_record,
    "running": runs,
    "running, no record": runs_without_record,
    "running, sent again": is_sent_again,
    "waiting for a retry": is_to_be_tried_again,
    "handed back": is_handed_back,
    "worker lost": has_lost_its_worker,
    "workers lost too often": has_lost_too_many,
    "cancelled, runs on": is_cancelled_and_runs,
    "cancelled": is_cancelled,
    "succeeded": has_succeeded,
    "failed": has_failed,
    "message lost": has_lost_its_message,
    "unsent": is_unsent,
}


def state_of(life: Life) -> str:
    """The name of the task's state, by what is stored."""
    store, client, keys = life.store, life.store.client, life.store.keys
    record = record_of(store, "a")
    document = json.loads(client.get(keys.document("a")) or "{}")  # type: ignore[arg-type]
    is_waiting = store.tasks.ahead([("q", "a")]) != [None]
    is_due_later = client.zscore(keys.scheduled, "a") is not None
    if not record:
        is_running = any(running_by(store, worker) for worker in ("first", "second"))
        return "running, no record" if is_running else "waiting, no record"
    if record.get("ended"):
        return _end_of(record, document)
    if record.get("running"):
        if record.get("resent"):
            return "running, sent again"
        return "worker lost" if is_waiting else "running"
    if client.zscore(keys.sending, "a") is not None:
        return "being sent"
    if document.get("status") == "RETRY":
        return "waiting for a retry"
    if is_due_later:
        return "scheduled"
    if is_waiting:
        return "handed back" if record.get("attempt") else "waiting"
    return "workers lost too often" if record.get("lost") else "follows another task"


def _end_of(record: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    if record.get("cancelled"):
        return "cancelled, runs on" if record.get("running") else "cancelled"
    if record.get("unsent"):
        return "unsent"
    if document["status"] == "SUCCESS":
        return "succeeded"
    return "message lost" if document["result"]["exc_type"] == "MessageLost" else "failed"


# -- what can happen -------------------------------------------------------------------------------

Answer = Accepted | Outcome | bool | None


def same_call(life: Life) -> Answer:
    nonce = record_of(life.store, "a").get("nonce")
    if not nonce:
        return None
    return send(life.store, "a", nonce=nonce, elsewhere=life.is_elsewhere).outcome


def sent_in_a_worker(life: Life) -> Answer:
    return send(life.store, "a", sender="a", elsewhere=life.is_elsewhere).outcome


def sent_by_a_client(life: Life) -> Answer:
    return send(life.store, "a", elsewhere=life.is_elsewhere).outcome


def confirmed(life: Life, sent: bool = True) -> Answer:
    nonce = record_of(life.store, "a").get("nonce")
    if not nonce:
        return None
    life.store.tasks.confirm("a", nonce, sent=sent)
    return True


def unclear(life: Life) -> Answer:
    return confirmed(life, sent=False)


def started(life: Life, most_lost: int = MOST_LOST) -> Answer:
    worker = Worker(life.store, "third")
    attempt = worker.attempt("a") if life.is_elsewhere else worker.take()
    if attempt is None or attempt.task_id != "a":
        return None
    return attempt.start(most_lost).outcome


def started_once_too_often(life: Life) -> Answer:
    return started(life, most_lost=1)


def started_again(life: Life) -> Answer:
    return life.present and life.present.start().outcome


def started_without_message(life: Life) -> Answer:
    if life.is_elsewhere:
        return None
    return Attempt(life.store, "a", "third", tag="gone").start().outcome


def reported(life: Life) -> Answer:
    return life.present and life.present.report(5).outcome


def reported_by_an_older(life: Life) -> Answer:
    return life.older and life.older.report(9).outcome


def kept_a_checkpoint(life: Life) -> Answer:
    return life.present and life.present.checkpoint().outcome


def rested(life: Life) -> Answer:
    return life.present and life.present.rest().outcome


def ended(life: Life) -> Answer:
    return life.present and life.present.end().outcome


def ended_by_an_older(life: Life) -> Answer:
    return life.older and life.older.end().outcome


def handed_back(life: Life) -> Answer:
    if life.present is None:
        return None
    life.store.messages.hand_back("second")
    return life.store.tasks.record_event("a", Event.HAND_BACK, worker="second").outcome


def stalled(life: Life) -> Answer:
    if life.present is None:
        return None
    change = stall(life.store, "a", "second")
    if change.outcome is Outcome.STORED:
        life.store.messages.hand_back("second")
    return change.outcome


def worker_lost(life: Life) -> Answer:
    if life.store.client.zscore(life.store.keys.workers, "second") is None:
        return None
    lose_worker(life.store, "second")
    return True


def message_lost(life: Life) -> Answer:
    return lose(life.store, "a").outcome


def cancelled(life: Life) -> Answer:
    return cancel(life.store, "a").outcome


Events = Mapping[str, Callable[[Life], Answer]]

SENDERS: Events = {
    "sent again by the same call": same_call,
    "sent by a worker": sent_in_a_worker,
    "sent by a client": sent_by_a_client,
    "message confirmed": confirmed,
    "message unclear": unclear,
}
ATTEMPTS: Events = {
    "started by the holder of its message": started,
    "the same, after too many lost workers": started_once_too_often,
    "started by another worker": started_without_message,
    "start repeated": started_again,
    "report": reported,
    "report of an older attempt": reported_by_an_older,
    "checkpoint": kept_a_checkpoint,
    "attempt rests": rested,
    "end": ended,
    "end of an older attempt": ended_by_an_older,
}
OTHERS: Events = {
    "cancel": cancelled,
    "worker hands back": handed_back,
    "worker lost": worker_lost,
    "stall": stalled,
    "message lost": message_lost,
}

#: Outcomes that need no word.
_DONE = (Accepted.ACCEPTED, Outcome.STORED, True)


def outcome(store: Store, state: str, event: Callable[[Life], Answer]) -> str:
    """The outcome of an event in a state, and the state after it if that is another one."""
    life = _life(store, state)
    answer = event(life)
    if answer is None:
        return IMPOSSIBLE
    after = state_of(life)
    words = [] if answer in _DONE else [f"*{answer.value}*"]  # type: ignore[union-attr]
    words += [] if after == state else [f"→ {after}"]
    return " ".join(words) or "stays"


def shown(store: Store, state: str) -> Iterator[str]:
    """What a client sees of a task in a state, and how long the task is kept."""
    life = _life(store, state)
    (stored,) = store.tasks.read(["a"])
    if stored is None:
        yield from ("404", "", "")
        return
    # The workers that serve the queue, except a lost one.
    workers = frozenset(name for name in ("first", "second") if state != "worker lost")
    (ahead,) = store.tasks.ahead([("q", "a")])
    around = Surroundings(store.clock.now(), workers, frozenset({"q", "another"}), ahead)
    document = json.loads(stored.document or b"{}")
    status = describe("a", document, stored.record or {}, around)
    yield status["state"]
    yield re.sub(r"\d{4}-[-:T\d]+Z", "(time)", status["status"])
    ttls = {
        life.store.client.ttl(key) for key in (store.keys.record("a"), store.keys.document("a"))
    }
    kept = {ttl > 0 for ttl in ttls if ttl != -2}  # type: ignore[operator]
    assert len(kept) == 1
    yield "for `result_expires`" if kept.pop() else "until it ends"
    yield of_its_family(life, around)


def of_its_family(life: Life, around: Surroundings) -> str:
    """The state and the sentence of a family of this task and another, which waits."""
    send(life.store, "b", queue="another")
    try:
        _, record = life.store.families.register("family", ["a", "b"], "group")
    except LookupError:
        return IMPOSSIBLE
    status = describe("family", {}, record, around)
    return f"{status['state']}: {status['status']}"


def _life(store: Store, state: str) -> Life:
    store.client.flushdb()
    life = Life(store)
    STATES[state](life)
    now = state_of(life)
    assert now == state, f"A task that should be {state!r} is {now!r}."
    return life


def draw(client: Redis) -> str:
    """The tables, in Markdown. Deletes everything in the database of this client."""
    store = Store(client, expires=EXPIRES)
    rows = [[state, *shown(store, state)] for state in STATES]
    parts = [
        "### What a client sees\n",
        _table(["state", "`state`", "`status`", "kept", "a family of it and a waiting task"], rows),
    ]
    for title, events in (
        ("Sending", SENDERS),
        ("Attempts", ATTEMPTS),
        ("Other events", OTHERS),
    ):
        rows = [[s, *(outcome(store, s, event) for event in events.values())] for s in STATES]
        parts += [f"### {title}\n", _table(["state", *events], rows)]
    client.flushdb()
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([f"**{row[0]}**", *row[1:]] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def drawn(document: str) -> str:
    """The tables that a document contains."""
    return document.partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer("life", Path(folder))
        try:
            with Redis.from_url(server.url()) as client:
                tables = draw(client)
        finally:
            server.stop()
    text = DOCUMENT.read_text()
    DOCUMENT.write_text(text.replace(BEGIN + drawn(text) + END, BEGIN + tables + END))


if __name__ == "__main__":
    main()
