"""What is known after a chaos run: values that the clients, the faults and the notebook have left, and nothing else."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.chaos.judging.bars import Bars
from tests.chaos.system.notebook import Entry


class Told(NamedTuple):
    """A start that was answered with 202."""

    at: float
    key: str
    kind: str
    task_ids: tuple[str, ...]
    #: Before this it must not begin.
    due: float = 0


class Answer(NamedTuple):
    """How a request was answered."""

    #: What was asked: "start", "poll", "look", "wait", "stream", "cancel" or "health".
    ask: str
    web: str
    sent: float
    received: float
    #: 0 where there was no answer.
    code: int
    #: Seconds that were asked for (`Prefer: wait`).
    wait: float = 0
    #: What is wrong with it.
    complaint: str = ""
    #: What it was about: the kind of task that was to be started.
    about: str = ""

    @property
    def took(self) -> float:
        return max(0, self.received - self.sent - self.wait)


class Blow(NamedTuple):
    """A fault as it was done, and what it may be blamed for."""

    begun: float
    ended: float
    part: str
    kind: str
    text: str
    #: The tasks whose records it has deleted.
    forgotten: frozenset[str] = frozenset()
    #: Whether messages may have been lost by it, of any task that was open.
    lost_messages: bool = False

    def during(self, begin: float, end: float) -> bool:
        return self.begun <= end and begin <= self.ended


@dataclass
class Evidence:
    #: By key, all that it was answered.
    told: dict[str, list[Told]] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    bars: Bars = field(default_factory=Bars)
    #: When a task was first asked to be cancelled.
    cancelled: dict[str, float] = field(default_factory=dict)
    blows: list[Blow] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    #: When a web server was away: from, and until it answered again.
    away: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    #: What was seen to be wrong with the system itself.
    incidents: list[tuple[float, str]] = field(default_factory=list)
    #: From when on nothing is broken any more.
    calm_since: float = float("inf")

    def final(self, task_id: str) -> dict[str, Any] | None:
        """What was told of a task last; None if that was that it does not exist."""
        return self.bars.last(task_id)
