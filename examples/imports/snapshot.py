"""The state of an import after its last batch: all of it for routes.py, and a part for the bar of its task."""

from typing import Any, NamedTuple

from sqlalchemy import select
from werkzeug.exceptions import NotFound

from examples.database import db
from examples.imports.models import Import, Refused, Row
from examples.imports.removal import has_ended


class Shown(NamedTuple):
    """How much is shown at most."""

    rows: int
    refused: int
    columns: int | None
    characters: int  # of a value, of a column's name and of a refused record


ON_PAGE = Shown(rows=10, refused=100, columns=None, characters=200)

#: The `meta` of a task has at most 16,000 bytes.
BY_BAR = Shown(rows=5, refused=3, columns=12, characters=40)


def snapshot(task_id: str) -> dict[str, Any]:
    return details(_find(task_id), ON_PAGE)


def details(job: Import, most: Shown) -> dict[str, Any]:
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
            {"name": name[: most.characters], "empty": empty}
            for name, empty in zip(job.columns[: most.columns], job.empty, strict=False)
        ],
        "first_rows": [
            {
                "line": row.line,
                "values": [value[: most.characters] for value in row.values[: most.columns]],
            }
            for row in db.session.scalars(rows.order_by(Row.line).limit(most.rows))
        ],
        "refused_lines": [
            {"line": line.line, "reason": line.reason, "text": line.text[: most.characters]}
            for line in db.session.scalars(refused.order_by(Refused.line).limit(most.refused))
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
