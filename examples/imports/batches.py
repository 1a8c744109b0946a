"""Writes records to the database in batches, one transaction for each. csv_records.py reads them from the file."""

from collections.abc import Iterable, Iterator

from sqlalchemy import insert

from examples.database import db
from examples.imports.csv_records import Record
from examples.imports.models import Import, Refused, Row

#: A batch ends after this number of rows or of bytes of the file, whichever comes first.
BATCH_ROWS = 1000
BATCH_BYTES = 1024 * 1024


def batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in records:
        batch.append(record)
        if len(batch) == BATCH_ROWS or record.end - batch[0].end >= BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def store(job: Import, batch: list[Record]) -> None:
    """Write a batch, and the position in the file after it.

    Raises StaleDataError if another attempt has begun since `job` was read.
    """
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
    db.session.flush()  # first, because this fails in an attempt that is no longer the latest
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
