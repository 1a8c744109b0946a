"""The parts of the store that need no task: batched reads, connections to Redis, the clock."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError, RedisError, ResponseError
from redis.retry import Retry

from flask_longtask.store import Store
from flask_longtask.store.batch import BatchedReads
from flask_longtask.store.clock import Clock
from flask_longtask.store.pool import Client, Pool
from tests.processes import RedisServer, wait_until
from tests.store.actors import Attempt, record_of, send

# -- batched reads ---------------------------------------------------------------------------------


class Interrupted(BaseException):
    """Ends one request and no other. Like gevent.Timeout, it is not an Exception."""


class Reader:
    """A read that waits until it may go. `fail` lists the errors that the next reads raise."""

    def __init__(self) -> None:
        self.reads: list[list[int]] = []
        self.fail: list[BaseException] = []
        self.may_go = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.reads.append(list(items))
        assert self.may_go.wait(10)
        if self.fail:
            raise self.fail.pop(0)
        return [item * 10 for item in items]


class Asking(threading.Thread):
    """A caller that reads some items, and the outcome."""

    def __init__(self, batched: BatchedReads[int], *items: int) -> None:
        super().__init__()
        self.outcome: Any = None
        self._ask = lambda: batched.read(items)
        self.start()

    def run(self) -> None:
        try:
            self.outcome = list(self._ask())
        except BaseException as error:  # the outcome that the test checks
            self.outcome = error


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def batched(reader: Reader) -> BatchedReads[int]:
    return BatchedReads(reader)


def ask_during_a_read(batched: BatchedReads[int], reader: Reader, *numbers: int) -> list[Asking]:
    """Start the first read alone, and the other ones while it is under way."""
    asking = [Asking(batched, 1)]
    wait_until(lambda: reader.reads)
    for number in numbers:
        asking.append(Asking(batched, number, -number))
    # All have asked when the open batch has all their items.
    wait_until(lambda: len(batched._open.items if batched._open else ()) == 2 * len(numbers))
    return asking


def test_who_asks_during_a_read_shares_the_next_one(
    batched: BatchedReads[int], reader: Reader
) -> None:
    asking = ask_during_a_read(batched, reader, 2, 3, 4)
    reader.may_go.set()
    for one in asking:
        one.join()

    assert [one.outcome for one in asking] == [[10], [20, -20], [30, -30], [40, -40]]
    assert len(reader.reads) == 2


def test_an_interrupted_reader_is_alone_with_its_exception(
    batched: BatchedReads[int], reader: Reader
) -> None:
    # Given three callers that share a read; the one that reads for them is interrupted
    asking = ask_during_a_read(batched, reader, 2, 3, 4)
    first, *sharing = asking
    interrupted = Interrupted()
    reader.fail = [interrupted, interrupted]
    reader.may_go.set()
    for one in asking:
        one.join()

    # Then only that caller gets the exception, and the others get their values.
    assert first.outcome is interrupted
    assert [one.outcome for one in sharing].count(interrupted) == 1
    others = [one.outcome for one in sharing if one.outcome is not interrupted]
    assert len(others) == 2
    assert all(outcome[0] == -outcome[1] for outcome in others)


def test_a_value_error_of_one_reader_is_raised_in_its_call_only(
    batched: BatchedReads[int], reader: Reader
) -> None:
    asking = ask_during_a_read(batched, reader, 2, 3)
    reader.fail = [ValueError(), ValueError()]
    reader.may_go.set()
    for one in asking:
        one.join()

    assert [isinstance(one.outcome, ValueError) for one in asking].count(True) == 2


def test_an_outage_is_everybodys(batched: BatchedReads[int], reader: Reader) -> None:
    # Given a Redis that does not answer until a time limit is over
    asking = ask_during_a_read(batched, reader, 2, 3, 4)
    error = RedisConnectionError("away")
    reader.fail = [error]
    reader.may_go.set()
    for one in asking:
        one.join()

    # Then the callers that asked meanwhile get the error at once, and do not wait as long again.
    assert {type(one.outcome) for one in asking} == {RedisConnectionError}
    assert len(reader.reads) == 1
    assert batched.read([5]) == [50]


# -- connections -----------------------------------------------------------------------------------


@pytest.fixture
def pool(store_server: RedisServer) -> Iterator[Pool]:
    pool = Pool(
        wait=0.05,
        max_connections=2,
        host="127.0.0.1",
        port=store_server.port,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )
    yield pool
    pool.disconnect()


def test_a_connection_is_used_again(pool: Pool) -> None:
    client = Client(connection_pool=pool)
    for _ in range(5):
        assert client.ping()
    assert len(pool.idle) == 1


def test_who_finds_all_connections_in_use_waits_for_one(pool: Pool) -> None:
    connections = [pool.get_connection() for _ in range(2)]
    with pytest.raises(MaxConnectionsError):
        pool.get_connection()

    pool.wait = 10
    threading.Timer(0.05, lambda: pool.release(connections.pop())).start()
    third = pool.get_connection()

    assert isinstance(MaxConnectionsError(), RedisError)
    pool.release(third)
    pool.release(connections.pop())


def test_a_connection_that_has_died_is_replaced(pool: Pool, redis: Redis) -> None:
    client = Client(connection_pool=pool)
    name = client.client_id()
    redis.client_kill_filter(_id=name)

    assert client.ping()
    assert len(pool.idle) == 1


def test_an_answer_that_was_not_read_is_not_taken_for_that_of_the_next_command(
    pool: Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(connection_pool=pool)
    client.ping()  # connects, which sends commands of its own

    def interrupted(*args: Any, **options: Any) -> None:
        raise Interrupted

    with monkeypatch.context() as before_the_answer:
        before_the_answer.setattr(client, "parse_response", interrupted)
        with pytest.raises(Interrupted):
            client.echo("interrupted")

    assert client.echo("next") == b"next"
    assert len(pool.idle) == 1


def test_a_connection_is_kept_when_redis_answers_with_an_error(pool: Pool) -> None:
    client = Client(connection_pool=pool)
    name = client.client_id()

    with pytest.raises(ResponseError):
        client.execute_command("NO SUCH COMMAND")

    assert client.client_id() == name


def test_a_forked_process_takes_none_of_its_parents_connections(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(connection_pool=pool)
    client.ping()
    (parents,) = pool.idle
    monkeypatch.setattr(pool, "process", os.getpid() + 1)

    assert client.ping()
    assert parents not in pool.idle
    parents.disconnect()


# -- the clock -------------------------------------------------------------------------------------


class Times:
    """This host's monotonic clock and Redis's, as a test sets them."""

    def __init__(self) -> None:
        self.host = 1000.0
        self.redis = 1_700_000_000.0
        self.asked = 0
        self.fails: RedisError | None = None

    def ask(self) -> float:
        self.asked += 1
        if self.fails:
            raise self.fails
        return self.redis

    def pass_(self, seconds: float) -> None:
        self.host += seconds
        self.redis += seconds


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    times = Times()
    monkeypatch.setattr("flask_longtask.store.clock.time.monotonic", lambda: times.host)
    # The host's own time must make no difference.
    monkeypatch.setattr(time, "time", lambda: 0.0)
    return times


def test_the_clock_tells_rediss_time_and_asks_seldom(times: Times) -> None:
    clock = Clock(times.ask)
    assert not clock.is_known
    for _ in range(5):
        assert clock.now() == pytest.approx(times.redis)
        times.pass_(1)
    assert times.asked == 1
    assert clock.is_known

    times.pass_(Clock.FRESH)
    assert not clock.is_known
    assert clock.now() == pytest.approx(times.redis)
    assert times.asked == 2


def test_an_answer_of_redis_sets_the_clock(times: Times) -> None:
    clock = Clock(times.ask)
    clock.set(times.redis)
    assert clock.now() == pytest.approx(times.redis)
    assert times.asked == 0


def test_a_host_that_was_suspended_asks_again(times: Times) -> None:
    # Given an hour that this host's clock does not count (and 10 s that it does)
    clock = Clock(times.ask)
    clock.now()
    times.redis += 3600
    times.pass_(Clock.FRESH)

    assert clock.now() == pytest.approx(times.redis)


def test_a_redis_whose_time_was_set_is_followed_at_its_next_answer(times: Times) -> None:
    clock = Clock(times.ask)
    clock.now()
    times.redis -= 7200
    clock.set(times.redis)

    assert clock.now() == pytest.approx(times.redis)


def test_a_time_that_is_not_known_and_cannot_be_asked_for_is_an_error(times: Times) -> None:
    clock = Clock(times.ask)
    times.fails = RedisConnectionError("away")
    with pytest.raises(RedisConnectionError):
        clock.now()

    # A time that Redis has just returned can be used.
    clock.set(times.redis)
    assert clock.now() == pytest.approx(times.redis)


@pytest.mark.parametrize("act", [lambda s: send(s, "a"), lambda s: s.workers.look()])
def test_what_the_store_does_anyhow_sets_its_clock(
    store: Store, act: Callable[[Store], Any]
) -> None:
    assert not store.clock.is_known
    act(store)
    assert store.clock.is_known


def test_a_host_whose_clock_is_wrong_stores_rediss_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1e9)
    send(store, "a")

    (seconds, _) = store.client.time()  # type: ignore[misc]
    assert record_of(store, "a")["submitted"] == pytest.approx(seconds, abs=2)


def test_a_time_that_a_caller_gets_is_the_one_that_is_stored(store: Store) -> None:
    # Else a line could be older than the attempt that has logged it.
    for number in range(20):
        attempt = Attempt(store, f"task-{number}", "worker")
        started, reported = attempt.start().now, attempt.report().now

        record = record_of(store, attempt.task_id)
        assert (record["started"], record["reported"]) == (started, reported)
