"""What an operator sees: the open and the ended tasks, the workers, and what Redis reports about itself."""

from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from flask_longtask.store import Event, Store
from flask_longtask.store.listing import Position, Which
from tests.store.actors import Attempt, Worker, cancel, document, lose, on_redis_only, send, silence


def ids(store: Store, which: Which, most: int = 50, oldest_first: bool = False) -> list[str]:
    """The ids of all tasks of a list, read in pages."""
    return [i for page in pages(store, which, most, oldest_first) for i in page]


def pages(store: Store, which: Which, most: int, oldest_first: bool = False) -> Iterator[list[str]]:
    after, more = None, True
    while more:
        page = store.listing.page(which, after, most, oldest_first=oldest_first)
        yield page.task_ids
        after, more = page.after, page.after is not None


def test_open_tasks_are_those_that_wait_are_scheduled_being_sent_or_run(
    store: Store, worker: Worker
) -> None:
    send(store, "runs")
    worker.run()
    send(store, "waits in another queue", queue="other")
    send(store, "scheduled", {"eta": store.clock.now() + 60})
    send(store, "being sent", elsewhere=True)
    send(store, "waits")

    newest_first = ["waits", "being sent", "scheduled", "waits in another queue", "runs"]
    assert ids(store, "open") == newest_first
    assert ids(store, "open", oldest_first=True) == newest_first[::-1]
    assert store.listing.count("open") == 5
    assert store.tasks.queues() == ["other", "q"]


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("most", [1, 2, 3, 7, 8])
def test_pages_follow_each_other_without_a_gap(store: Store, most: int, oldest_first: bool) -> None:
    names = [f"task {number}" for number in range(7)]
    for name in names:
        send(store, name)

    listed = list(pages(store, "open", most, oldest_first))

    assert [i for page in listed for i in page] == (names if oldest_first else names[::-1])
    assert [len(page) for page in listed] == [most] * (7 // most) + [7 % most] * bool(7 % most)


@pytest.mark.parametrize("oldest_first", [False, True])
def test_a_task_that_ends_between_two_pages_moves_no_other(
    store: Store, oldest_first: bool
) -> None:
    names = [f"task {number}" for number in range(6)]
    for name in names:
        send(store, name)
    expected = names if oldest_first else names[::-1]
    first = store.listing.page("open", most=2, oldest_first=oldest_first)

    cancel(store, expected[0])
    cancel(store, expected[1])  # the one after which the next page begins
    cancel(store, expected[3])
    second = store.listing.page("open", first.after, most=2, oldest_first=oldest_first)

    assert second.task_ids == [expected[2], expected[4]]


@pytest.mark.parametrize("most", [1, 2, 3, 50])
def test_pages_divide_tasks_that_ended_at_the_same_moment(store: Store, most: int) -> None:
    names = [f"step {number}" for number in range(6)]
    send(store, "first", nonce="call", followers={name: {"task": "work"} for name in names})
    store.tasks.confirm("first", "call", sent=False)  # ends all of them in one step

    assert sorted(ids(store, "ended", most)) == sorted(["first", *names])
    assert ids(store, "ended", most) == ids(store, "ended", most, oldest_first=True)[::-1]


def test_a_position_survives_as_text(store: Store) -> None:
    send(store, "a~b")
    send(store, "c")
    after = store.listing.page("open", most=1, oldest_first=True).after
    assert after is not None

    assert Position.parse(str(after)) == after
    for text in ("", "~", "1.5", "1.5~", "x~a", "nan~a", "inf~a"):
        with pytest.raises(ValueError, match="No position: "):
            Position.parse(text)


def ends(store: Store, attempt: Attempt) -> None:
    attempt.end()


def is_cancelled_and_runs_on(store: Store, attempt: Attempt) -> None:
    cancel(store, attempt.task_id)


def loses_its_message(store: Store, attempt: Attempt) -> None:
    attempt.send_again()
    attempt.rest()
    lose(store, attempt.task_id)


@pytest.mark.parametrize("end", [ends, is_cancelled_and_runs_on, loses_its_message])
def test_a_task_is_listed_as_open_until_it_has_ended_and_then_as_ended(
    store: Store, worker: Worker, end: Callable[[Store, Attempt], None]
) -> None:
    send(store, "a")
    attempt = worker.run()
    assert (ids(store, "open"), ids(store, "ended")) == (["a"], [])

    end(store, attempt)

    assert (ids(store, "open"), ids(store, "ended")) == ([], ["a"])


def test_a_task_that_was_never_sent_is_listed_as_ended(store: Store) -> None:
    send(store, "a", nonce="call", elsewhere=True)
    store.tasks.confirm("a", "call", sent=False)

    assert (ids(store, "open"), ids(store, "ended")) == ([], ["a"])


def test_a_task_that_follows_another_is_listed_when_its_turn_has_come(
    store: Store, worker: Worker
) -> None:
    send(store, "first", followers={"second": {"task": "work"}})
    assert ids(store, "open") == ["first"]

    worker.finish(worker.run())
    send(store, "second", sender="first")

    assert (ids(store, "open"), ids(store, "ended")) == (["second"], ["first"])


def test_a_part_whose_record_was_lost_is_listed_as_a_task_even_if_it_is_to_be_retried(
    store: Store, worker: Worker
) -> None:
    send(store, "part")
    attempt = worker.run()
    store.families.register("family", ["part"], "group")
    assert ids(store, "open") == ["family"]

    store.client.delete(store.keys.record("part"))
    attempt.rest()

    assert ids(store, "open") == ["part", "family"]


def test_a_task_of_a_program_without_this_extension_is_listed_from_its_start(
    store: Store, worker: Worker
) -> None:
    worker.attempt("guest").start()

    assert ids(store, "open") == ["guest"]


def test_a_running_task_whose_record_was_lost_is_listed_again_with_its_next_report(
    store: Store, redis: Redis, worker: Worker
) -> None:
    send(store, "a")
    attempt = worker.run()
    redis.delete(store.keys.record("a"))
    assert ids(store, "open") == []

    attempt.report()

    assert ids(store, "open") == ["a"]


@pytest.mark.parametrize("record", [None, "no JSON", "[]"])
def test_an_id_without_a_record_is_dropped_when_it_is_seen(
    store: Store, redis: Redis, record: str | None
) -> None:
    for task_id in ("stays", "goes"):
        send(store, task_id)
    redis.delete(store.keys.record("goes"))
    if record is not None:
        redis.set(store.keys.record("goes"), record)

    assert ids(store, "open") == ["stays"]
    assert store.listing.count("open") == 1


def test_an_ended_task_that_has_expired_is_dropped_when_it_is_seen(
    store: Store, redis: Redis
) -> None:
    send(store, "a")
    cancel(store, "a")
    redis.delete(store.keys.record("a"))

    assert ids(store, "ended") == []
    assert store.listing.count("ended") == 0


def test_an_id_that_is_used_again_is_open_and_no_longer_ended(store: Store) -> None:
    send(store, "a")
    cancel(store, "a")
    send(store, "a")

    assert (ids(store, "open"), ids(store, "ended")) == (["a"], [])
    assert store.listing.count("ended") == 0


def test_a_task_that_another_version_has_ended_is_dropped_when_it_is_seen(
    store: Store, redis: Redis
) -> None:
    send(store, "a")
    cancel(store, "a")
    redis.zadd(store.keys.open, {"a": 1})

    assert (ids(store, "open"), store.listing.count("open")) == ([], 0)


def test_the_last_ended_tasks_are_listed_and_their_number_is_bounded(
    store: Store, redis: Redis
) -> None:
    redis.zadd(store.keys.ended, {f"earlier {number}": number for number in range(20_000)})

    send(store, "task")
    cancel(store, "task")

    assert store.listing.count("ended") == 20_000
    assert redis.zrange(store.keys.ended, 0, 0) == [b"earlier 1"]
    assert ids(store, "ended")[:1] == ["task"]


def test_what_celery_ends_without_having_sent_it_is_not_listed(store: Store) -> None:
    store.tasks.record_event("a chord", Event.END, document("a chord", "FAILURE"), state="FAILURE")

    assert store.listing.count("ended") == 0


def test_a_part_of_a_family_is_not_listed_and_the_family_is(store: Store, worker: Worker) -> None:
    for task_id in ("family", "part"):
        send(store, task_id, {"family": "family"})
    assert ids(store, "open") == ["family"]
    worker.finish(worker.run())
    worker.finish(worker.run())

    assert (ids(store, "open"), ids(store, "ended")) == ([], ["family"])


def test_a_list_of_the_wrong_type_is_mended(store: Store, redis: Redis) -> None:
    redis.set(store.keys.open, "x")
    assert ids(store, "open") == []

    redis.set(store.keys.open, "x")
    send(store, "a")
    assert ids(store, "open") == ["a"]


def test_workers_are_heard_of_by_name_with_what_they_run(store: Store, worker: Worker) -> None:
    store.workers.beat("b", "second", ["q", "a"], lapse=60, version="1.2")
    store.workers.beat("a", "first", [], lapse=60)
    send(store, "runs")
    attempt = Worker(store, "b").run()

    first, second = store.workers.heard()

    assert (first.name, first.queues, first.version, first.running) == ("first", [], None, [])
    assert (second.worker, second.name, second.queues) == ("b", "second", ["a", "q"])
    assert (second.version, second.running) == ("1.2", [attempt.task_id])
    assert second.is_alive
    # This process and Redis have the same clock.
    assert second.clock_ahead == pytest.approx(0, abs=60)


def test_a_worker_that_was_not_heard_of_for_a_while_is_not_alive(store: Store) -> None:
    Worker(store, "silent").beat()
    silence(store, "silent")

    (heard,) = store.workers.heard()

    assert not heard.is_alive
    assert heard.silent_for == pytest.approx(3600, abs=60)


def test_what_no_worker_has_said_of_itself_is_left_out(store: Store, redis: Redis) -> None:
    Worker(store, "a").beat()
    for said in (b"no JSON", b"[]", b'{"queues": 1, "clock": "now"}'):
        redis.hset(store.keys.worker_info, "a", said)

        (heard,) = store.workers.heard()

        assert (heard.name, heard.queues, heard.version, heard.clock_ahead) == ("a", [], None, None)


@on_redis_only
def test_redis_tells_of_itself(store: Store, redis: Redis) -> None:
    server = store.server()

    assert server.version == redis.info("server")["redis_version"]
    assert (server.policy, server.max_memory, server.is_append_only) == ("noeviction", 0, False)
    assert not server.is_replica
    redis.config_set("appendonly", "yes")
    assert store.server().is_append_only
    redis.config_set("appendonly", "no")
