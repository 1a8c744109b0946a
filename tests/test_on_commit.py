"""Actions that wait for a transaction are called once it has committed, and only then."""

import pytest
from kombu.exceptions import OperationalError
from sqlalchemy import Engine, create_engine, event, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)

import examples.database  # noqa: F401  # sets SQLite up for transactions and savepoints, on every engine
from flask_longtask import NotQueued
from flask_longtask.task_parts.on_commit import on_commit


class Model(DeclarativeBase):
    pass


class Row(Model):
    __tablename__ = "rows"
    name: Mapped[str] = mapped_column(primary_key=True)


@pytest.fixture
def engine(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/rows.db")
    Model.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine):
    with Session(engine) as session:
        yield session


@pytest.fixture
def done():
    """The results of the actions so far, in order."""
    return []


def names(engine: Engine) -> list[str]:
    """The names that another session can read."""
    with Session(engine) as other:
        return list(other.scalars(select(Row.name).order_by(Row.name)))


def test_it_happens_once_the_row_can_be_read_by_others(session, engine, done):
    session.add(Row(name="ann"))
    on_commit(session, lambda: done.append(names(engine)))
    session.flush()
    assert done == []

    session.commit()

    assert done == [["ann"]]
    session.add(Row(name="bob"))
    session.commit()
    assert done == [["ann"]]


def test_it_never_happens_after_a_rollback(session, done):
    session.add(Row(name="ann"))
    on_commit(session, lambda: done.append("ann"))
    session.rollback()
    session.add(Row(name="bob"))
    session.commit()
    assert done == []


def test_it_never_happens_when_the_session_is_closed_without_a_commit(session, done):
    session.add(Row(name="ann"))
    on_commit(session, lambda: done.append("ann"))
    session.close()
    session.commit()
    assert done == []


def test_it_never_happens_when_the_commit_itself_fails(session, engine, done):
    session.add(Row(name="ann"))
    session.commit()
    session.expunge_all()
    session.add(Row(name="ann"))
    on_commit(session, lambda: done.append("ann"))
    with pytest.raises(IntegrityError):
        session.commit()
    session.rollback()
    session.commit()
    assert done == []


def test_a_rollback_counts_even_before_the_first_statement(session, done):
    on_commit(session, lambda: done.append("early"))
    session.rollback()
    session.commit()
    assert done == []

    on_commit(session, lambda: done.append("early"))
    session.commit()
    assert done == ["early"]


def test_a_savepoint_that_is_rolled_back_takes_only_its_own_with_it(session, engine, done):
    session.add(Row(name="ann"))
    on_commit(session, lambda: done.append("ann"))
    savepoint = session.begin_nested()
    session.add(Row(name="bob"))
    on_commit(session, lambda: done.append("bob"))
    savepoint.rollback()
    on_commit(session, lambda: done.append("cid"))
    session.commit()
    assert done == ["ann", "cid"]
    assert names(engine) == ["ann"]


def test_a_released_savepoint_still_depends_on_the_transaction(session, done):
    with session.begin_nested():
        session.add(Row(name="ann"))
        on_commit(session, lambda: done.append("ann"))
    assert done == []
    session.rollback()
    session.commit()
    assert done == []


def test_savepoints_in_savepoints(session, engine, done):
    session.add(Row(name="ann"))
    on_commit(session, lambda: done.append("ann"))
    with session.begin_nested() as outer:
        with session.begin_nested():
            session.add(Row(name="bob"))
            on_commit(session, lambda: done.append("bob"))
        with session.begin_nested() as lost:
            session.add(Row(name="cid"))
            session.flush()
            on_commit(session, lambda: done.append("cid"))
            lost.rollback()
        session.add(Row(name="dan"))
        on_commit(session, lambda: done.append("dan"))
        assert outer.is_active
    assert done == []
    session.commit()
    assert done == ["ann", "bob", "dan"]
    assert names(engine) == ["ann", "bob", "dan"]


def test_a_rolled_back_savepoint_takes_what_was_released_inside_it(session, done):
    outer = session.begin_nested()
    with session.begin_nested():
        on_commit(session, lambda: done.append("inner"))
    outer.rollback()
    session.commit()
    assert done == []


def test_a_commit_releases_open_savepoints(session, done):
    session.begin_nested()
    session.begin_nested()
    on_commit(session, lambda: done.append("inner"))
    session.commit()
    assert done == ["inner"]


def test_it_may_be_asked_for_in_the_middle_of_a_flush(session, done):
    @event.listens_for(session, "after_flush")
    def after_flush(session, context):
        on_commit(session, lambda: done.append("flushed"))

    with session.begin_nested():
        session.add(Row(name="ann"))
    assert done == []
    session.commit()
    assert done == ["flushed"]


def test_a_savepoint_in_the_middle_of_a_flush(session, done):
    @event.listens_for(session, "after_flush")
    def after_flush(session, context):
        with session.begin_nested():
            on_commit(session, lambda: done.append("flushed"))

    session.add(Row(name="ann"))
    session.commit()
    assert done == ["flushed"]


def test_nothing_is_kept_of_what_was_rolled_back(session):
    on_commit(session, lambda: None)
    session.begin_nested()
    on_commit(session, lambda: None)
    session.rollback()
    session.rollback()
    assert [waiting.actions for waiting in session.info.values()] == [{}]


def test_two_sessions_know_nothing_of_each_other(engine, done):
    with Session(engine) as first, Session(engine) as second:
        on_commit(first, lambda: done.append("first"))
        on_commit(second, lambda: done.append("second"))
        second.commit()
        assert done == ["second"]
        first.rollback()
    assert done == ["second"]


def test_a_transaction_of_a_with_statement(engine, done):
    with Session(engine) as session, session.begin():
        session.add(Row(name="ann"))
        on_commit(session, lambda: done.append("ann"))
        assert done == []
    assert done == ["ann"]


def test_a_scoped_session(engine, done):
    scoped = scoped_session(sessionmaker(engine))
    scoped.add(Row(name="ann"))
    on_commit(scoped, lambda: done.append("ann"))
    scoped.commit()
    assert done == ["ann"]
    scoped.remove()


def test_the_connection_is_free_again_by_then(session, engine, done):
    session.add(Row(name="ann"))
    on_commit(session, lambda: done.append(engine.pool.checkedout()))
    session.commit()
    assert done == [0]


def test_one_that_fails_keeps_the_others_from_nothing_and_comes_out_of_commit(
    session, engine, done, caplog
):
    def fail(name):
        raise ValueError(name)

    session.add(Row(name="ann"))
    on_commit(session, lambda: fail("first"))
    on_commit(session, lambda: done.append("between"))
    on_commit(session, lambda: fail("second"))
    with pytest.raises(ValueError, match="first"):
        session.commit()
    assert done == ["between"]
    assert "second" in caplog.text
    assert names(engine) == ["ann"]

    # The session goes on as after any commit.
    session.add(Row(name="bob"))
    on_commit(session, lambda: done.append("bob"))
    session.commit()
    assert done == ["between", "bob"]
    assert names(engine) == ["ann", "bob"]


def test_a_failure_at_the_end_of_a_with_statement_rolls_nothing_back(engine):
    def fail():
        raise ValueError("too late")

    def insert(session):
        with session.begin():
            session.add(Row(name="ann"))
            on_commit(session, fail)

    with Session(engine) as session:
        with pytest.raises(ValueError, match="too late"):
            insert(session)
        session.add(Row(name="bob"))
        session.commit()
    assert names(engine) == ["ann", "bob"]


def test_a_task_is_known_only_after_the_commit(app, client, redis, session):
    from app import long_task  # noqa: PLC0415  # after the fixtures have set the environment

    session.add(Row(name="ann"))
    result = long_task.apply_async_on_commit((1, 0), session=session, countdown=60)
    assert client.get(f"/status/{result.id}").status_code == 404
    session.commit()
    assert client.get(f"/status/{result.id}").json["status"].startswith("Scheduled for")
    client.delete(f"/status/{result.id}")


def test_a_task_that_cannot_be_queued_says_so_after_the_commit(
    app, client, session, engine, monkeypatch
):
    from app import long_task  # noqa: PLC0415

    def away(*args, **kwargs):
        raise OperationalError("Connection refused")

    session.add(Row(name="ann"))
    result = long_task.apply_async_on_commit((1, 0), session=session)
    monkeypatch.setattr(long_task, "apply_async", away)
    with pytest.raises(NotQueued, match=r"long_task could not be queued: Connection refused"):
        session.commit()
    assert names(engine) == ["ann"]
    assert client.get(f"/status/{result.id}").status_code == 404


def test_the_promise_of_a_task_that_was_not_sent_cannot_be_accepted(app, session):
    from app import long_task  # noqa: PLC0415
    from flask_longtask import accepted  # noqa: PLC0415

    result = long_task.apply_async_on_commit((1, 0), session=session)
    with app.test_request_context("/"), pytest.raises(RuntimeError, match="not been committed"):
        accepted(result)
