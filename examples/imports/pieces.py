"""An uploaded file as it waits in the database, cut into pieces. What its bytes mean is for csv_records.py."""

from collections.abc import Iterator
from typing import IO

from sqlalchemy import delete, insert, select

from examples.database import db
from examples.imports.csv_records import LONGEST_RECORD
from examples.imports.models import Import, Piece

#: Bytes of one piece. The header is looked for in the first.
PIECE = LONGEST_RECORD


def keep(file: IO[bytes], job: Import) -> None:
    """Put the file into the database, one transaction a piece: other imports go on in between."""
    file.seek(0)
    for number in range(-(-job.size // PIECE)):
        piece = {"import_id": job.id, "number": number, "data": file.read(PIECE)}
        db.session.execute(insert(Piece), piece)
        db.session.commit()


def unread(job: Import) -> Iterator[bytes]:
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


def drop(job: Import) -> None:
    """Delete the file, in the caller's transaction."""
    db.session.execute(delete(Piece).where(Piece.import_id == job.id))
