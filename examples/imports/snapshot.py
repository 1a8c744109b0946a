"""The state of an import after its last batch, which routes.py shows as JSON or as a page."""

from typing import Any

from sqlalchemy import select
from werkzeug.exceptions import NotFound

from examples.database import db
from examples.imports.models import Import, Refused, Row
from examples.imports.removal import has_ended

#: Maximum number of rows, of refused records, and of characters of each that are shown.
SHOWN_ROWS = 10
SHOWN_REFUSED = 100
SHOWN_CHARACTERS = 200


def snapshot(task_id: str) -> dict[str, Any]:
    job = _find(task_id)
    # Only up to the line in `job`, since another batch may have been added after `job` was read.
    rows = select(Row).where(Row.import_id == job.id, Row.line <= job.lines)
    refused = select(Refused).where(Refused.import_id == job.id, Refused.line <= job.lines)
    return {
        "id": job.task_id,
        "name": job.name,
        "size": job.size,
        "read": job.read,
        "submitted": job.submitted.isoformat(),
        "finished": job.finished and job.finished.isoformat(),
        "rows": job.rows,
        "refused": job.refused,
        "columns": [
            {"name": name, "empty": empty}
            for name, empty in zip(job.columns, job.empty, strict=True)
        ],
        "first_rows": [
            {"line": row.line, "values": [value[:SHOWN_CHARACTERS] for value in row.values]}
            for row in db.session.scalars(rows.order_by(Row.line).limit(SHOWN_ROWS))
        ],
        "refused_lines": [
            {"line": line.line, "reason": line.reason, "text": line.text[:SHOWN_CHARACTERS]}
            for line in db.session.scalars(refused.order_by(Refused.line).limit(SHOWN_REFUSED))
        ],
    }


def _find(task_id: str) -> Import:
    query = select(Import).where(Import.task_id == task_id)
    job = db.session.scalar(query)
    if job and not job.finished and has_ended(task_id, job.submitted):
        # Either the import was finished just now, or its data is about to be removed.
        db.session.rollback()
        job = db.session.scalar(query.where(Import.finished.is_not(None)))
    if job is None:
        raise NotFound("There is no such import: it was cancelled, it failed, or it never existed.")
    return job
