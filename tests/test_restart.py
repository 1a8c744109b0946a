"""Tasks that are started again: which may be, by whom, and with what."""

import json
import pickle
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from celery import chain, chord, group
from redis import Redis

from tests import tasks
from tests.processes import wait_until

pytestmark = pytest.mark.usefixtures("worker")

Status = Callable[[str], dict[str, Any]]


def arguments_of(redis: Redis, task_id: str) -> Any:
    return redis.get(f"longtask:arguments:{task_id}")


#: The body of a message without arguments.
BODY = b'[[], {}, {"callbacks": null, "errbacks": null}]'


def kept(
    options: str = f'{{"name": "{tasks.repeatable.name}"}}',
    kind: str = "application/json",
    encoding: str = "utf-8",
    body: bytes = BODY,
) -> str:
    """What is kept of a task, with some part of it replaced."""
    return f"{options}\n{kind}\n{encoding}\n{b64encode(body).decode()}"


def restart(client: Any, task_id: str, **options: Any) -> Any:
    return client.post(f"/status/{task_id}/restart", **options)


def evidence(redis: Redis, task_id: str) -> list[Any]:
    return [json.loads(line) for line in tasks.evidence(redis, task_id)]


def test_a_failed_task_is_started_again_with_the_same_arguments_as_a_new_one(
    client: Any, redis: Redis, status: Status, ended: Status
) -> None:
    # Given a task that has failed, with arguments and options of each kind
    options = {"time_limit": 50, "soft_time_limit": 40, "priority": 3, "headers": {"tenant": "ä"}}
    arguments = [1, "ä\n", {"a": [None]}], {"secret": "hunter2"}
    task_id = tasks.repeatable.apply_async(*arguments, **options).id
    task = ended(task_id)
    assert (task["state"], task["restartable"]) == ("FAILURE", True)
    assert "restart_of" not in task
    assert "hunter2" not in json.dumps(task)

    # When it is started again
    response = restart(client, task_id)

    # Then a new task has all of them, names the old one, and is this browser's
    assert response.status_code == 202
    new_id = response.json["task_id"]
    assert response.location == f"http://localhost/status/{new_id}"
    assert (response.json["restart_of"], response.json["state"]) == (task_id, "PENDING")
    assert new_id != task_id
    again = ended(new_id)
    assert (again["status"], again["attempt"], again["restartable"]) == ("no such row", 1, True)
    (before,), (now,) = evidence(redis, task_id), evidence(redis, new_id)
    assert now == before
    assert now[:2] == [list(arguments[0]), arguments[1]]
    assert now[3] == {"limits": [50, 40], "priority": 3}
    assert [each["task_id"] for each in client.get("/tasks").json["tasks"]] == [new_id]
    assert status(task_id) == task
    # And the new one can be repeated, too
    assert restart(client, new_id).json["restart_of"] == new_id


def test_a_cancelled_task_is_started_again_at_once_whatever_it_was_scheduled_for(
    client: Any, ended: Status
) -> None:
    task_id = tasks.repeatable.apply_async(kwargs={"fails": False}, countdown=600).id
    assert client.delete(f"/status/{task_id}").json["restartable"] is True

    new_id = restart(client, task_id).json["task_id"]

    assert ended(new_id)["state"] == "SUCCESS"


def test_what_a_task_was_started_with_is_kept_for_as_long_as_it_may_be_needed(
    client: Any, redis: Redis, ended: Status
) -> None:
    waits = tasks.repeatable.apply_async(kwargs={"fails": False}, countdown=600).id
    assert redis.ttl(f"longtask:arguments:{waits}") == -1
    fails = tasks.repeatable.delay().id
    assert ended(fails)["restartable"]
    of_record, of_arguments = (
        redis.ttl(f"longtask:{key}:{fails}") for key in ("task", "arguments")
    )
    assert 0 < of_arguments <= of_record  # type: ignore[operator]

    succeeds = tasks.repeatable.delay(fails=False).id
    task = ended(succeeds)

    assert "restartable" not in task
    assert arguments_of(redis, succeeds) is None
    response = restart(client, succeeds)
    assert (response.status_code, response.json["detail"]) == (
        409,
        "The task has succeeded, so it is not started again.",
    )
    client.delete(f"/status/{waits}")


def test_a_task_that_has_not_ended_is_not_started_again(client: Any, redis: Redis) -> None:
    task_id = tasks.repeatable.apply_async(countdown=600).id

    response = restart(client, task_id)

    assert (response.status_code, response.json["detail"]) == (409, "The task has not ended yet.")
    assert "restartable" not in client.get(f"/status/{task_id}").json
    client.delete(f"/status/{task_id}")


def test_a_task_that_does_not_allow_it_is_not_started_again_and_nothing_of_it_is_kept(
    client: Any, redis: Redis, ended: Status
) -> None:
    task_id = tasks.failing.delay().id
    assert "restartable" not in ended(task_id)
    assert arguments_of(redis, task_id) is None

    response = restart(client, task_id)

    assert response.status_code == 409
    assert response.json["detail"].startswith("The task cannot be started again: ")


def test_no_part_of_a_workflow_is_started_again_on_its_own(client: Any, redis: Redis) -> None:
    same = tasks.repeatable.si()
    chained = chain(same, tasks.repeatable.si()).apply_async()
    grouped = group(same, same).apply_async()
    chorded = chord([same, same])(tasks.repeatable.si())
    parts = [chained.parent, *grouped, *chorded.parent]
    followers = [chained, chorded]

    for part in parts:
        wait_until(lambda task_id=part.id: client.get(f"/status/{task_id}").json["finished"])
    for part in [*parts, *followers]:
        assert arguments_of(redis, part.id) is None
        assert "restartable" not in client.get(f"/status/{part.id}").json
        assert restart(client, part.id).status_code == 409


def test_a_task_that_does_not_exist_is_not_started_again(client: Any) -> None:
    assert restart(client, "never").status_code == 404


def test_a_form_is_redirected_to_the_page_of_the_new_task(client: Any, ended: Status) -> None:
    task_id = tasks.repeatable.delay().id
    ended(task_id)
    page = client.get(f"/status/{task_id}", headers={"Accept": "text/html"}).text
    assert f'action="/status/{task_id}/restart" method="post"' in page
    assert "Start again" in page

    response = restart(client, task_id, data={}, headers={"Accept": "text/html"})

    assert response.status_code == 303
    page = client.get(response.location, headers={"Accept": "text/html"}).text
    assert f'Repeats <a href="/status/{task_id}">{task_id[:8]}</a>' in page


def test_an_idempotency_key_starts_it_again_once(client: Any, ended: Status) -> None:
    task_id = tasks.repeatable.delay().id
    ended(task_id)

    key = {"Idempotency-Key": f"again-{task_id}"}
    first, second = (restart(client, task_id, headers=key) for _ in range(2))

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json["task_id"] == second.json["task_id"]


def test_a_page_of_another_site_starts_nothing_again(client: Any, ended: Status) -> None:
    task_id = tasks.repeatable.delay().id
    ended(task_id)

    response = restart(client, task_id, headers={"Origin": "https://evil.example"})

    assert response.status_code == 403


def test_a_task_that_is_sent_again_keeps_what_it_was_started_with(
    client: Any, redis: Redis, ended: Status
) -> None:
    task_id = tasks.repeatable_after_a_retry.delay("row").id
    assert ended(task_id)["restartable"]

    new_id = restart(client, task_id).json["task_id"]

    assert ended(new_id)["attempt"] == 2
    assert evidence(redis, new_id) == [[0, "row"], [1, "row"]]


def test_arguments_that_are_too_large_are_not_kept(
    redis: Redis, ended: Status, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = tasks.repeatable.delay("x" * 1_000_000).id

    assert "restartable" not in ended(task_id)
    assert arguments_of(redis, task_id) is None
    assert f"Task {task_id} cannot be started again" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        *("no lines", "{}", kept("no JSON"), kept("[]"), kept("{}")),
        *(kept(body=b"no JSON"), kept(body=b"{}"), kept(body=b"[1, 2, 3]"), kept()[:-1]),
    ],
)
def test_kept_arguments_that_cannot_be_read_start_nothing(
    client: Any, redis: Redis, ended: Status, text: str
) -> None:
    task_id = tasks.repeatable.delay().id
    ended(task_id)
    redis.set(f"longtask:arguments:{task_id}", text)

    assert restart(client, task_id).status_code == 409


def test_a_task_starts_again_with_what_was_kept(client: Any, redis: Redis, ended: Status) -> None:
    task_id = tasks.repeatable.delay().id
    ended(task_id)
    redis.set(f"longtask:arguments:{task_id}", kept())

    assert restart(client, task_id).status_code == 202


def test_pickled_arguments_are_not_read_where_the_app_does_not_accept_them(
    client: Any, redis: Redis, ended: Status
) -> None:
    task_id = tasks.repeatable.delay().id
    ended(task_id)
    body = pickle.dumps(json.loads(BODY))
    text = kept(kind="application/x-python-serialize", encoding="binary", body=body)
    redis.set(f"longtask:arguments:{task_id}", text)

    assert restart(client, task_id).status_code == 409
