"""Keeps an uploaded file in the database, in pieces. csv_records.py reads its content."""

from collections.abc import Iterator
from typing import IO

from sqlalchemy import delete, insert, select

from examples.database import db
from examples.imports.csv_records import LONGEST_RECORD
from examples.imports.models import Import, Piece

#: Size of a piece in bytes. The header must be in the first piece.
PIECE = LONGEST_RECORD


def keep(file: IO[bytes], job: Import) -> None:
    """Write the file to the database, each piece in its own transaction, so that other imports can go on."""
    file.seek(0)
    for number in range(-(-job.size // PIECE)):
        piece = {"import_id": job.id, "number": number, "data": file.read(PIECE)}
        db.session.execute(insert(Piece), piece)
        db.session.commit()


def unread(job: Import) -> Iterator[bytes]:
    """Yield the unread part of the file, with one piece in memory at a time."""
    number, start = divmod(job.read, PIECE)
    while True:
        query = select(Piece.data).where(Piece.import_id == job.id, Piece.number == number)
        # On a separate connection, so that the transaction of the batch does not begin by reading.
        with db.engine.connect() as connection:
            data = connection.scalar(query)
        if data is None:
            return
        yield data[start:]
        number, start = number + 1, 0


def drop(job: Import) -> None:
    """Delete the file, in the caller's transaction."""
    db.session.execute(delete(Piece).where(Piece.import_id == job.id))
