"""Judges a chaos run by its evidence: what must hold whatever was broken. Pure functions; asks nobody."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.chaos.judging.evidence import Answer, Blow, Evidence
from tests.chaos.plan import FAMILIES, GRACE, KINDS, MOST_LOST
from tests.chaos.system.notebook import Entry

#: Seconds in which every request must be answered.
PROMISE = 2.0

#: Seconds after the end of all faults from which on nothing may be refused any more.
SETTLED = 15.0

#: Seconds that a worker needs to see that it must end a cancelled task, and to end it, on a busy machine.
TO_NOTICE = 3.0

#: Seconds by which a task may begin too early: the clock of Redis is read now and then, not always.
CLOCKS_DIFFER = 0.3

ANSWERS = frozenset({200, 202, 404, 409, 429, 503})

#: Faults by which a run may go on though another has its task. A worker that is only told to stop ends it before.
_HINDERING = frozenset({"kill", "behead", "freeze", "cut", "full", "kick", "lose"})

#: Seconds for which a start may be asked for again and again before it is answered. Its first task may wait already.
REPEATED = 15.0

_GONE = re.compile(r"^Its message (is gone|was not sent)|^The task before it did not finish")
_LOST = re.compile(rf"^Its worker was lost {MOST_LOST} times")


class Violation(NamedTuple):
    rule: str
    text: str
    #: Whose timeline shows it.
    task_id: str = ""


class Case(NamedTuple):
    """One task that a client was told of by a 202."""

    task_id: str
    key: str
    kind: str
    told: float
    due: float
    #: The tasks of its family that come before it.
    before: tuple[str, ...]
    starts: list[Entry]
    effects: list[Entry]
    #: Its record was deleted: nothing but an end can be asked of it.
    is_forgotten: bool


def judge(evidence: Evidence) -> list[Violation]:
    """All that was wrong, none if the bar has never lied."""
    cases = list(_cases(evidence))
    found = [violation for rule in _OF_ALL for violation in rule(evidence)]
    for case in cases:
        found += [violation for rule in _OF_EACH for violation in rule(evidence, case)]
    return found


def _cases(evidence: Evidence) -> Iterator[Case]:
    entries = defaultdict(list)
    for entry in evidence.entries:
        entries[entry.task_id].append(entry)
    forgotten = frozenset[str]().union(*(blow.forgotten for blow in evidence.blows))
    for tolds in evidence.told.values():
        told = tolds[0]
        for number, task_id in enumerate(told.task_ids):
            yield Case(
                task_id=task_id,
                key=told.key,
                kind=told.kind,
                told=told.at,
                due=told.due,
                before=told.task_ids[:number] if told.kind in FAMILIES else (),
                starts=[entry for entry in entries[task_id] if entry.what == "start"],
                effects=[entry for entry in entries[task_id] if entry.what == "effect"],
                is_forgotten=task_id in forgotten,
            )


# -- of the system, the requests and the keys ------------------------------------------------------------


def _incidents(evidence: Evidence) -> Iterator[Violation]:
    for at, text in evidence.incidents:
        yield Violation("system", f"{text} (at {at:.1f})")


def is_excused(evidence: Evidence, answer: Answer) -> bool:
    """Whether the web server was away while it was asked."""
    away = evidence.away.get(answer.web, ())
    return any(begin <= answer.received and answer.sent <= end for begin, end in away)


def _answers(evidence: Evidence) -> Iterator[Violation]:
    for answer in evidence.answers:
        asked = f"{answer.ask} {answer.about}".strip() + f" of {answer.web} at {answer.sent:.1f}"
        excused = is_excused(evidence, answer)
        if answer.complaint and not (excused and not answer.code):
            yield Violation("answer", f"{asked}: {answer.complaint}")
        elif answer.code and answer.code not in ANSWERS:
            yield Violation("answer", f"{asked}: {answer.code}")
        elif not answer.code and not excused:
            yield Violation("answer", f"{asked}: no answer after {answer.took:.1f} s")
        elif answer.code and answer.took > PROMISE and not excused:
            yield Violation("slow", f"{asked}: {answer.code} after {answer.took:.1f} s")
        if answer.code == 503 and answer.sent > evidence.calm_since + SETTLED:
            yield Violation("answer", f"{asked}: 503 though nothing is broken any more")


def _keys(evidence: Evidence) -> Iterator[Violation]:
    ran = defaultdict(set)
    for entry in evidence.entries:
        ran[entry.key].add(entry.task_id)
    forgotten = frozenset[str]().union(*(blow.forgotten for blow in evidence.blows))
    for key, tolds in evidence.told.items():
        all_told = {told.task_ids for told in tolds}
        if forgotten & {task_id for ids in all_told for task_id in ids}:
            continue  # what a key stands for is forgotten with its task
        if len(all_told) > 1:
            yield Violation("key", f"{key} stands for {len(all_told)} starts", min(all_told)[0])
        for other in ran[key].difference(*all_told):
            yield Violation("key", f"{key} has started {other}, of which nobody was told", other)


# -- of each task ----------------------------------------------------------------------------------------


def _ends(evidence: Evidence, case: Case) -> Iterator[Violation]:
    """Every 202 comes to a true end."""
    status = evidence.final(case.task_id)
    if status is None:
        return  # _exists sees to it
    if not status["finished"]:
        text = f"{case.kind} has not ended: {status['state']}, {status['status']!r}"
        yield Violation("end", text, case.task_id)
        return
    check = {"SUCCESS": _success, "FAILURE": _failure, "REVOKED": _revoked}.get(status["state"])
    if check is None:
        yield Violation("end", f"{case.kind} has ended as {status['state']}", case.task_id)
    else:
        yield from check(evidence, case)


def _success(evidence: Evidence, case: Case) -> Iterator[Violation]:
    kind, status = KINDS[case.kind], evidence.final(case.task_id)
    assert status is not None
    if kind.end != "SUCCESS":
        yield Violation("success", f"{case.kind} has succeeded", case.task_id)
    elif kind.notes:
        attempts = [effect.attempt for effect in case.effects]
        if not attempts:
            yield Violation("success", f"{case.kind} has succeeded without effect", case.task_id)
        # A family, whose id the last of a chain has, is no attempt
        elif status["attempt"] not in (None, *attempts) and not case.is_forgotten:
            text = f"attempt {status['attempt']} has succeeded, but {attempts} had the effect"
            yield Violation("success", text, case.task_id)


def _failure(evidence: Evidence, case: Case) -> Iterator[Violation]:
    kind, status = KINDS[case.kind], evidence.final(case.task_id)
    assert status is not None
    reason = status["status"]
    ended = evidence.bars.ended[case.task_id]
    own = kind.end == "FAILURE" and re.search(kind.reason, reason)
    gone = _GONE.search(reason) and any(
        blow.lost_messages and blow.begun < ended and case.told - REPEATED < blow.ended
        for blow in evidence.blows
    )
    if not (own or gone or _LOST.search(reason) or _follows(evidence, case)):
        yield Violation("failure", f"{case.kind} has failed: {reason!r}", case.task_id)


def _revoked(evidence: Evidence, case: Case) -> Iterator[Violation]:
    if case.task_id not in evidence.cancelled and not _follows(evidence, case):
        yield Violation("revoked", f"nobody has cancelled this {case.kind}", case.task_id)


def _follows(evidence: Evidence, case: Case) -> bool:
    """Whether one before it has not succeeded, so that it could not be run."""
    befores = [evidence.final(task_id) for task_id in case.before]
    return any(status is None or status["state"] != "SUCCESS" for status in befores)


def _exists(evidence: Evidence, case: Case) -> Iterator[Violation]:
    if not case.is_forgotten and (times := evidence.bars.gone.get(case.task_id)):
        text = f"{case.kind} was told not to exist, {len(times)} times, first at {times[0]:.1f}"
        yield Violation("gone", text, case.task_id)


def _bar(evidence: Evidence, case: Case) -> Iterator[Violation]:
    if case.is_forgotten:
        return
    for task_id, at, text in evidence.bars.complaints:
        if task_id == case.task_id:
            yield Violation("bar", f"{text} (at {at:.1f})", task_id)


def _attempts(evidence: Evidence, case: Case) -> Iterator[Violation]:
    """What an attempt does, it does once."""
    if case.is_forgotten:
        return
    for what, entries in (("begun", case.starts), ("effected", case.effects)):
        for attempt, times in Counter(entry.attempt for entry in entries).items():
            if times > 1:
                text = f"attempt {attempt} of {case.kind} was {what} {times} times"
                yield Violation("once", text, case.task_id)


def _late(evidence: Evidence, case: Case) -> Iterator[Violation]:
    """No effect once the end was told, but by a run that a fault had kept from noticing."""
    ended, status = evidence.bars.ended.get(case.task_id), evidence.final(case.task_id)
    if ended is None or status is None or case.is_forgotten:
        return
    for effect in case.effects:
        if effect.at <= ended:
            continue
        if status["state"] == "REVOKED":
            noticed = effect.at <= ended + GRACE + TO_NOTICE
            allowed = noticed or not effect.stoppable or _was_hindered(evidence, case, effect)
        else:
            is_older = effect.attempt < (status["attempt"] or 0)
            allowed = is_older and _was_hindered(evidence, case, effect)
        if not allowed:
            late = effect.at - ended
            text = f"attempt {effect.attempt} had its effect {late:.1f} s after {status['state']}"
            yield Violation("late", text, case.task_id)


def _was_hindered(evidence: Evidence, case: Case, effect: Entry) -> bool:
    """Whether a fault has kept this run from hearing that it does not count any more."""
    started = min((s.at for s in case.starts if s.attempt == effect.attempt), default=effect.at)
    parts = {"redis", "rabbitmq", "queue", effect.worker}

    def hinders(blow: Blow) -> bool:
        is_near = blow.part in parts and blow.kind in _HINDERING
        return is_near and blow.during(started - TO_NOTICE, effect.at)

    return any(map(hinders, evidence.blows))


def _early(_: Evidence, case: Case) -> Iterator[Violation]:
    """What is for later waits for its time, whatever the clocks say."""
    for start in case.starts:
        if start.at < case.due - CLOCKS_DIFFER:
            text = f"it has begun {case.due - start.at:.1f} s before its time"
            yield Violation("early", text, case.task_id)


_OF_ALL: tuple[Callable[[Evidence], Iterator[Violation]], ...] = (_incidents, _answers, _keys)
_OF_EACH: tuple[Callable[[Evidence, Case], Iterator[Violation]], ...] = (
    _ends,
    _exists,
    _bar,
    _attempts,
    _late,
    _early,
)
