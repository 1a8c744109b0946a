"""Removing an import that failed, was cancelled, is old, or was left behind. Its callers decide when."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select, update
from werkzeug.exceptions import NotFound

from examples.database import db
from examples.imports.models import Import, Row
from flask_longtask import find_task
from flask_longtask.status import ENDED_STATES

#: How long a web server may take to keep a file and to start its task. A file without a task is left behind then: the
#: web server was killed, or the disk so full that not even the file could be removed.
KEPT_WITHIN = timedelta(hours=1)

#: Lines whose rows are deleted in one transaction.
DELETED_AT_ONCE = 20_000


def clean_up(keep: timedelta) -> None:
    """Remove imports that are older than this, and what others have left behind. For a periodic task."""
    old = select(Import.id).where(Import.submitted < datetime.now(UTC) - keep)
    for import_id in db.session.scalars(old).all():
        _delete(import_id)
    remove_what_is_left()


def remove_what_is_left() -> None:
    """Remove imports whose task has ended before they did: it was cancelled in the queue, or killed."""
    columns = select(Import.id, Import.task_id, Import.submitted, Import.attempt)
    unfinished = columns.where(Import.finished.is_(None))
    for import_id, task_id, submitted, attempt in db.session.execute(unfinished).all():
        if has_ended(task_id, submitted):
            remove(import_id, attempt)
    db.session.commit()


def has_ended(task_id: str, submitted: datetime) -> bool:
    try:
        return find_task(task_id)["state"] in ENDED_STATES
    except NotFound:  # not published yet, or never
        return submitted < datetime.now(UTC) - KEPT_WITHIN


def remove(import_id: int, attempt: int) -> None:
    """Remove an import and all that belongs to it, unless it is finished or a later attempt's by now."""
    db.session.rollback()
    unfinished = (Import.id == import_id, Import.attempt == attempt, Import.finished.is_(None))
    claim = update(Import).where(*unfinished).values(attempt=attempt + 1).returning(Import.id)
    claimed = db.session.scalar(claim)  # from here on nobody adds to it
    db.session.commit()
    if claimed:
        _delete(import_id)


def _delete(import_id: int) -> None:
    """Slice by slice: others have to write in between, and SQLite lets one write at a time."""
    last = db.session.scalar(select(func.max(Row.line)).where(Row.import_id == import_id)) or 0
    db.session.commit()
    for line in range(0, last + 1, DELETED_AT_ONCE):
        lines = Row.line.between(line, line + DELETED_AT_ONCE)
        db.session.execute(delete(Row).where(Row.import_id == import_id, lines))
        db.session.commit()
    db.session.execute(delete(Import).where(Import.id == import_id))
    db.session.commit()
