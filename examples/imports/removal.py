"""Removes imports that failed, were cancelled, are old, or were left behind. The callers decide when."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select, update
from werkzeug.exceptions import NotFound

from examples.database import db
from examples.imports.models import Import, Row
from flask_longtask import find_task
from flask_longtask.status import ENDED_STATES

#: How long a web server may take to keep a file and start its task. After this time, a file without a task counts as
#: left behind: the web server was killed, or the disk was so full that the file could not be removed.
KEPT_WITHIN = timedelta(hours=1)

#: Number of lines whose rows are deleted in one transaction.
DELETED_AT_ONCE = 20_000


def clean_up(keep: timedelta) -> None:
    """Remove imports that are older than `keep` or were left behind. Called by a periodic task."""
    old = select(Import.id).where(Import.submitted < datetime.now(UTC) - keep)
    for import_id in db.session.scalars(old).all():
        _delete(import_id)
    remove_what_is_left()


def remove_what_is_left() -> None:
    """Remove unfinished imports whose task has ended, because it was cancelled in the queue or killed."""
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
    """Remove an import with all its data, unless it is finished or belongs to a later attempt."""
    db.session.rollback()
    unfinished = (Import.id == import_id, Import.attempt == attempt, Import.finished.is_(None))
    claim = update(Import).where(*unfinished).values(attempt=attempt + 1).returning(Import.id)
    claimed = db.session.scalar(claim)  # from now on no attempt can add rows
    db.session.commit()
    if claimed:
        _delete(import_id)


def _delete(import_id: int) -> None:
    """Delete the rows in slices, because SQLite allows one writer at a time and others must write in between."""
    last = db.session.scalar(select(func.max(Row.line)).where(Row.import_id == import_id)) or 0
    db.session.commit()
    for line in range(0, last + 1, DELETED_AT_ONCE):
        lines = Row.line.between(line, line + DELETED_AT_ONCE)
        db.session.execute(delete(Row).where(Row.import_id == import_id, lines))
        db.session.commit()
    db.session.execute(delete(Import).where(Import.id == import_id))
    # What was added meanwhile. From now on nothing can be, without the import.
    db.session.execute(delete(Row).where(Row.import_id == import_id))
    db.session.commit()
