"""Keeps what tasks with `keep_log` log by the loggers of Celery's tasks, besides writing it to the worker's log."""

import logging
from typing import Any

from celery import current_task
from celery.app.task import Context


class _KeptLogs(logging.Handler):
    """Passes records on to the task that this thread runs, if that keeps its log."""

    def emit(self, record: logging.LogRecord) -> None:
        tracker = getattr(getattr(current_task, "request", None), "keeps_log", None)
        if tracker is None:
            return
        try:
            tracker.log(self.format(record), record.levelname)
        except Exception:  # the arguments of a record may not fit its message
            self.handleError(record)


_handler = _KeptLogs()


def keep_logs(request: Context, tracker: Any) -> None:
    """Let a tracker take what this run of a task logs from now on."""
    request.keeps_log = tracker
    # Not before a task runs: Celery configures this logger when the worker starts, unless it has a handler already.
    logging.getLogger("celery.task").addHandler(_handler)  # no handler is added twice
