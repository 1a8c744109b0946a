"""What /openapi.json says is what the routes do: by the list of routes, by real answers, and by schemathesis."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from celery import uuid as new_id
from redis import Redis

from tests import tasks
from tests.processes import ROOT, RedisServer, WebServer, Worker
from tests.test_http import GARBAGE, RECORDS, put_celerys, put_ours

QUICK = {"steps": 1, "delay": 0}
TOKEN = "for-schemathesis"

#: The files that pages load.
NOT_DOCUMENTED = {"static", "longtask.static"}

#: The one POST that starts nothing.
CANCEL = "longtask.cancel_by_form"
RESTART = "longtask.restart"


@pytest.fixture
def document(client: Any) -> dict[str, Any]:
    response = client.get("/openapi.json")
    assert (response.status_code, response.mimetype) == (200, "application/json")
    return dict(response.json)


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


# -- the document and the routes ---------------------------------------------------------------------


def test_every_route_is_documented_and_nothing_else(app: Any, document: dict[str, Any]) -> None:
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.endpoint not in NOT_DOCUMENTED
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    told = {(path, method) for path, methods in document["paths"].items() for method in methods}

    assert told == routes
    assert len(told) > 15


def test_the_document_holds_together(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    operations = [item for path in document["paths"].values() for item in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    for reference in references(document):
        part = document
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
        assert part
    for path, methods in document["paths"].items():
        for operation in methods.values():
            parameters = [
                document["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]
                if "$ref" in parameter
                else parameter
                for parameter in operation.get("parameters", [])
            ]
            in_path = {item["name"] for item in parameters if item["in"] == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", path))


def test_every_start_route_says_that_it_takes_a_key_and_may_be_refused(
    document: dict[str, Any],
) -> None:
    posts = [methods["post"] for methods in document["paths"].values() if "post" in methods]
    starts = [operation for operation in posts if operation["operationId"] not in (CANCEL, RESTART)]
    assert len(starts) == 6
    for operation in starts:
        assert {"$ref": "#/components/parameters/idempotency_key"} in operation["parameters"]
        codes = {"202", "303", "400", "403", "413", "415", "422", "429", "503"}
        assert codes <= set(operation["responses"])


def test_an_app_below_a_path_says_so(client: Any) -> None:
    response = client.get("/openapi.json", environ_overrides={"SCRIPT_NAME": "/below"})

    assert response.json["servers"] == [{"url": "/below"}]


# -- real answers ------------------------------------------------------------------------------------


@pytest.fixture
def conforms(document: dict[str, Any]) -> Any:
    """Check a JSON answer against a schema of the document."""

    def conforms(name: str, answer: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema_rs.Draft202012Validator(schema).validate(answer)

    return conforms


def test_a_task_is_told_about_as_documented_all_its_life(
    client: Any, worker: Worker, ended: Any, conforms: Any
) -> None:
    started = client.post("/longtask", json=QUICK)
    conforms("Task", started.json)
    conforms("Task", ended(started.json["task_id"]))
    for task in (tasks.failing.delay(), tasks.returning.delay({"result": [1, {"a": None}]})):
        conforms("Task", ended(task.id))
    waiting = tasks.noting.apply_async(countdown=3600)
    conforms("Task", client.get(f"/status/{waiting.id}").json)
    conforms("Task", client.delete(f"/status/{waiting.id}").json)
    conforms("Health", client.get("/health").json)
    for task in client.get("/tasks").json["tasks"]:
        conforms("Task", task)


@pytest.mark.parametrize("stored", GARBAGE.values(), ids=GARBAGE.keys())
def test_whatever_is_stored_the_answer_is_as_documented(
    client: Any, redis: Redis, conforms: Any, stored: bytes
) -> None:
    conforms("Task", client.get(f"/status/{put_celerys(redis, new_id(), stored)}").json)


@pytest.mark.parametrize("stored", RECORDS.values(), ids=RECORDS.keys())
def test_whatever_is_on_record_the_answer_is_as_documented(
    client: Any, redis: Redis, conforms: Any, stored: bytes
) -> None:
    conforms("Task", client.get(f"/status/{put_ours(redis, new_id(), stored)}").json)


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("post", "/longtask", {"json": {"steps": "x"}}, 400),
        ("post", "/longtask", {"headers": {"Origin": "https://evil.example"}}, 403),
        ("get", "/status/00000000-0000-4000-8000-000000000000", {}, 404),
        ("put", "/longtask", {}, 405),
        ("post", "/longtask", {"data": "x", "content_type": "text/plain"}, 415),
        ("post", "/longtask", {"headers": {"Idempotency-Key": ""}}, 400),
    ],
)
def test_an_error_is_told_as_documented(
    client: Any, conforms: Any, method: str, path: str, body: Any, code: int
) -> None:
    response = getattr(client, method)(path, **body)

    assert (response.status_code, response.mimetype) == (code, "application/problem+json")
    conforms("Problem", response.json)


# -- schemathesis ------------------------------------------------------------------------------------


def ask(web: WebServer, folder: Path, mode: str) -> "subprocess.Popen[str]":
    """Let schemathesis make requests up from the document and check each answer."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "--no-color"]
    command += ["--config-file", str(ROOT / "tests" / "schemathesis.toml")]
    command += ["run", f"{web.url}/openapi.json", "--mode", mode]
    command += ["--header", f"Authorization: Bearer {TOKEN}"]
    return subprocess.Popen(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.timeout(400)
@pytest.mark.long
def test_of_thousands_of_requests_none_is_answered_otherwise_than_documented(folder: Path) -> None:
    redis_server = RedisServer("redis-asked", folder)
    settings = {
        "DATABASE_URL": f"sqlite:///{folder / 'asked.db'}",
        "LONGTASK_API_TOKEN": TOKEN,
        "MAIL_LIMIT": "1000000 per minute",
        "SAMPLE_LIMIT": "1000000 per minute",
    }
    web = WebServer("web-asked", folder, redis_server.url(), **settings)
    worker = Worker("worker-asked", folder, redis_server.url(), "-c", "2", **settings)
    # What the document allows and what it forbids, at the same time.
    asking = [ask(web, folder, mode) for mode in ("positive", "negative")]
    try:
        reports = [process.communicate(timeout=350)[0] for process in asking]
        cases = 0
        for process, report in zip(asking, reports, strict=True):
            assert process.returncode == 0, report[-20_000:]
            cases += int(re.findall(r"(\d+) generated", report)[0])
        assert cases > 1000
        assert web.runs
        assert "Traceback" not in web.log.read_text()
    finally:
        for process in asking:
            process.kill()
        for server in (worker, web, redis_server):
            server.stop()
