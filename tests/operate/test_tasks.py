"""What `GET /operate/tasks` answers: tasks by filters and in pages, the workers, and the queues."""

import time
from typing import Any

import jsonschema_rs
import pytest
from flask import Flask
from redis import Redis

from flask_longtask.operate.search import LOOKED_THROUGH, PAGE
from flask_longtask.store import Event, Store
from tests.store.actors import Worker, cancel, document, error, send, silence


def look(app: Flask, **fields: Any) -> dict[str, Any]:
    response = app.test_client().get("/operate/tasks", query_string=fields)
    assert response.status_code == 200, response.text
    return dict(response.json)


def ids(app: Flask, **fields: Any) -> list[str]:
    return [task["task_id"] for task in look(app, **fields)["tasks"]]


def all_ids(app: Flask, **fields: Any) -> list[list[str]]:
    """The ids on all pages."""
    pages, cursor = [], ""
    while True:
        page = look(app, cursor=cursor, **fields)
        pages.append([task["task_id"] for task in page["tasks"]])
        if page["next"] is None:
            return pages
        cursor = page["next"]


def a_task_in_each_state(store: Store) -> Worker:
    """Bring a task into each state; its id is the name of the state."""
    worker = Worker(store, "w")
    worker.beat()
    for task_id in ("done", "failed", "running", "retry"):
        send(store, task_id)
        attempt = worker.run()
        if task_id == "failed":
            attempt.fail()
        elif task_id == "done":
            attempt.end()
        elif task_id == "retry":
            attempt.send_again({"eta": store.clock.now() + 600})
            attempt.rest()
        else:
            attempt.report(3)
        if task_id != "running":
            worker.acknowledge(attempt)
    send(store, "scheduled", {"eta": store.clock.now() + 600})
    send(store, "waiting")
    send(store, "cancelled")
    cancel(store, "cancelled")
    return worker


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("", ["running", "retry", "scheduled", "waiting", "cancelled", "failed", "done"]),
        ("open", ["running", "retry", "scheduled", "waiting"]),
        ("ended", ["cancelled", "failed", "done"]),
        *(
            (state, [state])
            for state in ("waiting", "scheduled", "running", "retry", "done", "failed", "cancelled")
        ),
    ],
)
def test_tasks_are_filtered_by_state_the_longest_open_first_and_the_last_ended_first(
    app: Flask, store: Store, state: str, expected: list[str]
) -> None:
    a_task_in_each_state(store)

    assert ids(app, state=state) == expected


def test_tasks_are_filtered_by_their_name_whole_or_short(app: Flask, store: Store) -> None:
    send(store, "a", {"task": "shop.tasks.pack"})
    send(store, "b", {"task": "shop.tasks.unpack"})

    assert ids(app, task="pack") == ids(app, task=" shop.tasks.pack ") == ["a"]
    assert ids(app, task="Pack") == ["a"]
    assert ids(app, task="tasks.pack") == []


def test_tasks_are_filtered_by_the_name_that_the_page_shows(app: Flask, store: Store) -> None:
    send(store, "a", {"task": "shop.tasks.pack_all"})
    send(store, "b", {"task": "shop.tasks.pack"})

    for shown in ("Pack all", "pack ALL", "pack_all", "Shop.Tasks.Pack_All"):
        assert ids(app, task=shown) == ["a"]
    assert ids(app, task="all") == []


def test_tasks_are_filtered_by_queue(app: Flask, store: Store) -> None:
    send(store, "a")
    send(store, "b", queue="other")

    assert (ids(app, queue="q"), ids(app, queue="other"), ids(app, queue="x")) == (["a"], ["b"], [])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ROW", ["4711-a"]),
        ("10 row", ["4711-a"]),
        ("row ann", ["4711-a"]),
        ("row bob", []),
        ("4711", ["4711-a", "4711-b"]),
        ("bob", ["4711-b"]),
        ("  ", ["4711-a", "4711-b", "fails"]),
        ("answer", ["fails"]),
        ("straße", []),
    ],
)
def test_tasks_are_filtered_by_words_in_the_sentence_the_id_and_the_owner(
    app: Flask, store: Store, words: str, expected: list[str]
) -> None:
    worker = Worker(store, "w")
    worker.beat()
    send(store, "fails")
    failing = worker.run()
    failing.fail()
    worker.acknowledge(failing)
    send(store, "4711-a", {"owner": "Ann"})
    worker.run().report(3)
    send(store, "4711-b", {"owner": "Bob"})

    assert ids(app, words=words) == expected


def test_filters_add_up(app: Flask, store: Store) -> None:
    a_task_in_each_state(store)
    send(store, "waiting elsewhere", {"task": "pack"}, queue="other")

    assert ids(app, state="waiting", task="work") == ["waiting"]
    assert ids(app, state="waiting", task="pack", words="elsewhere", queue="other") == [
        "waiting elsewhere"
    ]
    assert ids(app, state="done", task="pack") == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("state", "PENDING"),
        ("state", "x"),
        ("task", "x" * 256),
        ("queue", "x" * 256),
        ("words", "x" * 256),
        ("cursor", "x"),
        ("cursor", "open~"),
        ("cursor", "open~x~a"),
        ("cursor", "open~nan~a"),
        ("cursor", "open~1.5~"),
        ("cursor", "open~1.5~" + "x" * 5000),
        ("cursor", "ended~1e999~a"),
    ],
)
@pytest.mark.parametrize("path", ["/operate", "/operate/tasks"])
def test_a_bad_field_is_named(app: Flask, path: str, field: str, value: str) -> None:
    answer = app.test_client().get(path, query_string={field: value})

    assert answer.status_code == 400
    assert answer.json["field"] == field


@pytest.mark.parametrize("value", ["\0", "ä\U0001f600", "\ud800", "%", "*", "[a-", "open~1.5~\0"])
def test_odd_text_finds_nothing_and_breaks_nothing(app: Flask, store: Store, value: str) -> None:
    send(store, "a")
    for field in ("task", "queue", "words", "cursor"):
        shown = value.encode("utf-8", "replace")
        answer = app.test_client().get("/operate/tasks", query_string={field: shown})
        assert answer.status_code in (200, 400)
        assert app.test_client().get("/operate", query_string={field: shown}).status_code < 500


def test_pages_lead_through_all_open_tasks_and_then_through_the_ended_ones(
    app: Flask, store: Store
) -> None:
    opened = [f"open {number:03}" for number in range(PAGE + 20)]
    ended = [f"ended {number:03}" for number in range(PAGE)]
    for task_id in ended:
        send(store, task_id)
        cancel(store, task_id)
    for task_id in opened:
        send(store, task_id)

    pages = all_ids(app)

    assert [i for page in pages for i in page] == opened + ended[::-1]
    assert [len(page) for page in pages] == [PAGE, PAGE, 20]
    assert [len(page) for page in all_ids(app, state="open")] == [PAGE, 20]
    assert [len(page) for page in all_ids(app, state="ended")] == [PAGE]


def test_tasks_that_end_between_two_pages_hide_no_other(app: Flask, store: Store) -> None:
    names = [f"task {number:03}" for number in range(3 * PAGE)]
    for task_id in names:
        send(store, task_id)
    first = look(app)
    for task_id in (names[0], names[PAGE - 1], names[PAGE], names[PAGE + 7]):
        cancel(store, task_id)

    second = ids(app, cursor=first["next"])

    expected = [i for i in names[PAGE:] if i not in (names[PAGE], names[PAGE + 7])]
    assert second == expected[:PAGE]


def test_matches_are_divided_into_pages_within_what_one_request_looks_through(
    app: Flask, store: Store
) -> None:
    for number in range(3 * PAGE):
        send(store, f"{number:03}", {"owner": "ann" if number % 2 else "bob"})

    pages = all_ids(app, words="ann")

    assert [i for page in pages for i in page] == [f"{n:03}" for n in range(1, 3 * PAGE, 2)]
    assert [len(page) for page in pages] == [PAGE, PAGE // 2]


def test_a_request_looks_through_a_thousand_tasks_and_says_where_to_go_on(
    app: Flask, store: Store
) -> None:
    for number in range(2 * LOOKED_THROUGH + 100):
        send(store, f"{number}", {"owner": "last" if number >= 2 * LOOKED_THROUGH + 90 else "x"})

    pages = all_ids(app, words="last")

    assert [len(page) for page in pages] == [0, 0, 10]


def test_neither_results_nor_what_else_a_task_reports_are_shown(app: Flask, store: Store) -> None:
    worker = Worker(store, "w")
    send(store, "a", {"owner": "ann"})
    worker.run().end("for nobody else")

    response = app.test_client().get("/operate/tasks")

    assert "for nobody else" not in response.text
    (task,) = response.json["tasks"]
    assert (task["state"], task["queue"], task["owner"], task["worker"]) == (
        "SUCCESS",
        "q",
        "ann",
        "w",
    )


def test_workers_are_shown_with_what_they_run(app: Flask, store: Store) -> None:
    worker = a_task_in_each_state(store)
    Worker(store, "idle").beat()
    Worker(store, "silent").beat()
    silence(store, "silent")

    workers = {each["name"]: each for each in look(app)["workers"]}

    assert list(workers) == ["idle", "silent", worker.name]
    assert (workers["idle"]["running"], workers["idle"]["alive"]) == (0, True)
    assert not workers["silent"]["alive"]
    assert workers["silent"]["silent_for"] > 1800
    assert workers["w"]["queues"] == ["q"]
    (task,) = workers["w"]["tasks"]
    assert (task["task_id"], task["percent"]) == ("running", 30)


def test_of_a_worker_that_runs_much_ten_tasks_are_shown(app: Flask, store: Store) -> None:
    worker = Worker(store, "w")
    for number in range(12):
        send(store, f"{number}")
        worker.run()

    (shown,) = look(app)["workers"]

    assert (shown["running"], len(shown["tasks"])) == (12, 10)


def test_queues_are_shown_with_what_waits_and_for_how_long(
    app: Flask, store: Store, redis_of_app: Redis
) -> None:
    Worker(store, "w").beat()
    for task_id, queue in (("a", "q"), ("b", "q"), ("c", "nobody")):
        send(store, task_id, queue=queue)
    send(store, "less urgent", urgent=False)
    make_older(redis_of_app, store, "b", 50)
    make_older(redis_of_app, store, "less urgent", 100)

    nobodys, ours = look(app)["queues"]

    assert (nobodys["name"], nobodys["waiting"], nobodys["workers"]) == ("nobody", 1, [])
    assert nobodys["oldest"] < 50
    assert (ours["name"], ours["waiting"], ours["workers"]) == ("q", 3, ["w"])
    assert 100 <= ours["oldest"] < 150
    send(store, "later", {"eta": time.time() + 60})
    counts = look(app)["counts"]
    assert counts == {"open": 5, "ended": 0, "running": 0, "waiting": 4, "scheduled": 1}


def test_what_was_tried_before_has_waited_since_then(
    app: Flask, store: Store, redis_of_app: Redis
) -> None:
    worker = Worker(store, "w")
    worker.beat()
    send(store, "a")
    make_older(redis_of_app, store, "a", 1000)
    attempt = worker.run()
    attempt.send_again({"eta": store.clock.now() - 1})
    attempt.rest()

    (queue,) = look(app)["queues"]

    assert queue["oldest"] < 500


def test_a_queue_in_which_nothing_waits_is_shown_while_a_worker_serves_it(
    app: Flask, store: Store
) -> None:
    Worker(store, "w").beat()

    assert look(app)["queues"] == [{"name": "q", "waiting": 0, "oldest": None, "workers": ["w"]}]


def test_what_anybody_wrote_to_redis_breaks_nothing(
    app: Flask, store: Store, redis_of_app: Redis
) -> None:
    a_task_in_each_state(store)
    keys, redis = store.keys, redis_of_app
    redis.set(keys.record("waiting"), b'{"task": 1, "queue": [], "owner": {}, "submitted": "x"}')
    redis.set(keys.document("running"), b"\xff{")
    redis.hset(keys.queues, b"\xff", b"x")
    redis.hset(keys.queues, "odd", b"7")
    redis.zadd(keys.open, {b"\xff": 1})
    redis.hset(keys.worker_info, "w", "[]")

    for path in ("/operate", "/operate/tasks", "/operate/tasks?words=x&task=work&queue=q"):
        assert app.test_client().get(path).status_code == 200


def test_the_answer_is_as_the_openapi_document_says(app: Flask, store: Store) -> None:
    a_task_in_each_state(store)
    Worker(store, "idle").beat()
    told = app.test_client().get("/openapi.json").json
    schema = {**told["components"]["schemas"]["Operations"], "components": told["components"]}

    for fields in ({}, {"state": "failed"}, {"words": "nothing"}):
        jsonschema_rs.validate(schema, look(app, **fields))


def test_a_task_that_failed_before_its_start_is_among_the_ended_ones(
    app: Flask, store: Store
) -> None:
    send(store, "a")
    text = document("a", "FAILURE", error("MessageLost", "Its message is gone."))
    store.tasks.record_event("a", Event.MESSAGE_LOST, text)

    assert ids(app, state="failed") == ["a"]


def make_older(redis: Redis, store: Store, task_id: str, seconds: float) -> None:
    """Let a task have been submitted earlier."""
    script = """
    local record = cjson.decode(redis.call('GET', KEYS[1]))
    record.submitted = record.submitted - ARGV[1]
    redis.call('SET', KEYS[1], cjson.encode(record))
    """
    redis.eval(script, 1, store.keys.record(task_id), seconds)
