"""That the judge of a chaos run can find fault: each rule is broken once, beside a run in which none is."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.judging.bars import Sight
from tests.chaos.judging.evidence import Answer, Blow, Evidence, Told
from tests.chaos.judging.judge import judge
from tests.chaos.judging.test_bars import status
from tests.chaos.system.notebook import Entry


class Run:
    """Evidence made by hand. Times are seconds: a task is told at 1, and ends at 5."""

    def __init__(self) -> None:
        self.evidence = Evidence()

    def told(self, *task_ids: str, kind: str = "silent", key: str = "key", at: float = 1) -> None:
        told = Told(at, key, kind, task_ids)
        self.evidence.told.setdefault(key, []).append(told)

    def due(self, key: str, at: float) -> None:
        self.evidence.told[key] = [told._replace(due=at) for told in self.evidence.told[key]]

    def saw(self, task_id: str, seen: dict[str, Any] | None, at: float = 5) -> None:
        self.evidence.bars.see(task_id, Sight(at - 0.1, at, seen))

    def noted(
        self, what: str, task_id: str = "a", attempt: int = 1, at: float = 4, **more: Any
    ) -> None:
        entry = Entry(at, what, task_id, "key", attempt, "worker-1", 100)
        self.evidence.entries.append(entry._replace(**more))

    def struck(self, part: str, begun: float, ended: float, **more: Any) -> None:
        self.evidence.blows.append(Blow(begun, ended, part, "freeze", "")._replace(**more))

    def cancelled(self, task_id: str = "a", at: float = 3) -> None:
        self.evidence.cancelled[task_id] = at

    def answered(self, code: int, took: float = 0.1, at: float = 3, **more: Any) -> None:
        answer = Answer("poll", "web-1", at, at + took, code)
        self.evidence.answers.append(answer._replace(**more))

    def ran(self, kind: str = "silent", attempt: int = 1) -> None:
        """A task that was told of, ran and succeeded."""
        self.told("a", kind=kind)
        self.noted("start", attempt=attempt, at=2)
        self.noted("effect", attempt=attempt)
        self.saw("a", status("SUCCESS", 10, attempt))

    def failed(self, reason: str, kind: str = "silent") -> None:
        self.told("a", kind=kind)
        self.noted("start", at=2)
        self.saw("a", status("FAILURE", status=reason))

    def broken(self) -> list[str]:
        return [violation.rule for violation in judge(self.evidence)]


@pytest.fixture
def run() -> Run:
    return Run()


def test_a_run_in_which_all_went_well(run: Run) -> None:
    run.ran()
    run.answered(200)
    assert run.broken() == []


Damage = Callable[[Run], None]

NOT_ENDED = status(current=3)
GONE = "Its message is gone: the queue was purged or lost. It never ran."
LOST = "Its worker was lost 50 times, so it is not started again."


@pytest.mark.parametrize(
    ("rule", "damage"),
    [
        ("end", lambda run: (run.told("a"), run.saw("a", NOT_ENDED))),
        ("end", lambda run: (run.told("a"), run.saw("a", status("IGNORED")))),
        ("success", lambda run: (run.told("a"), run.saw("a", status("SUCCESS")))),
        ("success", lambda run: run.ran(kind="failing")),
        ("failure", lambda run: run.failed("It could not be queued")),
        ("failure", lambda run: run.failed(GONE)),
        ("failure", lambda run: run.failed("Its worker was lost 3 times, so it is …")),
        ("failure", lambda run: run.failed("another reason", kind="failing")),
        ("revoked", lambda run: (run.told("a"), run.saw("a", status("REVOKED")))),
        ("gone", lambda run: (run.ran(), run.saw("a", None))),
        ("bar", lambda run: (run.saw("a", status(attempt=2), at=2), run.ran())),
        ("once", lambda run: (run.ran(), run.noted("effect"))),
        ("once", lambda run: (run.ran(), run.noted("start"))),
        ("key", lambda run: (run.ran(), run.told("b"))),
        ("key", lambda run: (run.ran(), run.noted("start", "b"))),
        ("early", lambda run: (run.ran(), run.due("key", at=2.5))),
        ("slow", lambda run: run.answered(200, took=2.1)),
        ("slow", lambda run: run.answered(503, took=2.1)),
        ("slow", lambda run: run.answered(200, took=3.2, wait=1)),
        ("answer", lambda run: run.answered(500)),
        ("answer", lambda run: run.answered(0)),
        ("answer", lambda run: run.answered(200, complaint="it is no JSON")),
        ("system", lambda run: run.evidence.incidents.append((3, "worker-1 has ended by itself"))),
    ],
)
def test_a_broken_rule_is_found(run: Run, rule: str, damage: Damage) -> None:
    damage(run)
    assert run.broken() == [rule]


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: run.failed("row 4 has no name", kind="failing"),
        lambda run: run.failed(LOST),
        lambda run: (run.struck("queue", 2, 2, lost_messages=True), run.failed(GONE)),
        lambda run: (run.cancelled(), run.told("a"), run.saw("a", status("REVOKED"))),
        lambda run: run.answered(200, took=2.9, wait=1),
        lambda run: run.ran(attempt=3),
        lambda run: (run.ran(), run.due("key", at=1.9)),
        lambda run: (run.told("a"), run.told("a")),
    ],
)
def test_what_is_explained_is_none(run: Run, damage: Damage) -> None:
    damage(run)
    assert [rule for rule in run.broken() if rule != "gone"] == []


def test_a_deleted_message_explains_no_failure_that_was_told_before(run: Run) -> None:
    run.failed(GONE)
    run.struck("queue", 6, 6, lost_messages=True)
    assert run.broken() == ["failure"]


def test_a_deleted_record_explains_a_404_and_no_task_that_never_ends(run: Run) -> None:
    run.struck("queue", 2, 2, forgotten=frozenset({"a"}))
    run.told("a")
    run.saw("a", None)
    assert run.broken() == []
    run.saw("a", NOT_ENDED, at=9)
    assert run.broken() == ["end"]


def test_what_follows_a_cancelled_task_is_revoked_or_fails_and_what_comes_before_does_not(
    run: Run,
) -> None:
    run.told("a", "b", "c", kind="chain")
    run.noted("effect")
    run.saw("a", status("SUCCESS"))
    run.cancelled("b")
    run.saw("b", status("REVOKED"))
    run.saw("c", status("REVOKED"))
    assert run.broken() == []

    other = Run()
    other.told("a", "b", kind="chain")
    other.saw("a", status("REVOKED"))
    other.cancelled("b")
    other.saw("b", status("REVOKED"))
    assert other.broken() == ["revoked"]


def test_the_tasks_of_a_group_do_not_follow_each_other(run: Run) -> None:
    run.told("a", "b", kind="group")
    run.cancelled("a")
    run.saw("a", status("REVOKED"))
    run.saw("b", status("REVOKED"))
    assert run.broken() == ["revoked"]


def test_success_is_that_of_the_attempt_which_had_the_effect(run: Run) -> None:
    run.ran(attempt=1)
    run.noted("start", attempt=2)
    run.saw("a", status("SUCCESS", 10, attempt=2), at=6)
    assert "success" in run.broken()


# Effects after the end was told, which is at 5.


def test_a_family_is_no_attempt(run: Run) -> None:
    run.ran(attempt=2)
    run.saw("a", {**status("SUCCESS", 10), "attempt": None}, at=6)
    assert "success" not in run.broken()


def test_an_effect_of_the_attempt_that_has_ended_is_late(run: Run) -> None:
    run.ran()
    run.noted("effect", at=5.2)
    run.struck("worker-1", 2, 8)
    assert sorted(run.broken()) == ["late", "once"]


def test_an_effect_of_an_older_attempt_is_late_unless_a_fault_has_kept_it_from_knowing(
    run: Run,
) -> None:
    run.ran(attempt=2)
    run.noted("start", attempt=1, at=1.5)
    run.noted("effect", attempt=1, at=7)
    assert run.broken() == ["late"]
    run.struck("worker-2", 2, 6)
    assert run.broken() == ["late"]
    # Told to stop, it ends what runs before another may have it
    run.struck("worker-1", 2, 6, kind="deploy")
    assert run.broken() == ["late"]
    run.struck("worker-1", 2, 6)
    assert run.broken() == []


def test_a_cancelled_task_has_a_moment_to_stop(run: Run) -> None:
    run.told("a")
    run.cancelled()
    run.noted("start", at=2)
    run.saw("a", status("REVOKED"))
    run.noted("effect", at=6)
    assert run.broken() == []
    run.evidence.entries[-1] = run.evidence.entries[-1]._replace(at=10)
    assert run.broken() == ["late"]
    # In a pool that cannot end it, it runs on
    run.evidence.entries[-1] = run.evidence.entries[-1]._replace(stoppable=False)
    assert run.broken() == []


# Answers


def test_while_a_web_server_is_away_it_need_not_answer_and_may_not_answer_wrongly(run: Run) -> None:
    run.evidence.away["web-1"] = [(2, 4)]
    run.answered(0, took=1)
    run.answered(0, took=1, complaint="ConnectionError")
    run.answered(200, took=5)
    assert run.broken() == []
    run.answered(500)
    run.answered(200, complaint="it is no JSON")
    run.answered(0, at=6)
    run.answered(0, web="web-2")
    assert run.broken() == ["answer"] * 4


def test_once_nothing_is_broken_nothing_is_refused(run: Run) -> None:
    run.evidence.calm_since = 10
    run.answered(503, at=12)
    assert run.broken() == []
    run.answered(503, at=30)
    assert run.broken() == ["answer"]
