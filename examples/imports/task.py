"""The task that reads an uploaded file into the database: what it does in which order, and when it fails."""

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
from flask_longtask import Task, TaskCancelled


# Without `name` it would be called after this module, and messages that are queued under the present name
# would find no task.
@shared_task(bind=True, name="examples.imports.import_csv")
def import_csv(self: Task, import_id: int, address: str) -> dict[str, Any]:
    """Read an uploaded file into the database; `address` is where it is shown.

    Begun again after a crash it goes on after the last batch. Cancelled or failed it leaves nothing.
    """
    with suppress(RedisError):  # then the next import does it
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
            # Stopped because another worker has taken it up: then what is there is that worker's.
            if isinstance(error, TaskCancelled) or not isinstance(error, Ignore):
                remove(import_id, attempt)
            raise
    return {**_progress(job), "result": address}


def _read(task: Task, job: Import, attempt: int) -> None:
    job.attempt = attempt
    db.session.commit()
    if job.delimiter is None:
        job.delimiter, job.columns, job.read, job.lines = read_header(next(pieces.unread(job), b""))
        job.empty = [0] * len(job.columns)
        db.session.commit()
    # At once, since after a crash it goes on in the middle.
    task.update_state(state="PROGRESS", meta=_progress(job))
    records = Records(pieces.unread(job), job.delimiter, len(job.columns), job.read, job.lines)
    for batch in batches(records):
        store(job, batch)
        task.update_state(state="PROGRESS", meta=_progress(job))
    job.read = job.size  # beyond the last record there may be blank lines
    job.finished = datetime.now(UTC)
    pieces.drop(job)
    db.session.commit()


def _progress(job: Import) -> dict[str, Any]:
    rows = f"{job.rows:,} row" if job.rows == 1 else f"{job.rows:,} rows"
    return {"current": job.read, "total": job.size, "status": f"{rows}, {job.refused:,} refused"}
