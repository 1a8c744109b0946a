"""Writes records to the database in batches, one transaction for each. csv_records.py reads them from the file."""

from collections.abc import Iterable, Iterator

from msgspec.json import encode

from examples.database import db, insert_all
from examples.imports import csv_records
from examples.imports.csv_records import Block
from examples.imports.models import Import, Refused, Row

#: A batch ends with the block that brings it to this number of records or of bytes of the file. At full speed there are
#: some ten batches a second, so that what is shown is live, and no other writer waits for long.
BATCH_RECORDS = 10_000
BATCH_BYTES = 1024 * 1024


class Batch:
    """Blocks that follow each other."""

    def __init__(self, columns: int) -> None:
        self.rows: list[tuple[int, str]] = []  # the line of each, and its values in JSON
        self.refused: list[csv_records.Refused] = []
        self.empty = [0] * columns  # empty values of each column
        self.end = self.lines = 0

    def add(self, block: Block) -> None:
        # Its values become one string for each row right away, since hundreds of thousands of them in lists would keep
        # Python's garbage collector busy, half of the time.
        self.rows.extend((line, encode(values).decode()) for line, values in block.rows)
        for column, values in enumerate(zip(*(values for _, values in block.rows), strict=True)):
            self.empty[column] += values.count("")
        self.refused.extend(block.refused)
        self.end, self.lines = block.end, block.lines


def batches(blocks: Iterable[Block], begin: int, columns: int) -> Iterator[Batch]:
    """Join the blocks of a file from the position `begin` on."""
    batch = Batch(columns)
    for block in blocks:
        batch.add(block)
        records = len(batch.rows) + len(batch.refused)
        if records >= BATCH_RECORDS or batch.end - begin >= BATCH_BYTES:
            yield batch
            begin, batch = batch.end, Batch(columns)
    if batch.end:
        yield batch


def store(job: Import, batch: Batch) -> None:
    """Write a batch, and the position in the file after it.

    Raises StaleDataError if another attempt has begun since `job` was read.
    """
    job.empty = [before + now for before, now in zip(job.empty, batch.empty, strict=True)]
    job.rows += len(batch.rows)
    job.refused += len(batch.refused)
    job.read, job.lines = batch.end, batch.lines
    import_id = job.id
    db.session.flush()  # first, because this fails in an attempt that is no longer the latest
    insert_all(Row, [(import_id, *row) for row in batch.rows])
    insert_all(Refused, [(import_id, *line) for line in batch.refused])
    db.session.commit()
