"""The task messages that a worker takes: all that Celery itself can run, whatever language they come from."""

from types import SimpleNamespace
from typing import Any

import pytest

from flask_longtask.celery.worker.protocol import fault_of

HEADERS = {"id": "1", "task": "add"}
EMBEDDED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def fault(headers: dict[str, Any] | None = None, body: Any = None) -> str | None:
    headers = {**HEADERS, **(headers or {})}
    return fault_of(SimpleNamespace(headers=headers, payload=body or [[], {}, EMBEDDED]))


@pytest.mark.parametrize(
    "headers",
    [
        {"timelimit": [None, None]},
        {"timelimit": [5, 2.5]},
        {"timelimit": []},
        {"timelimit": 0},
        {"retries": 0.0},
        {"retries": 2.0},
        {"stamps": []},
        {"stamped_headers": None, "stamps": None},
        {"shadow": ""},
        {"group": "", "root_id": None},
        {"eta": "2026-11-21T10:00:00+00:00", "expires": "2026-11-21"},
        {"something": "of their own"},
    ],
)
def test_what_celery_takes_in_the_headers_is_taken(headers: dict[str, Any]) -> None:
    assert fault(headers) is None


@pytest.mark.parametrize(
    "body",
    [
        [[], {}, None],
        [[], {}, []],
        [(), {"a": 1}, {}],
        [[], {}, {"callbacks": {}, "chord": {}}],
        [[], {}, {"chord": {"task": "sum", "options": None}}],
        [[], {}, {"chain": [{"task": "next", "options": {}}]}],
    ],
)
def test_what_celery_takes_in_the_body_is_taken(body: Any) -> None:
    assert fault(body=body) is None


def test_a_message_of_version_1_is_taken() -> None:
    body = {"id": "1", "task": "add", "args": [1], "kwargs": {}, "retries": 0}
    assert fault_of(SimpleNamespace(headers={}, payload=body)) is None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"id": ""}, "its id is ''"),
        ({"id": "\ud800"}, "its id is '\\ud800'"),
        ({"task": 5}, "its task is 5"),
        ({"eta": ""}, "its eta is ''"),
        ({"timelimit": [float("nan"), 1]}, "its timelimit is [nan, 1]"),
        ({"timelimit": [True, 1]}, "its timelimit is [True, 1]"),
        ({"retries": -1}, "its retries is -1"),
        ({"retries": 1.5}, "its retries is 1.5"),
    ],
)
def test_what_would_stop_a_worker_is_named(headers: dict[str, Any], expected: str) -> None:
    assert fault(headers) == expected
