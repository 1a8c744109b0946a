"""The status of a family: a pure function of its record, which has the field `parts` (store/families.py). No I/O."""

from typing import Literal, NamedTuple, get_args

from flask_longtask.record import Parts, Record
from flask_longtask.status.sentences import PENDING, UNSENT, short_name

_Phase = Literal["waiting", "running", "succeeded", "failed", "cancelled"]

#: The phases of parts, in the order of the status object.
PHASES: tuple[_Phase, ...] = get_args(_Phase)

#: The state of a family that has ended.
_ENDS = frozenset({"SUCCESS", "FAILURE", "REVOKED"})


class Family(NamedTuple):
    """A family, as its record counts it."""

    counts: dict[str, int]
    #: SUCCESS, FAILURE or REVOKED; None while it is open.
    end: str | None
    #: Thousandths of a part that are done, of all parts.
    share: int
    fields: Parts

    @classmethod
    def of(cls, record: Record) -> "Family | None":
        """Return the family that a record stands for, or None."""
        fields = record.get("parts")
        if fields is None:
            return None
        total = max(1, fields.get("total", 0))
        counts = {"total": total}
        counts |= {phase: fields.get(phase, 0) for phase in PHASES}
        share = fields.get("final", fields.get("share", 0))
        end = fields.get("state")
        return cls(counts, end if end in _ENDS else None, min(share, 1000 * total), fields)

    @property
    def total(self) -> int:
        return self.counts["total"]

    @property
    def current(self) -> float:
        """How many parts are done; of a part that runs, the share that is done."""
        return self.total if self.end == "SUCCESS" else self.share / 1000

    @property
    def name(self) -> str | None:
        """The name of all of its tasks, or its kind if their names differ."""
        return self.fields.get("task")

    @property
    def state(self) -> str:
        return self.end or ("PROGRESS" if self.fields.get("started") else "PENDING")

    def sentence(self, waiting: str, is_deserted: bool) -> str:
        """Return what the parts do.

        `waiting` is the sentence of a part that waits: "Pending...", or the reason. `is_deserted` says that no worker
        is alive, so that no part runs, whatever is on record.
        """
        done, running = self.counts["succeeded"], 0 if is_deserted else self.counts["running"]
        if self.end == "FAILURE":
            return self._failure()
        if self.end == "REVOKED":
            return f"Cancelled: {self._done(done)}"
        if self.state == "PENDING":
            return waiting
        if running and self._is_chain:
            latest = short_name(self.fields.get("latest"))
            step = f"Step {min(done + 1, self.total):,} of {self.total:,}"
            return f"{step}: {latest}" if latest else step
        if running:
            return f"{self._done(done)}, {running:,} running"
        reason = waiting.removeprefix("Waiting: ")
        return self._done(done) + (
            f" ({reason[0].lower()}{reason[1:]})" if reason != PENDING else ""
        )

    def _done(self, done: int) -> str:
        return f"{done:,} of {self.total:,} {'steps ' if self._is_chain else ''}done"

    @property
    def _is_chain(self) -> bool:
        # One with children is no chain of steps any more.
        return self.fields.get("kind") == "chain" and self.fields.get("steps") == self.total

    def _failure(self) -> str:
        culprit = self.fields.get("culprit")
        if culprit is None:
            return "A part has failed"
        part = f"{'Step' if self._is_chain else 'Part'} {culprit.get('number') or 1:,} of {self.total:,}"
        if name := short_name(culprit.get("task")):
            part += f", {name},"
        if culprit.get("phase") == "cancelled":
            return f"{part} was cancelled"
        if culprit.get("state") == "IGNORED":
            return f"{part} was ignored"
        error = UNSENT if culprit.get("unsent") else culprit.get("error")
        return f"{part} failed" + (f": {error}" if error else "")
