"""Runs events in any order on a real Redis, and compares the tasks with a small model of docs/explanation/life.md."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flask_longtask.status.family import PHASES
from flask_longtask.store import Accepted, Event, Outcome, Store
from tests.store.actors import (
    LISTS,
    MOST_LOST,
    Attempt,
    Worker,
    bounded_without_time,
    cancel,
    claim_of,
    document,
    history_of,
    lose,
    number_anew,
    record_of,
    running_by,
    send,
    silence,
)

TASKS = ("a", "b", "c")
WORKERS = ("first", "second", "third")
CLAIMS = ("key 1", "key 2")

#: The order in which the parts of a family are listed.
RANKS = {"failed": 0, "running": 1, "waiting": 2, "cancelled": 3, "succeeded": 4}

#: What a cancelled task that runs on changes in its record.
CHANGED_BY_A_RUN = ("running", "resent", "lines", "reported")

REFUSED_FOR_GOOD = (Outcome.ENDED, Outcome.CANCELLED, Outcome.SUPERSEDED)


def without_run(record: dict[str, Any]) -> dict[str, Any]:
    """The fields that must not change once a task has ended. A cancelled task may run on for a while."""
    return {name: value for name, value in record.items() if name not in CHANGED_BY_A_RUN}


class Task:
    """What the record of a task must say."""

    def __init__(self, claim: str | None, earlier: list[Attempt]) -> None:
        self.claim = claim
        #: Attempts at earlier tasks with the same id.
        self.earlier = earlier
        self.is_known = True  # false once its record was deleted
        self.was_lost = False  # whether that has ever happened
        self.ended: dict[str, Any] | None = None  # its record right after its end
        self.is_cancelled = False
        self.attempts = 0
        self.lost = 0
        self.progress: str | None = None
        self.running: Attempt | None = None  # the current attempt
        self.is_sent_again = False  # by that attempt, which still runs
        self.waits = False
        self.is_part = False  # of a family
        #: Whether its worker's set of running tasks names it. It does until the worker is taken for lost.
        self.is_listed = False

    @property
    def is_open(self) -> bool:
        return self.ended is None

    @property
    def phase(self) -> str:
        """What its family must count it as."""
        if self.ended is None:
            return "waiting" if self.waits else "running"
        if self.is_cancelled:
            return "cancelled"
        return "succeeded" if self.ended.get("state") == "SUCCESS" else "failed"

    @property
    def share(self) -> int:
        """How much of it is done, in thousandths."""
        if self.phase == "succeeded":
            return 1000
        current, total, _ = json.loads(self.progress or '[0, 1, ""]')
        return int(1000 * current / total)

    def stop(self) -> None:
        self.running, self.is_sent_again, self.is_listed = None, False, False

    def is_run_by(self, attempt: Attempt) -> bool:
        return self.running is attempt

    def refusal(self) -> Outcome:
        return Outcome.CANCELLED if self.is_cancelled else Outcome.ENDED

    def takes(self, attempt: Attempt) -> bool:
        """Whether the attempt may write: it is the current one, or writes first after the record was lost."""
        assert attempt.run.attempt is not None
        is_later = attempt.run.attempt > self.attempts and attempt not in self.earlier
        is_later = is_later or not self.is_known
        return is_later or self.is_run_by(attempt)


class Life(RuleBasedStateMachine):
    def __init__(self, store: Store) -> None:
        super().__init__()
        store.client.flushdb()
        number_anew()
        self.store = store
        self.tasks: dict[str, Task] = {}
        self.nonces: dict[str, str] = {}
        self.claims: dict[str, tuple[str, str]] = {}  # task and body
        self.taken: list[Attempt] = []  # and not started
        self.started: list[Attempt] = []
        self.families: list[list[Task]] = []
        self.calls = 0
        self.lines = 0
        for name in WORKERS:
            self.worker(name).beat()
        store.client.delete(store.keys.calm)
        for task_id in TASKS[:2]:
            self.a_client_sends(task_id, None, "body", True, False)

    def worker(self, name: str) -> Worker:
        return Worker(self.store, name, lapse=60)

    # -- sending ---------------------------------------------------------------------------------

    @rule(
        task_id=st.sampled_from(TASKS),
        key=st.sampled_from([None, None, *CLAIMS]),
        body=st.sampled_from(["body", "body", "other"]),
        is_urgent=st.booleans(),
        is_later=st.booleans(),
    )
    def a_client_sends(
        self, task_id: str, key: str | None, body: str, is_urgent: bool, is_later: bool
    ) -> None:
        task = self.tasks.get(task_id)
        if task and task.is_open:
            return  # a caller who reuses the id of an open task gets two messages of it
        self.calls += 1
        nonce = f"call {self.calls}"
        expected = Accepted.ACCEPTED
        if key in self.claims and record_of(self.store, self.claims[key][0]):
            expected = Accepted.EARLIER if self.claims[key][1] == body else Accepted.REUSED
        due = {"eta": self.store.clock.now() + 3600} if is_later else {}

        acceptance = send(
            self.store,
            task_id,
            due,
            nonce=nonce,
            urgent=is_urgent,
            claim=claim_of(key, body) if key else None,
        )

        assert acceptance.outcome is expected
        if expected is Accepted.EARLIER:
            assert key is not None
            assert list(acceptance.task_ids) == [self.claims[key][0]]
        if expected is Accepted.ACCEPTED:
            self.tasks[task_id] = task = Task(key, list(self.started))
            task.waits = True
            self.nonces[task_id] = nonce
            if key:
                self.claims[key] = task_id, body

    @precondition(lambda self: self.nonces)
    @rule(data=st.data())
    def the_same_call_arrives_again(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.nonces)))
        if not self.tasks[task_id].is_known:
            return
        messages = self.messages()
        again = send(self.store, task_id, nonce=self.nonces[task_id])
        assert again.outcome is Accepted.ACCEPTED
        assert self.messages() == messages

    @rule()
    def the_open_tasks_become_a_family(self) -> None:
        some = {i: t for i, t in self.tasks.items() if t.is_open and t.is_known and not t.is_part}
        if not some:
            return
        self.store.families.register(f"family {len(self.families)}", [*some], "group")
        self.families.append([*some.values()])
        for task in some.values():
            task.is_part = True

    # -- workers ---------------------------------------------------------------------------------

    @rule(name=st.sampled_from(WORKERS))
    def a_worker_takes_a_message(self, name: str) -> None:
        attempt = self.worker(name).take()
        if attempt:
            self.taken.append(attempt)

    @rule(name=st.sampled_from(WORKERS), current=st.integers(0, 10))
    def a_worker_takes_a_task_up(self, name: str, current: int) -> None:
        """The usual way, all of it at once."""
        attempt = self.worker(name).take()
        if attempt:
            self.taken.append(attempt)
            self.start(attempt)
        if attempt in self.started:
            self.report(attempt, current)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def an_attempt_starts(self, data: st.DataObject) -> None:
        self.start(data.draw(st.sampled_from(self.taken)))

    def start(self, attempt: Attempt) -> None:
        self.taken.remove(attempt)
        task = self.tasks[attempt.task_id]
        is_held = attempt.run.tag in self.store.messages.held(attempt.run.worker)
        expected = Outcome.STORED
        if not task.is_open:
            expected = task.refusal()
        elif task.is_known and not is_held:
            expected = Outcome.SUPERSEDED
        else:
            if not task.is_known:
                task.attempts = task.lost = 0
                task.stop()
            if task.running and not task.is_sent_again:
                task.lost += 1
            task.stop()
            if not task.is_known:
                task.earlier = []  # they are forgotten with the record
            task.is_known, task.waits = True, False
            if task.lost >= MOST_LOST:
                expected = Outcome.EXHAUSTED
            else:
                task.attempts += 1
                task.running, task.is_listed, task.progress = attempt, True, None

        change = attempt.start()

        assert change.outcome is expected
        if expected is Outcome.STORED:
            assert change.attempt == task.attempts
            self.started.append(attempt)
        elif expected is Outcome.EXHAUSTED:
            end = self.store.tasks.record_event(
                attempt.task_id, Event.END, document(attempt.task_id, "FAILURE")
            )
            assert end.outcome is Outcome.STORED
            self.note_end(attempt.task_id)
        if expected is not Outcome.STORED:
            self.acknowledge(attempt)

    @precondition(lambda self: self.started)
    @rule(data=st.data())
    def a_start_is_said_again(self, data: st.DataObject) -> None:
        attempt = data.draw(st.sampled_from(self.started))
        task = self.tasks[attempt.task_id]
        if task.is_open and task.is_known and task.is_run_by(attempt):
            assert attempt.start()[:3] == (Outcome.STORED, task.attempts, task.lost)

    @precondition(lambda self: self.started)
    @rule(data=st.data(), current=st.integers(0, 10))
    def an_attempt_reports(self, data: st.DataObject, current: int) -> None:
        self.report(data.draw(st.sampled_from(self.started)), current)

    def report(self, attempt: Attempt, current: int) -> None:
        task = self.tasks[attempt.task_id]
        expected = self.expect(task, attempt)
        if expected is Outcome.STORED:
            if not task.is_run_by(attempt) or not task.is_known:
                self.take_over(task, attempt)
                task.running, task.is_listed = attempt, True
            task.progress = f'[{current}, 10, "Row {current} of 10"]'

        assert attempt.report(current).outcome is expected
        self.drop_if_refused(attempt, expected)

    @precondition(lambda self: self.started)
    @rule(data=st.data())
    def an_attempt_logs(self, data: st.DataObject) -> None:
        attempt = data.draw(st.sampled_from(self.started))
        task = self.tasks[attempt.task_id]
        before = history_of(self.store, attempt.task_id)["lines"] if task.is_known else []

        self.lines += 1
        assert attempt.log(f"line {self.lines}", before=self.lines) is task.is_known

        if not task.is_known:
            return
        if task.is_run_by(attempt):
            *lines, last = history_of(self.store, attempt.task_id)["lines"]
            assert last["text"] == f"line {self.lines}"
            assert last["attempt"] == task.attempts
            assert lines == before
        elif attempt.run.attempt != task.attempts or attempt in task.earlier:
            assert history_of(self.store, attempt.task_id)["lines"] == before

    @precondition(lambda self: self.started)
    @rule(data=st.data(), is_later=st.booleans())
    def an_attempt_tries_again(self, data: st.DataObject, is_later: bool) -> None:
        """`Task.retry`: its message is sent, and it may be started before the attempt has rested."""
        attempt = data.draw(st.sampled_from(self.started))
        task = self.tasks[attempt.task_id]
        if task.is_open and not (task.is_known and task.is_run_by(attempt)):
            return  # an older attempt would send a message of its own: see docs/explanation/life.md
        due = {"eta": self.store.clock.now() + 3600} if is_later else {}
        acceptance = attempt.send_again(due)
        if not task.is_open:
            assert acceptance.outcome is Accepted.ENDED
        else:
            assert acceptance.outcome is Accepted.ACCEPTED
            task.waits = task.is_sent_again = True
            assert acceptance.record is not None
            self.nonces[attempt.task_id] = acceptance.record["nonce"]

    @precondition(lambda self: self.started)
    @rule(data=st.data())
    def an_attempt_rests(self, data: st.DataObject) -> None:
        attempt = data.draw(st.sampled_from(self.started))
        task = self.tasks[attempt.task_id]
        if task.is_open and task.is_run_by(attempt) and not task.waits:
            return  # it has not been sent again
        self.started.remove(attempt)
        expected = self.expect(task, attempt)
        if expected is Outcome.STORED:
            self.take_over(task, attempt)
            task.stop()
        elif task.ended and self.ends_run(task, attempt):
            task.stop()

        assert attempt.rest().outcome is expected
        self.acknowledge(attempt)

    @precondition(lambda self: self.started)
    @rule(data=st.data(), is_acknowledged=st.booleans())
    def an_attempt_ends(self, data: st.DataObject, is_acknowledged: bool) -> None:
        attempt = data.draw(st.sampled_from(self.started))
        self.started.remove(attempt)
        self.end(attempt)
        if is_acknowledged:  # else its worker was cut off before
            self.acknowledge(attempt)

    # -- other events ----------------------------------------------------------------------------

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def a_client_cancels(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.tasks)))
        task = self.tasks[task_id]
        if not task.is_known:
            return  # the client gets a 404
        expected = Outcome.STORED if task.is_open else task.refusal()
        assert cancel(self.store, task_id).outcome is expected
        if task.is_open:
            task.is_cancelled = True
            self.note_end(task_id)

    @rule(name=st.sampled_from(WORKERS))
    def a_worker_is_silent(self, name: str) -> None:
        """The worker is dead or cut off. Its attempts may still write."""
        silence(self.store, name)

    @rule(name=st.sampled_from(WORKERS))
    def a_worker_has_a_heartbeat(self, name: str) -> None:
        # Make the last heartbeat recent, however slow this machine is, so that it looks like no outage.
        self.store.client.set(self.store.keys.heartbeat, self.store.clock.now())
        for lost in self.worker(name).beat():
            self.note_forgotten(lost)

    @precondition(lambda self: self.started)
    @rule(data=st.data())
    def a_busy_worker_is_lost_and_another_takes_over(self, data: st.DataObject) -> None:
        """The lost worker may only be cut off: its attempts go on and write."""
        lost = data.draw(st.sampled_from(sorted({a.run.worker for a in self.started})))
        (other, *_) = (name for name in WORKERS if name != lost)
        self.a_worker_has_a_heartbeat(other)
        silence(self.store, lost)
        self.a_worker_has_a_heartbeat(other)
        self.a_worker_takes_a_task_up(other, 0)

    @rule(name=st.sampled_from(WORKERS))
    def a_worker_is_stopped(self, name: str) -> None:
        running = [a for a in self.started if a.run.worker == name]
        self.store.messages.hand_back(name)
        for attempt in running:
            task = self.tasks[attempt.task_id]
            is_its = task.running is not None and task.running.run.worker == name
            expected = Outcome.STORED if task.is_known and is_its else Outcome.SUPERSEDED
            if not task.is_open:
                expected = task.refusal()
            change = self.store.tasks.record_event(attempt.task_id, Event.HAND_BACK, worker=name)
            assert change.outcome is expected
            if is_its and task.is_known:
                task.waits = task.waits or task.is_open
                task.stop()
        self.store.workers.forget(name)
        self.note_forgotten(name)
        self.taken = [a for a in self.taken if a.run.worker != name]
        self.started = [a for a in self.started if a.run.worker != name]

    @rule(
        data=st.data(),
        where=st.sampled_from([*LISTS, *WORKERS]),
        is_whole=st.booleans(),
    )
    def messages_are_lost(self, data: st.DataObject, where: str, is_whole: bool) -> None:
        """A queue is purged, or a queue or a worker loses one message."""
        client, keys = self.store.client, self.store.keys
        key = where if where in LISTS else keys.held(where)
        if is_whole:
            client.delete(key)
        elif where in LISTS:
            texts: Any = client.lrange(key, 0, -1)
            if texts:
                client.lrem(key, 1, data.draw(st.sampled_from(texts)))
        elif tags := sorted(self.store.messages.held(where), key=lambda tag: (len(tag), tag)):
            client.hdel(key, data.draw(st.sampled_from(tags)))

    @precondition(lambda self: any(t.is_open and t.is_known for t in self.tasks.values()))
    @rule(data=st.data())
    def a_record_is_deleted(self, data: st.DataObject) -> None:
        some = [i for i, task in self.tasks.items() if task.is_open and task.is_known]
        task_id = data.draw(st.sampled_from(sorted(some)))
        self.store.client.delete(self.store.keys.record(task_id))
        self.tasks[task_id].is_known = False
        self.tasks[task_id].was_lost = True
        self.tasks[task_id].is_part = False
        self.tasks[task_id].claim = None
        self.nonces.pop(task_id, None)

    @rule()
    def the_auditor_looks(self) -> None:
        messages = self.messages()
        with_message = {task_id for _, task_id in messages}
        missing = {
            task_id
            for task_id, task in self.tasks.items()
            if task.waits and task_id not in with_message
        }
        open_missing = {i for i in missing if self.tasks[i].is_known}

        too_few, found = self.store.messages.missing()

        # The audit finds no task that has a message. It finds all tasks that have none, unless there are as many
        # messages of ended tasks, which workers take first.
        assert set(found) == (open_missing if too_few else set())
        if not too_few:
            spare = [i for _, i in messages if not self.needs_message(i)]
            assert len(open_missing) <= len(spare) + self.spare_copies(messages)
        for task_id in found:
            assert lose(self.store, task_id).outcome is Outcome.STORED
            self.note_end(task_id)
        if too_few:
            for task_id in missing - open_missing:
                self.tasks[task_id].waits = False
            for task_id, task in self.tasks.items():
                if not task.is_known and task_id not in with_message:
                    task.is_listed = False

    # -- the model -------------------------------------------------------------------------------

    def expect(self, task: Task, attempt: Attempt) -> Outcome:
        if not task.is_open:
            return task.refusal()
        return Outcome.STORED if task.takes(attempt) else Outcome.SUPERSEDED

    def take_over(self, task: Task, attempt: Attempt) -> None:
        """Let an attempt write, perhaps after its record was lost."""
        assert attempt.run.attempt is not None
        if not task.is_known:
            task.lost, task.progress, task.earlier = 0, None, []
        if not (task.is_known and task.is_run_by(attempt)):
            task.stop()
        task.is_known, task.attempts = True, attempt.run.attempt

    def ends_run(self, task: Task, attempt: Attempt) -> bool:
        """Whether the record of a cancelled task names this attempt as still running."""
        return bool(task.running is attempt and task.attempts == attempt.run.attempt)

    def end(self, attempt: Attempt) -> None:
        task = self.tasks[attempt.task_id]
        expected = self.expect(task, attempt)
        change = attempt.end()
        assert change.outcome is expected
        if expected is Outcome.STORED:
            self.take_over(task, attempt)
            task.stop()
            self.note_end(attempt.task_id)
        elif task.ended and self.ends_run(task, attempt):
            task.stop()

    def note_end(self, task_id: str) -> None:
        task = self.tasks[task_id]
        record = record_of(self.store, task_id)
        if not task.is_cancelled:
            task.stop()
        task.waits = False
        task.ended = without_run(record)

    def note_forgotten(self, worker: str) -> None:
        for task in self.tasks.values():
            if not (task.running and task.running.run.worker == worker and task.is_listed):
                continue
            task.is_listed = False
            if not task.is_known:
                continue
            if not task.is_open or task.is_sent_again:
                task.stop()
            else:
                task.waits = True

    def drop_if_refused(self, attempt: Attempt, outcome: Outcome) -> None:
        """A refused attempt stops: its worker ends it."""
        if outcome in REFUSED_FOR_GOOD:
            self.started.remove(attempt)
            self.end(attempt)
            self.acknowledge(attempt)

    def acknowledge(self, attempt: Attempt) -> None:
        self.worker(attempt.run.worker).acknowledge(attempt)

    def needs_message(self, task_id: str) -> bool:
        task = self.tasks[task_id]
        return task.is_open and bool(task.waits or task.running or not task.is_known)

    def spare_copies(self, messages: list[tuple[str, str]]) -> int:
        """The number of messages beyond one for each task, such as those of retries whose sender still runs."""
        return sum(count - 1 for count in Counter(i for _, i in messages).values())

    def messages(self) -> list[tuple[str, str]]:
        """The tags and tasks of all messages that are in the queue or held by workers."""
        return sorted(self._messages())

    def _messages(self) -> Iterator[tuple[str, str]]:
        client: Any = self.store.client
        texts = [text for name in LISTS for text in client.lrange(name, 0, -1)]
        for name in WORKERS:
            texts += [json.loads(held)[2] for held in client.hvals(self.store.keys.held(name))]
        for text in texts:
            message = json.loads(text)
            yield message["properties"]["delivery_tag"], message["headers"]["id"]

    # -- what always holds -----------------------------------------------------------------------

    @invariant()
    def each_attempt_says_how_it_ended(self) -> None:
        for task_id, task in self.tasks.items():
            if not task.is_known:
                continue
            told = history_of(self.store, task_id)["attempts"]
            numbers = [attempt["number"] for attempt in told]
            if not task.was_lost:
                assert numbers == list(range(1, task.attempts + 1))
            assert all(attempt["outcome"] for attempt in told[:-1])
            if not told:
                continue
            last = told[-1]["outcome"]
            assert bool(last) is bool(told[-1]["finished"])
            if task.ended is not None or not task.running:
                assert last
            elif task.is_listed:
                assert last is None
            if task.is_cancelled and task.running:
                assert last == ("retry" if task.is_sent_again else "cancelled")

    @invariant()
    def the_record_says_what_has_happened(self) -> None:
        for task_id, task in self.tasks.items():
            record = record_of(self.store, task_id)
            assert bool(record) is task.is_known
            if not task.is_known:
                continue
            # An ended task does not change any more.
            if task.ended is not None:
                assert without_run(record) == task.ended
            else:
                assert "ended" not in record
                # Progress is that of the current attempt, never of an older one.
                assert record.get("progress") == task.progress
                assert record.get("lost", 0) == task.lost
                assert bool(record.get("resent")) is task.is_sent_again
            assert record.get("attempt", 0) == task.attempts
            assert bool(record.get("running")) is (task.running is not None)
            if task.running:
                assert record["worker"] == task.running.run.worker
                assert record["nonce_of_run"] == task.running.run.nonce

    @invariant()
    def no_message_is_in_two_places_or_with_a_worker_that_nobody_knows(self) -> None:
        tags = [tag for tag, _ in self.messages()]
        assert len(tags) == len(set(tags))
        known: Any = self.store.client.zrange(self.store.keys.workers, 0, -1)
        for name in WORKERS:
            assert name.encode() in known or not self.store.messages.held(name)

    @invariant()
    def what_is_open_is_kept_and_what_has_ended_is_kept_for_a_time(self) -> None:
        client, keys = self.store.client, self.store.keys
        for task_id, task in self.tasks.items():
            if task.is_known:
                assert (client.ttl(keys.record(task_id)) == -1) is task.is_open  # type: ignore[operator]
            if client.exists(keys.document(task_id)):
                assert (client.ttl(keys.document(task_id)) == -1) is task.is_open
            if task.claim and self.claims[task.claim][0] == task_id:
                assert (client.ttl(keys.claim(task.claim)) == -1) is task.is_open

    @invariant()
    def the_sets_agree_with_the_records(self) -> None:
        client, keys = self.store.client, self.store.keys
        lists: Any = {name: running_by(self.store, name) for name in WORKERS}
        for task_id, task in self.tasks.items():
            places = [
                name
                for name in (keys.waiting("q"), keys.scheduled)
                if client.zscore(name, task_id) is not None
            ]
            assert len(places) == int(task.waits)
            listed = {name for name in WORKERS if task_id in lists[name]}
            if task.is_known:
                expected = {task.running.run.worker} if task.running and task.is_listed else set()
                # If its record was lost while a worker ran it, that worker's set may name it for a while.
                assert expected <= listed if task.was_lost else expected == listed
            if task.is_known:
                of_all = (client.zscore(keys.open, task_id), client.zscore(keys.ended, task_id))
                assert (of_all[0] is not None) is (task.is_open and not task.is_part)
                assert of_all[1] is None if task.is_part else task.is_open or of_all[1] is not None
            # Every open task waits or runs. Otherwise it could never end.
            assert not (task.is_open and task.is_known) or task.waits or task.running

    @invariant()
    def a_family_counts_its_parts(self) -> None:
        for number, parts in enumerate(self.families):
            name = f"family {number}"
            counted = record_of(self.store, name)["parts"]
            if any(task.was_lost for task in parts):
                continue  # it keeps the count of before
            phases = Counter(task.phase for task in parts)
            assert {phase: counted[phase] for phase in PHASES} == {p: phases[p] for p in PHASES}
            assert counted["total"] == len(parts)
            assert counted["share"] == sum(task.share for task in parts)
            is_over = phases["failed"] or phases["cancelled"]
            end = (
                "FAILURE" if is_over else "SUCCESS" if counted["succeeded"] == len(parts) else None
            )
            assert counted.get("state") == end
            assert (self.store.client.ttl(self.store.keys.record(name)) == -1) is (end is None)
            listed: Any = self.store.families.parts(name, 0, 10)
            assert [*map(RANKS.__getitem__, sorted(phases.elements(), key=RANKS.get))] == [  # type: ignore[arg-type]
                int(place // 1e7) for _, place in listed
            ]

    # -- the end ---------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Check that each task ends and nothing is left when the workers have done all remaining work."""
        for attempt in self.started:
            self.end(attempt)
            self.acknowledge(attempt)
        for name in WORKERS:
            self.a_worker_is_stopped(name)
        last = self.worker(WORKERS[0])
        while attempt := last.take():
            self.taken.append(attempt)
            self._drain(attempt)
        self.the_auditor_looks()
        for name in WORKERS:
            self.a_worker_is_stopped(name)

        for task_id, task in self.tasks.items():
            # A task whose record and message are both gone is unknown.
            assert not task.is_open or not task.is_known, task_id
        self.store.listing.page("open", most=1000)  # drops the tasks whose records were deleted
        left = bounded_without_time(self.store.client, self.store)
        claims = {self.store.keys.claim(key) for key in CLAIMS}
        keys = self.store.keys
        kept = {
            key
            for task_id, task in self.tasks.items()
            if not task.is_known
            for key in (keys.document(task_id), keys.attempts(task_id), keys.lines(task_id))
        }
        # They remain where the record was deleted, like claims.
        for number, parts in enumerate(self.families):
            if any(task.was_lost for task in parts):  # such a family never ends
                name = f"family {number}"
                kept |= {keys.record(name), keys.parts(name), keys.open}
        assert left <= claims | kept

    def _drain(self, attempt: Attempt) -> None:
        self.taken.remove(attempt)
        task = self.tasks[attempt.task_id]
        change = attempt.start()
        if change.outcome is Outcome.STORED:
            task.is_known, task.waits, task.attempts = True, False, change.attempt
            task.running, task.is_sent_again, task.is_listed = attempt, False, True
            self.end(attempt)
        elif change.outcome is Outcome.EXHAUSTED:
            self.store.tasks.record_event(
                attempt.task_id, Event.END, document(attempt.task_id, "FAILURE")
            )
            task.is_known = True
            self.note_end(attempt.task_id)
        self.acknowledge(attempt)


@pytest.mark.parametrize("examples", [60, pytest.param(200, marks=pytest.mark.long)])
def test_no_order_of_events_breaks_the_life_of_a_task(
    store_on_empty_redis: Store, examples: int
) -> None:
    run_state_machine_as_test(
        lambda: Life(store_on_empty_redis),
        settings=settings(max_examples=examples, stateful_step_count=40, deadline=None),
    )
