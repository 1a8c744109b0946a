"""The database of the examples: SQLite in `instance/`, or whatever DATABASE_URL names.

Tables live beside the routes that use them. A transaction that both reads and writes should write first:
SQLite refuses, at once, to let one write that began by reading when another has written in between.
"""

import sqlite3
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, current_app, has_request_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, Dialect, Engine, TypeDecorator, event
from sqlalchemy.exc import OperationalError, TimeoutError
from sqlalchemy.orm import DeclarativeBase, registry
from sqlalchemy.schema import CreateIndex, CreateTable
from werkzeug.exceptions import ServiceUnavailable

from examples import sqlite
from flask_longtask import problem
from flask_longtask.web.problems import RETRY_AFTER

#: Seconds that PostgreSQL may take to let somebody in, and over one statement of a request.
CONNECT_TIMEOUT = 2
QUERY_TIMEOUT = 2


class UTCTime(TypeDecorator[datetime]):
    """A moment. SQLite has no time zones, and PostgreSQL gives every moment in the server's own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


class Model(DeclarativeBase):
    """The base of every table."""

    registry = registry(type_annotation_map={datetime: UTCTime})


# Without expire_on_commit=False the first look at an object after a commit would begin a read again.
db = SQLAlchemy(model_class=Model, session_options={"expire_on_commit": False})


def init_app(app: Flask) -> None:
    """Bind the database to the app, and make the tables that are not there yet."""
    db.init_app(app)
    app.register_error_handler(OperationalError, _outage)
    app.register_error_handler(TimeoutError, _outage)  # every connection is in use
    with app.app_context():
        # Not `db.create_all()`: web and worker start at the same moment, and it looks before it makes. Each in
        # a transaction of its own, which then never writes after it has read.
        for table in db.metadata.sorted_tables:
            _make(CreateTable(table, if_not_exists=True))
            for index in table.indexes:
                _make(CreateIndex(index, if_not_exists=True))
        # A worker's children are forked from here, and a connection must not be carried across.
        db.engine.dispose()


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
    elif dialect.driver == "psycopg":  # which waits as gevent wants it by itself
        options.setdefault("connect_timeout", CONNECT_TIMEOUT)
        if has_request_context():  # a task may take its time
            limits = {"lock_timeout": sqlite.REQUEST_WAITS, "statement_timeout": QUERY_TIMEOUT}
            words = " ".join(f"-c {name}={limit:g}s" for name, limit in limits.items())
            options.setdefault("options", words)


@event.listens_for(Engine, "connect")
def _set_up_sqlite(connection: Any, record: Any) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    # Python's driver would begin a transaction only before the first INSERT, UPDATE or DELETE: reads would
    # not see one state of the database, and a SAVEPOINT would be a transaction of its own.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")  # readers and the writer do not wait for each other
    cursor.execute("PRAGMA synchronous = NORMAL")  # safe with WAL
    cursor.execute("PRAGMA foreign_keys = ON")
    # Debian's SQLite overwrites whatever is deleted, which on a full disk takes the room that there is not.
    cursor.execute("PRAGMA secure_delete = FAST")
    cursor.close()


@event.listens_for(Engine, "begin")
def _begin(connection: Any) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")
