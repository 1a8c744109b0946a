"""`LongTask(app)` changes nothing about an app's own routes: each answer is the same, byte for byte.

What the app is asked is in everything/asked.py. All of it is asked in a process, without LongTask and with it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from tests.home.everything.asked import ASKED, Asked
from tests.processes import ROOT

Answers = list[dict[str, Any]]


@pytest.fixture(scope="module")
def record(new_database: Callable[[], str]) -> Callable[..., Answers]:
    """Return all responses of the app. Requested once for each way to set it up."""
    databases = {"REDIS_URL": new_database(), "LONGTASK_REDIS_URL": new_database()}
    recorded: dict[tuple[str, ...], Answers] = {}

    def record(longtask: str, handlers: str, **settings: str) -> Answers:
        name = (longtask, handlers, *settings)
        if name not in recorded:
            for url in databases.values():
                with Redis.from_url(url) as redis:
                    redis.flushdb()
            script = subprocess.run(
                [sys.executable, "-m", "tests.home.everything.record", longtask, handlers],
                cwd=ROOT,
                env={**os.environ, "PYTHONHASHSEED": "0", **databases, **settings},
                capture_output=True,
                text=True,
                check=False,
            )
            assert script.returncode == 0, script.stderr
            recorded[name] = json.loads(script.stdout)
        return recorded[name]

    return record


numbered = pytest.mark.parametrize("number", range(len(ASKED)), ids=map(str, ASKED))


@numbered
@pytest.mark.parametrize("handlers", ["handlers", "no handlers"])
@pytest.mark.parametrize("longtask", ["first", "last"])
def test_an_apps_own_answers_are_the_same_with_longtask(
    record: Callable[..., Answers], longtask: str, handlers: str, number: int
) -> None:
    assert record(longtask, handlers)[number] == record("without", handlers)[number]


@numbered
def test_a_token_that_nothing_asks_for_changes_nothing_either(
    record: Callable[..., Answers], number: int
) -> None:
    with_token = record("last", "handlers", LONGTASK_API_TOKEN="a-secret-of-32-characters-or-so-1")
    assert with_token[number] == record("without", "handlers")[number]


#: The addresses that show the Celery app, which LongTask may change if it was passed to it.
OF_CELERY = ("/celery", "/letters")


@pytest.mark.parametrize(
    "asked", [asked for asked in ASKED if asked.path not in OF_CELERY], ids=str
)
def test_they_are_the_same_with_its_own_celery_app_under_a_prefix(
    record: Callable[..., Answers], asked: Asked
) -> None:
    number = ASKED.index(asked)
    assert record("adopting", "handlers")[number] == record("without", "handlers")[number]


def test_without_longtask_its_answers_are_the_same_each_time(
    record: Callable[..., Answers],
) -> None:
    # So that only LongTask can make the tests above fail
    assert record("without", "handlers", AGAIN="yes") == record("without", "handlers")


def test_what_is_asked_is_answered_in_every_way(record: Callable[..., Answers]) -> None:
    # So that the tests above compare more than errors
    answers = record("without", "handlers")
    statuses = {answer["status"][:3] for answer in answers}
    assert statuses >= {"200", "201", "400", "401", "404", "405", "418", "500", "502", "504"}
    assert sum(answer["status"].startswith("2") for answer in answers) > len(answers) / 2
