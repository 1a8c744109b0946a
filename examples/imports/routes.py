"""The routes that start and show an import, and serve a sample file. The task does the work."""

import re
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID, uuid4

from flask import Blueprint, Response, render_template, request, url_for
from redis.exceptions import RedisError
from werkzeug.wrappers import Response as BaseResponse

from examples.database import db
from examples.imports import pieces, sample_file
from examples.imports.models import Import
from examples.imports.removal import remove
from examples.imports.snapshot import snapshot
from examples.imports.task import import_csv
from examples.imports.upload import check_room_for, name_of, size_of, uploaded_file
from examples.limits import sample_limit
from flask_longtask import BadField, accepted, openapi, started_before, wants_html
from flask_longtask.json_text import dumps

bp = Blueprint("imports", __name__)


@bp.post("/imports")
@openapi.documented(
    openapi.starts(
        "Import a CSV file",
        required=("file",),
        media_types=("multipart/form-data",),
        file={"type": "string", "contentMediaType": "application/octet-stream"},
    )
)
def start() -> BaseResponse:
    file = uploaded_file()
    if earlier := started_before():
        return accepted(earlier)
    job = Import(
        task_id=str(uuid4()),
        name=name_of(file),
        size=size_of(file),
        submitted=datetime.now(UTC),
    )
    check_room_for(job.size)
    db.session.add(job)
    db.session.commit()
    try:
        pieces.keep(file.stream, job)
        address = url_for(".show", task_id=job.task_id)
        result = import_csv.apply_async((job.id, address), task_id=job.task_id)
    except Exception:
        remove(job.id, job.attempt)
        raise
    if result.id != job.task_id:  # the same request arrived twice at the same moment
        remove(job.id, job.attempt)
    return accepted(result)


@bp.get("/imports/<uuid:task_id>")
@openapi.documented(openapi.tells("An import as of its last batch", {"type": "object"}, "task_id"))
def show(task_id: UUID) -> Response:
    """Show an import as of its last batch, as JSON or, for a browser, as a page. Its id is the id of its task."""
    document = snapshot(str(task_id))
    if wants_html():
        response = Response(render_template("import.html", csv=document))
    else:
        response = Response(dumps(document), mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("Accept")
    return response


@bp.get("/imports/sample.csv")
@openapi.documented(
    {
        "summary": "A sample file to import",
        "parameters": [
            {
                "name": "rows",
                "in": "query",
                "schema": openapi.whole_number(1, sample_file.MOST_ROWS),
            }
        ],
        "responses": {
            "200": {"description": "CSV.", "content": {"text/csv": {"schema": {"type": "string"}}}},
            **openapi.problems(400, 429),
        },
    }
)
def sample() -> Response:
    text = request.args.get("rows", str(sample_file.ROWS))
    rows = int(text) if re.fullmatch("[0-9]{1,7}", text) else 0
    if not 1 <= rows <= sample_file.MOST_ROWS:
        raise BadField("rows", f"must be a whole number from 1 to {sample_file.MOST_ROWS:,}.")
    # A sample needs no Redis. While Redis is away, only the throttled download protects the server.
    with suppress(RedisError):
        sample_limit.count()
    response = Response(sample_file.content(rows), mimetype="text/csv")
    response.headers["Content-Disposition"] = "attachment; filename=sample.csv"
    return response
