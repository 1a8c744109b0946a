"""Flask's documented Celery example works unchanged with LongTask, and when it is rewritten for LongTask."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.home.servers import PATIENCE, HomeWorker, Site
from tests.processes import Process, wait_until


class Example:
    def __init__(self, name: str, folder: Path, module: str, **settings: str) -> None:
        module = f"tests.home.documented.{module}"
        self.site = Site(name, folder, f"{module}:flask_app", **settings)
        self.worker = HomeWorker(f"{name}-worker", folder, f"{module}:celery_app", **settings)

    def post(self, path: str, **form: Any) -> requests.Response:
        return requests.post(f"{self.site.url}{path}", form, timeout=PATIENCE)

    def get(self, path: str) -> Any:
        return requests.get(f"{self.site.url}{path}", timeout=PATIENCE)

    def stop(self) -> None:
        self.site.stop()
        self.worker.stop()


KINDS = {
    "alone": ("as_documented", {}),
    "beside": ("beside", {"OWN_CELERY": "no"}),
    "adopted": ("beside", {"OWN_CELERY": "yes"}),
}


@pytest.fixture(scope="module", params=KINDS)
def example(
    request: pytest.FixtureRequest, folder: Path, new_database: Callable[[], str]
) -> Iterator[Example]:
    """The documented example without LongTask, with LongTask's own Celery app, and with LongTask on its Celery app."""
    module, settings = KINDS[request.param]
    databases = {"REDIS_URL": new_database(), "LONGTASK_REDIS_URL": new_database()}
    example = Example(f"flask-{request.param}", folder, module, **databases, **settings)
    yield example
    example.stop()


@pytest.mark.parametrize(
    ("path", "form", "value"),
    [
        ("/add", {"a": 23, "b": 42}, 65),
        ("/process", {"total": 5}, "5 in documented"),
    ],
)
def test_its_routes_answer_as_they_are_documented_to(
    example: Example, path: str, form: dict[str, int], value: object
) -> None:
    task_id = example.post(path, **form).json()["result_id"]

    def result() -> dict[str, Any]:
        return dict(example.get(f"/result/{task_id}").json())

    wait_until(lambda: result()["ready"], describe=result)
    assert result() == {"ready": True, "successful": True, "value": value}


def test_an_id_that_nobody_has_given_is_not_ready(example: Example) -> None:
    assert example.get("/result/nobody").json() == {
        "ready": False,
        "successful": None,
        "value": None,
    }


def test_once_it_is_taken_over_its_tasks_have_bars(
    folder: Path, database: str, processes: list[Process]
) -> None:
    settings = {"REDIS_URL": database, "OWN_CELERY": "yes"}
    example = Example("flask-followed", folder, "beside", **settings)
    processes += [example.site, example.worker]

    for path, form, told in (
        ("/add", {"a": 1, "b": 2}, 3),
        ("/process", {"total": 3}, "3 in documented"),
        ("/block", {}, None),  # its result is ignored
    ):
        address = f"/jobs/status/{example.post(path, **form).json()['result_id']}"
        wait_until(lambda address=address: example.get(address).json()["finished"])
        end = example.get(address).json()
        assert (end["state"], end["result"], end["percent"]) == ("SUCCESS", told, 100)


def test_written_anew_it_answers_by_itself(
    folder: Path, database: str, processes: list[Process]
) -> None:
    example = Example("flask-anew", folder, "anew", REDIS_URL=database)
    processes += [example.site, example.worker]

    started = example.post("/add", a=23, b=42)
    assert started.status_code == 202
    address = started.headers["Location"].removeprefix(example.site.url)
    wait_until(lambda: example.get(address).json()["finished"])
    assert example.get(address).json()["result"] == 65
    assert example.get(address.replace("status", "result")).json() == 65
    started = example.post("/process", total=100)
    end = requests.get(
        started.headers["Location"],
        headers={"Prefer": f"wait={PATIENCE:.0f}"},
        timeout=2 * PATIENCE,
    ).json()
    assert (end["state"], end["result"]) == ("SUCCESS", "100 in anew")
    assert example.post("/add", a="many", b=1).json()["field"] == "a"
