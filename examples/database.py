"""The database of the examples: SQLite in `instance/`, or the database in DATABASE_URL.

Tables are defined beside the routes that use them. A transaction that reads and writes should write first: if it
begins by reading and another transaction writes meanwhile, SQLite refuses its writes at once.
"""

import sqlite3
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, current_app, has_request_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, Dialect, Engine, TypeDecorator, event, insert
from sqlalchemy.exc import OperationalError, TimeoutError
from sqlalchemy.orm import DeclarativeBase, registry
from sqlalchemy.schema import CreateIndex, CreateTable
from werkzeug.exceptions import ServiceUnavailable

from examples import sqlite
from flask_longtask import problem
from flask_longtask.web.problems import RETRY_AFTER

#: Timeouts in seconds for a connection to PostgreSQL, and for one statement of a request.
CONNECT_TIMEOUT = 2
QUERY_TIMEOUT = 2


class UTCTime(TypeDecorator[datetime]):
    """A time in UTC. SQLite has no time zones, and PostgreSQL returns times in the time zone of the server."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


class Model(DeclarativeBase):
    """The base of every table."""

    registry = registry(type_annotation_map={datetime: UTCTime})


# Without expire_on_commit=False, the first access to an object after a commit would begin a new read.
db = SQLAlchemy(model_class=Model, session_options={"expire_on_commit": False})


def init_app(app: Flask) -> None:
    """Bind the database to the app, and create missing tables."""
    db.init_app(app)
    app.register_error_handler(OperationalError, _outage)
    app.register_error_handler(TimeoutError, _outage)  # every connection is in use
    with app.app_context():
        # `db.create_all()` first checks whether a table exists, which fails if web server and worker start at the same
        # moment. Each table has its own transaction, so no transaction writes after it has read.
        for table in db.metadata.sorted_tables:
            _make(CreateTable(table, if_not_exists=True))
            for index in table.indexes:
                _make(CreateIndex(index, if_not_exists=True))
        # A worker forks its child processes from this one, and they must not share a connection.
        db.engine.dispose()


def insert_all(table: type[Model], rows: list[tuple[Any, ...]]) -> None:
    """Insert rows in the current transaction. Each has all columns of the table in order, as the driver takes them.

    For many rows: SQLAlchemy's own INSERT converts each value, which takes three times as long as SQLite takes.
    """
    if not rows:
        return
    connection = db.session.connection()
    insertion = insert(table).compile(dialect=connection.dialect)
    if connection.dialect.driver == "psycopg":
        columns = str(insertion).partition(" VALUES ")[0].removeprefix("INSERT INTO ")
        connection.exec_driver_sql(f"COPY {columns} FROM STDIN", (rows,))
    else:
        connection.exec_driver_sql(str(insertion), rows)


@event.listens_for(Engine, "do_execute")
def _copy(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Let psycopg send the rows of a COPY. Called by SQLAlchemy, which treats an error as one of its own statements."""
    if not statement.startswith("COPY "):
        return False
    [rows] = parameters
    with cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
    return True


def _make(statement: CreateTable | CreateIndex) -> None:
    with db.engine.begin() as connection:
        connection.execute(statement)


def _outage(error: OperationalError | TimeoutError) -> Response:
    current_app.logger.warning("The database cannot be used: %s", error)
    detail = "The database cannot be reached. Try again in a few seconds."
    return problem(ServiceUnavailable(detail, retry_after=RETRY_AFTER))


@event.listens_for(Engine, "do_connect")
def _wait_in_bounds(
    dialect: Dialect, record: Any, arguments: list[Any], options: dict[str, Any]
) -> None:
    if dialect.name == "sqlite":
        options |= {"factory": sqlite.Connection, "timeout": 0}
    elif dialect.driver == "psycopg":  # it cooperates with gevent by itself
        options.setdefault("connect_timeout", CONNECT_TIMEOUT)
        if has_request_context():  # tasks have no limits
            limits = {"lock_timeout": sqlite.REQUEST_WAITS, "statement_timeout": QUERY_TIMEOUT}
            words = " ".join(f"-c {name}={limit:g}s" for name, limit in limits.items())
            options.setdefault("options", words)


@event.listens_for(Engine, "connect")
def _set_up_sqlite(connection: Any, record: Any) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    # Python's driver would begin a transaction only before the first INSERT, UPDATE or DELETE. Then reads would not
    # see a consistent state of the database, and a SAVEPOINT would be a separate transaction.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")  # readers and the writer do not wait for each other
    cursor.execute("PRAGMA synchronous = NORMAL")  # safe with WAL
    cursor.execute("PRAGMA foreign_keys = ON")
    # By default, Debian's SQLite overwrites deleted data, which needs space that a full disk does not have.
    cursor.execute("PRAGMA secure_delete = FAST")
    cursor.close()


@event.listens_for(Engine, "begin")
def _begin(connection: Any) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")
