"""Tasks that say nothing for longer than their `stall_seconds`: the error, and its words. Watch ends them."""

import math
from typing import Any

from flask_longtask.store import Change


class TaskStalled(Exception):
    """The task was silent for longer than its `stall_seconds`, and is not tried again."""

    @classmethod
    def after(cls, seconds: float | None, change: Change) -> "TaskStalled":
        """Return the error of a task that is not started any more."""
        lost = change.lost - change.stalled
        if lost:
            return cls(
                f"It stalled {_times(change.stalled)} and lost its worker {_times(lost)}, so it is not started again."
            )
        silence = "nothing was reported" + (f" for {seconds:g} s" if seconds else "")
        return cls(f"It stalled: {silence}, {_times(change.stalled)}.")


def check_seconds(task: Any) -> None:
    """Raise ValueError if a task's `stall_seconds` is not a number of seconds."""
    seconds = task.stall_seconds
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if seconds is not None and not (is_number and 0 < seconds < math.inf):
        raise ValueError(
            f"The stall_seconds of {task.name} must be a positive number of seconds, not {seconds!r}."
        )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
