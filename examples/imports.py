"""A CSV file is read into the database, and can be looked at while it is.

The file waits in the database for its worker, which may run on another machine. The worker reads it in
batches, and each batch is one transaction that also notes how far the file has been read. So there is
always one state that holds together: it is what is shown, and where another worker reads on after a crash.
"""

import io
import random
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from celery import shared_task
from celery.exceptions import Ignore
from flask import Blueprint, Response, current_app, render_template, request, url_for
from redis.exceptions import RedisError
from sqlalchemy import JSON, ForeignKey, String, delete, func, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.orm.exc import StaleDataError
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import NotFound, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.wrappers import Response as BaseResponse

from examples.csv_records import LONGEST_RECORD, Record, Records, read_header
from examples.database import Model, db
from flask_longtask import (
    BadField,
    Task,
    TaskCancelled,
    accepted,
    find_task,
    openapi,
    started_before,
    wants_html,
)
from flask_longtask.json_text import dumps
from flask_longtask.status import ENDED_STATES

#: Bytes of one piece of an uploaded file. The header is looked for in the first.
PIECE = LONGEST_RECORD

#: A batch ends after so many rows or so many bytes of the file, whichever comes first.
BATCH_ROWS = 1000
BATCH_BYTES = 1024 * 1024

#: Lines whose rows are deleted in one transaction.
DELETED_AT_ONCE = 20_000

#: How much of an import is shown.
SHOWN_ROWS = 10
SHOWN_REFUSED = 100
SHOWN_CHARACTERS = 200

#: Rows of the sample file.
SAMPLE_ROWS = 50_000
MOST_SAMPLE_ROWS = 1_000_000

#: Bytes that a request may have beside the file in it: the borders and names of its parts.
_FRAMING = 16 * 1024

#: Bytes of the request that Werkzeug may hold at a time while it looks for the file's end. It reads 64 KiB at once
#: and refuses a file when what is left of the last piece and the next are more than this together.
_PARSER_MEMORY = 256 * 1024

bp = Blueprint("imports", __name__)


class Import(Model):
    """One uploaded file: how far it has been read, and what was in it so far."""

    __tablename__ = "imports"

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(String(36), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    size: Mapped[int]
    submitted: Mapped[datetime]
    finished: Mapped[datetime | None]

    # What the header says, once it has been read.
    delimiter: Mapped[str | None] = mapped_column(String(1))
    columns: Mapped[list[str]] = mapped_column(JSON, default=list)

    # As of the last batch. The numbers of empty values stand in the order of the columns.
    read: Mapped[int] = mapped_column(default=0)
    lines: Mapped[int] = mapped_column(default=0)
    rows: Mapped[int] = mapped_column(default=0)
    refused: Mapped[int] = mapped_column(default=0)
    empty: Mapped[list[int]] = mapped_column(JSON, default=list)

    # How often a worker has taken it up. A worker that was thought dead and is not cannot write any more:
    # every UPDATE is made for the attempt that was read, and raises StaleDataError when there is a newer one.
    attempt: Mapped[int] = mapped_column(default=0)
    __mapper_args__ = {"version_id_col": attempt, "version_id_generator": False}  # noqa: RUF012


def _import_id() -> Mapped[int]:
    return mapped_column(ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True)


class Piece(Model):
    """A part of an uploaded file, kept until all of the file has been read."""

    __tablename__ = "import_pieces"

    import_id: Mapped[int] = _import_id()
    number: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes]


class Row(Model):
    """A row of a file, under the number of the line it begins in."""

    __tablename__ = "import_rows"

    import_id: Mapped[int] = _import_id()
    line: Mapped[int] = mapped_column(primary_key=True)
    values: Mapped[list[str]] = mapped_column(JSON)


class Refused(Model):
    """What could not be read as a row."""

    __tablename__ = "import_refused"

    import_id: Mapped[int] = _import_id()
    line: Mapped[int] = mapped_column(primary_key=True)
    reason: Mapped[str]
    text: Mapped[str]


# ---------------------------------------------------------------------------------------- the task


@shared_task(bind=True)
def import_csv(self: Task, import_id: int, address: str) -> dict[str, Any]:
    """Read an uploaded file into the database; `address` is where it is shown.

    Begun again after a crash it goes on after the last batch. Cancelled or failed it leaves nothing.
    """
    with suppress(RedisError):  # then the next import does it
        _remove_what_is_left()
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
                _remove(import_id, attempt)
            raise
    return {**_progress(job), "result": address}


def _read(task: Task, job: Import, attempt: int) -> None:
    job.attempt = attempt
    db.session.commit()
    if job.delimiter is None:
        job.delimiter, job.columns, job.read, job.lines = read_header(next(_pieces(job), b""))
        job.empty = [0] * len(job.columns)
        db.session.commit()
    # At once, since after a crash it goes on in the middle.
    task.update_state(state="PROGRESS", meta=_progress(job))
    records = Records(_pieces(job), job.delimiter, len(job.columns), job.read, job.lines)
    for batch in _batches(records):
        _store(job, batch)
        task.update_state(state="PROGRESS", meta=_progress(job))
    job.read = job.size  # beyond the last record there may be blank lines
    job.finished = _now()
    db.session.execute(delete(Piece).where(Piece.import_id == job.id))
    db.session.commit()


def _pieces(job: Import) -> Iterator[bytes]:
    """The file from where it has been read to, one piece in memory at a time."""
    number, start = divmod(job.read, PIECE)
    while True:
        query = select(Piece.data).where(Piece.import_id == job.id, Piece.number == number)
        # A connection of its own, so that the transaction of the batch does not begin by reading.
        with db.engine.connect() as connection:
            data = connection.scalar(query)
        if data is None:
            return
        yield data[start:]
        number, start = number + 1, 0


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in records:
        batch.append(record)
        if len(batch) == BATCH_ROWS or record.end - batch[0].end >= BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _store(job: Import, batch: list[Record]) -> None:
    rows = [record for record in batch if not record.reason]
    refused = [record for record in batch if record.reason]
    empty = list(job.empty)
    for row in rows:
        if "" in row.values:
            for column, value in enumerate(row.values):
                empty[column] += value == ""
    job.empty = empty
    job.rows += len(rows)
    job.refused += len(refused)
    job.read, job.lines = batch[-1].end, batch[-1].lines
    db.session.flush()  # first: it is what an attempt that is no longer the latest fails at
    if rows:
        values = [{"import_id": job.id, "line": r.line, "values": r.values} for r in rows]
        db.session.execute(insert(Row), values)
    if refused:
        lines = [
            {"import_id": job.id, "line": r.line, "reason": r.reason, "text": r.text}
            for r in refused
        ]
        db.session.execute(insert(Refused), lines)
    db.session.commit()


def _progress(job: Import) -> dict[str, Any]:
    rows = f"{job.rows:,} row" if job.rows == 1 else f"{job.rows:,} rows"
    return {"current": job.read, "total": job.size, "status": f"{rows}, {job.refused:,} refused"}


def _remove(import_id: int, attempt: int) -> None:
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


def clean_up(keep: timedelta) -> None:
    """Remove imports that are older than this, and what others have left behind. For a periodic task."""
    old = select(Import.id).where(Import.submitted < _now() - keep)
    for import_id in db.session.scalars(old).all():
        _delete(import_id)
    _remove_what_is_left()


def _remove_what_is_left() -> None:
    """Remove imports whose task has ended before they did: it was cancelled in the queue, or killed."""
    unfinished = select(Import.id, Import.task_id, Import.attempt).where(Import.finished.is_(None))
    for import_id, task_id, attempt in db.session.execute(unfinished).all():
        if _has_ended(task_id):
            _remove(import_id, attempt)
    db.session.commit()


def _has_ended(task_id: str) -> bool:
    try:
        return find_task(task_id)["state"] in ENDED_STATES
    except NotFound:
        return False  # not published yet, or forgotten long ago: the import goes when it is old


def _now() -> datetime:
    return datetime.now(UTC)


# -------------------------------------------------------------------------------------- the routes


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
    upload = _upload()
    if earlier := started_before():
        return accepted(earlier)
    job = Import(
        task_id=str(uuid4()),
        name=(upload.filename or "upload.csv").replace("\0", "")[:200],
        size=upload.seek(0, io.SEEK_END),
        submitted=_now(),
    )
    if job.size > current_app.config["IMPORT_MAX_BYTES"]:
        raise _too_large()
    db.session.add(job)
    db.session.commit()
    try:
        _keep(upload, job)
        address = url_for(".show", task_id=job.task_id)
        result = import_csv.apply_async((job.id, address), task_id=job.task_id)
    except Exception:
        _remove(job.id, job.attempt)
        raise
    if result.id != job.task_id:  # the same request came twice at the same instant
        _remove(job.id, job.attempt)
    return accepted(result)


def _upload() -> FileStorage:
    """The file in the request, which waits in a temporary file. More than may be sent is not read."""
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType("Send multipart/form-data with the file as its field 'file'.")
    request.max_content_length = current_app.config["IMPORT_MAX_BYTES"] + _FRAMING
    request.max_form_memory_size = _PARSER_MEMORY
    try:
        upload = request.files.get("file")
    except RequestEntityTooLarge:
        raise _too_large() from None
    if not upload or not upload.filename:  # a browser sends a nameless file when none was chosen
        raise BadField("file", "is missing: choose a CSV file.")
    return upload


def _too_large() -> RequestEntityTooLarge:
    megabytes = current_app.config["IMPORT_MAX_BYTES"] / 1_000_000
    return RequestEntityTooLarge(
        f"The file is too large: at most {megabytes:,.4g} MB can be imported."
    )


def _keep(upload: FileStorage, job: Import) -> None:
    """Put the file into the database, in pieces: other imports go on between one and the next."""
    upload.seek(0)
    for number in range(-(-job.size // PIECE)):
        piece = {"import_id": job.id, "number": number, "data": upload.read(PIECE)}
        db.session.execute(insert(Piece), piece)
        db.session.commit()


@bp.get("/imports/<uuid:task_id>")
@openapi.documented(openapi.tells("An import as of its last batch", {"type": "object"}, "task_id"))
def show(task_id: UUID) -> Response:
    """An import as of its last batch, for a browser as a page. It has the id of its task."""
    document = _document(_find(str(task_id)))
    if wants_html():
        response = Response(render_template("import.html", csv=document))
    else:
        response = Response(dumps(document), mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("Accept")
    return response


def _find(task_id: str) -> Import:
    query = select(Import).where(Import.task_id == task_id)
    job = db.session.scalar(query)
    if job and not job.finished and _has_ended(task_id):
        # Either it was finished just now, or what there is of it is about to be removed.
        db.session.rollback()
        job = db.session.scalar(query.where(Import.finished.is_not(None)))
    if job is None:
        raise NotFound("There is no such import: it was cancelled, it failed, or it never existed.")
    return job


def _document(job: Import) -> dict[str, Any]:
    # Only up to the line that `job` knows of: a batch may have been added since it was read.
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


@bp.get("/imports/sample.csv")
@openapi.documented(
    {
        "summary": "A file to try it with",
        "parameters": [
            {
                "name": "rows",
                "in": "query",
                "schema": {"type": "integer", "minimum": 1, "maximum": MOST_SAMPLE_ROWS},
            }
        ],
        "responses": {
            "200": {"description": "CSV.", "content": {"text/csv": {"schema": {"type": "string"}}}},
            **openapi.problems(400),
        },
    }
)
def sample() -> Response:
    """A file to try it with: people who do not exist, and a line in every thousand that cannot be read."""
    text = request.args.get("rows", str(SAMPLE_ROWS))
    rows = int(text) if re.fullmatch("[0-9]{1,7}", text) else 0
    if not 1 <= rows <= MOST_SAMPLE_ROWS:
        raise BadField("rows", f"must be a whole number from 1 to {MOST_SAMPLE_ROWS:,}.")
    response = Response(_sample_lines(rows), mimetype="text/csv")
    response.headers["Content-Disposition"] = "attachment; filename=sample.csv"
    return response


def _sample_lines(rows: int) -> Iterator[str]:
    chance = random.Random(rows)  # the same file each time
    yield "name,town,born,e-mail,remark\r\n"
    for number in range(1, rows + 1):
        given, family = chance.choice(_GIVEN), chance.choice(_FAMILY)
        email = f"{given}.{family}{number}@example.org".lower() if chance.random() < 0.9 else ""
        remark = chance.choice(_REMARKS)
        line = f"{given} {family},{chance.choice(_TOWNS)},{chance.randint(1930, 2010)},{email},{remark}"
        # As it happens when a value with a comma in it was not put in quotes.
        yield f"{line}, they say\r\n" if number % 1000 == 0 else f"{line}\r\n"
        if number % 1000 == 0:
            time.sleep(0)  # a million rows take seconds: let other requests go on meanwhile


_GIVEN = ["Ada", "Björn", "Chiara", "Dilek", "Emeka", "Fatou", "Grace", "Hiro", "Inés", "Jun"]
_FAMILY = ["Adeyemi", "Bianchi", "Costa", "Demir", "Eriksen", "Fischer", "Gupta", "Haas", "Ito"]
_TOWNS = ["Bergen", "Coimbra", "Dakar", "Esbjerg", "Fukuoka", "Graz", "Izmir", "Lagos", "Pune"]
_REMARKS = [
    "",
    "",
    "",
    "likes tea",
    '"tea, no sugar"',
    '"says ""hello"""',
    '"wrote:\r\nback on Monday"',
]
