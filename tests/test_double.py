"""Doubling an integer of any size; and tasks that are called from a shell."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import requests

from examples.double import LARGEST_NUMBER, add, mul, xsum
from tests.processes import PATIENCE, ROOT, RedisServer, WebServer, environment, wait_until

pytestmark = pytest.mark.usefixtures("app", "worker")

MOST_DIGITS = 100_000


@pytest.mark.parametrize(
    ("number", "twice"),
    [
        (32, 64),
        (0, 0),
        (-7, -14),
        ("+21", 42),
        (" 007 ", 14),
        ("-0", 0),
        ((LARGEST_NUMBER - 1) // 2, LARGEST_NUMBER - 1),
        (LARGEST_NUMBER, "18014398509481982"),  # a JSON number would be rounded by JavaScript
        (-(10**40) - 1, "-2" + "0" * 39 + "2"),
    ],
)
def test_an_integer_is_doubled_to_the_last_digit(
    app: Any, client: Any, ended: Callable[[str], dict[str, Any]], number: Any, twice: Any
) -> None:
    for body in ({"json": {"number": number}}, {"data": {"number": number}}):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(app.config, "DOUBLE_WAIT_SECONDS", 0)
            response = client.post("/double", **body)
        assert response.status_code == 202, response.text
        task = ended(response.json["task_id"])
        assert (task["state"], task["result"]) == ("SUCCESS", twice)


def test_an_integer_with_more_digits_than_python_makes_an_int_of_is_doubled_too(
    client: Any, ended: Callable[[str], dict[str, Any]]
) -> None:
    digits = "9" * MOST_DIGITS
    bodies = (f'{{"number": {digits}}}', f'{{"number": "{digits}"}}')
    for body in bodies:
        response = client.post("/double", data=body, content_type="application/json")
        assert response.status_code == 202, response.text
        assert ended(response.json["task_id"])["result"] == "1" + "9" * (MOST_DIGITS - 1) + "8"


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '{"number": null}',
        '{"number": ""}',
        '{"number": true}',
        '{"number": 1.5}',
        '{"number": 1.0}',
        '{"number": 1e3}',
        '{"number": NaN}',
        '{"number": [1]}',
        '{"number": "1_000"}',
        '{"number": "٣"}',
        '{"number": "- 1"}',
        '{"number": "0x10"}',
        '{"number": 1' + "0" * MOST_DIGITS + "}",
        '{"number": "1' + "0" * MOST_DIGITS + '"}',
    ],
    ids=lambda body: body[:20],
)
def test_what_is_no_integer_or_a_longer_one_is_400_and_names_the_field(
    client: Any, body: str
) -> None:
    response = client.post("/double", data=body, content_type="application/json")
    assert response.status_code == 400
    assert response.json["field"] == "number"
    assert "at most 100,000 digits" in response.json["detail"]


def test_json_that_is_none_or_too_deep_is_400_as_well(client: Any) -> None:
    for body in ("", "{", '{"number": 1', "[" * 20_000, "[1]", "\xff"):
        response = client.post(
            "/double", data=body.encode("latin-1"), content_type="application/json"
        )
        assert response.status_code == 400
        assert response.mimetype == "application/problem+json"


def test_several_run_side_by_side_and_each_has_its_three_times(web: WebServer) -> None:
    # Each works for a second, in which a busy machine may start no other
    wait_until(lambda: is_run_beside_others(web))


def is_run_beside_others(web: WebServer) -> bool:
    ids = []
    for number in range(3):
        response = requests.post(f"{web.url}/double", json={"number": number}, timeout=PATIENCE)
        ids.append(response.json()["task_id"])
        assert response.json()["status"].startswith("Scheduled for ")

    def tasks() -> list[dict[str, Any]]:
        query = {"id": ids}
        answer = requests.get(f"{web.url}/status", params=query, timeout=PATIENCE).json()
        return [answer["tasks"][task_id] for task_id in ids]

    wait_until(lambda: all(task["finished"] for task in tasks()), describe=tasks)
    assert [task["result"] for task in tasks()] == [0, 2, 4]
    for task in tasks():
        assert task["submitted"] < task["started"] < task["finished"]
    first, second, _ = sorted(tasks(), key=lambda task: task["started"])
    return bool(second["started"] < first["finished"])


def test_the_small_tasks_can_be_called_with_delay_and_get() -> None:
    assert add.delay(2, 3).get(timeout=PATIENCE) == 5
    assert mul.delay(2, 3).get(timeout=PATIENCE) == 6
    assert xsum.delay([1, 2, 3]).get(timeout=PATIENCE) == 6


def test_they_can_be_called_from_flask_shell(redis_server: RedisServer) -> None:
    lines = "from examples.double import add\nprint('=', add.delay(2, 3).get(timeout=60))\n"
    shell = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", "shell"],
        input=lines,
        cwd=ROOT,
        env={**environment(redis_server.url()), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=True,
    )
    assert "= 5" in shell.stdout
