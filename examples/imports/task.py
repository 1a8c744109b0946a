"""The task that reads an uploaded file into the database."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore
from redis.exceptions import RedisError
from sqlalchemy.orm.exc import StaleDataError

from examples.database import db
from examples.imports import pieces
from examples.imports.batches import batches, store
from examples.imports.csv_records import Records, read_header
from examples.imports.models import Import
from examples.imports.removal import remove, remove_what_is_left
from examples.imports.snapshot import BY_BAR, details
from flask_longtask import Task, TaskCancelled


# Without `name`, the task would be named after this module, and messages that are already queued would find no task.
@shared_task(bind=True, name="examples.imports.import_csv")
def import_csv(self: Task, import_id: int, address: str) -> dict[str, Any]:
    """Read an uploaded file into the database. Returns `address`, where the import is shown, as the result.

    After a crash, the next attempt continues after the last batch. If the import is cancelled or fails, all its rows
    are removed from the database. The last report, with the first rows, is kept until the status expires.
    """
    with suppress(RedisError):  # the next import removes them
        remove_what_is_left()
    job = db.session.get(Import, import_id)
    db.session.commit()
    if job is None:
        raise LookupError("The uploaded file has been removed.")
    if not job.finished:
        attempt = job.attempt + 1
        try:
            _read(self, job, attempt)
        except StaleDataError as error:
            raise LookupError("The import was removed while it ran.") from error
        except Exception as error:
            # If another worker has taken over the task, the rows belong to that worker.
            if isinstance(error, TaskCancelled) or not isinstance(error, Ignore):
                remove(import_id, attempt)
            raise
    _report(self, job)
    return {**_progress(job), "result": address}


def _read(task: Task, job: Import, attempt: int) -> None:
    job.attempt = attempt
    db.session.commit()
    if job.delimiter is None:
        job.delimiter, job.columns, job.read, job.lines = read_header(next(pieces.unread(job), b""))
        job.empty = [0] * len(job.columns)
        db.session.commit()
    # Report at once, since after a crash the import continues in the middle.
    _report(task, job)
    records = Records(pieces.unread(job), job.delimiter, len(job.columns), job.read, job.lines)
    for batch in batches(records, job.read, len(job.columns)):
        store(job, batch)
        _report(task, job)
    job.read = job.size  # beyond the last record there may be blank lines
    job.finished = datetime.now(UTC)
    pieces.drop(job)
    db.session.commit()


def _report(task: Task, job: Import) -> None:
    """Report the progress, and the first rows, which static/imports.js shows under the bar."""
    meta = {**_progress(job), **details(job, BY_BAR)}
    db.session.commit()  # this has only read
    task.update_state(state="PROGRESS", meta=meta)


def _progress(job: Import) -> dict[str, Any]:
    rows = f"{job.rows:,} row" if job.rows == 1 else f"{job.rows:,} rows"
    return {"current": job.read, "total": job.size, "status": f"{rows}, {job.refused:,} refused"}
