"""The database tables of imports."""

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from examples.database import Model


class Import(Model):
    """An uploaded file, how much of it has been read, and counts of its rows."""

    __tablename__ = "imports"

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(String(36), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    size: Mapped[int]
    submitted: Mapped[datetime]
    finished: Mapped[datetime | None]

    # Known once the header has been read.
    delimiter: Mapped[str | None] = mapped_column(String(1))
    columns: Mapped[list[str]] = mapped_column(JSON, default=list)

    # As of the last batch. `empty` has the number of empty values of each column.
    read: Mapped[int] = mapped_column(default=0)
    lines: Mapped[int] = mapped_column(default=0)
    rows: Mapped[int] = mapped_column(default=0)
    refused: Mapped[int] = mapped_column(default=0)
    empty: Mapped[list[int]] = mapped_column(JSON, default=list)

    # How often a worker has started the import. A worker that was wrongly taken for dead cannot write any more: every
    # UPDATE names the attempt that was read, and raises StaleDataError if there is a newer one.
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
    """A row of a file. `line` is the line in which the row begins.

    No foreign key: PostgreSQL would look up the same import for every row, which takes longer than to write it.
    batches.py adds rows only in a transaction that has changed their import, and removal.py removes them with it.
    """

    __tablename__ = "import_rows"

    import_id: Mapped[int] = mapped_column(primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)
    values: Mapped[list[str]] = mapped_column(JSON)


class Refused(Model):
    """A record that could not be read as a row."""

    __tablename__ = "import_refused"

    import_id: Mapped[int] = _import_id()
    line: Mapped[int] = mapped_column(primary_key=True)
    reason: Mapped[str]
    text: Mapped[str]
