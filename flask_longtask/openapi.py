"""The HTTP contract as an OpenAPI 3.1 document, at `/openapi.json`.

What the extension's own routes take and answer stands here. An app says it beside each route of its own:

    @app.post("/longtask")
    @documented(starts("Start a long task", steps=whole_number(1, 1000)))
    def start_longtask(): …

Addresses and methods come from the routes themselves, and what holds for all of them is added to each.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flask import Blueprint, Flask, Response, current_app, request

from flask_longtask.idempotency import HEADER, LONGEST_KEY

View = TypeVar("View", bound=Callable[..., Any])
Schema = Mapping[str, Any]

FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")

bp = Blueprint("longtask_openapi", __name__)


@bp.get("/openapi.json")
def openapi() -> Response:
    document = {**describe(current_app), "servers": [{"url": request.script_root or "/"}]}
    return Response(json.dumps(document), mimetype="application/json")


# -- what an app says about its routes ---------------------------------------------------------------


def documented(operation: Schema) -> Callable[[View], View]:
    """Say what a view function takes and answers, as an OpenAPI operation."""

    def keep(view: View) -> View:
        view.openapi = operation  # type: ignore[attr-defined]
        return view

    return keep


def starts(
    summary: str,
    *,
    required: tuple[str, ...] = (),
    media_types: tuple[str, ...] = ("application/json", *FORMS),
    answer: Schema | None = None,
    conflict: str | None = None,
    **fields: Schema,
) -> dict[str, Any]:
    """The operation of a route that starts a task: `fields` are those of its form or JSON object.

    `answer` is the body of its 202 where that is not the status object, `conflict` what 409 means.
    """

    def body(media_type: str) -> dict[str, Any]:
        is_json = media_type == "application/json"
        properties = {
            name: _in_json(field, optional=name not in required) if is_json else field
            for name, field in fields.items()
        }
        return {"type": "object", "properties": properties, "required": list(required)}

    return {
        "summary": summary,
        "parameters": [_parameter("idempotency_key")],
        "requestBody": {
            "required": bool(required),
            "content": {media_type: {"schema": body(media_type)} for media_type in media_types},
        },
        "responses": {
            "202": {
                "description": "Started. Ask its address how far it is.",
                "headers": {"Location": _header("address"), "Retry-After": _header("seconds")},
                "content": _json(answer or _schema("Task")),
            },
            "303": {
                "description": "The same for a browser that sends a plain form.",
                "headers": {"Location": _header("address")},
                "content": _html(),
            },
            **problems(400, 413, 415, 422, 429, 503),
            **({"409": _problem(conflict)} if conflict else {}),
        },
    }


def whole_number(minimum: int, maximum: int) -> Schema:
    """A field that `integer` reads."""
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


def seconds(maximum: float) -> Schema:
    """A field that `seconds` reads."""
    return {"type": "number", "minimum": 0, "maximum": maximum}


def _in_json(field: Schema, optional: bool) -> Schema:
    """A field as JSON may have it: a number as text, too, and nothing where it may be left out."""
    if "maximum" not in field:
        return field
    least, most = field["minimum"], int(field["maximum"])
    digits = f"[{least}-{most}]" if most < 10 else f"[1-9][0-9]{{0,{len(str(most)) - 2}}}"
    if optional:
        text = {"type": "string", "pattern": f"^({digits})?$"}
        return {"anyOf": [field, text, {"type": "null"}]}
    return {"anyOf": [field, {"type": "string", "pattern": f"^{digits}$"}]}


def tells(summary: str, answer: Schema, *parameters: str) -> dict[str, Any]:
    """The operation of a route that answers with JSON, or with a page for a browser."""
    return {
        "summary": summary,
        "parameters": [_parameter(parameter) for parameter in parameters],
        "responses": {
            "200": {"description": "What is known now.", "content": {**_json(answer), **_html()}},
            **problems(404, 503),
        },
    }


def page(summary: str) -> dict[str, Any]:
    """The operation of a route that answers with a page."""
    return {
        "summary": summary,
        "responses": {"200": {"description": "A page.", "content": _html()}},
    }


# -- the extension's own routes ----------------------------------------------------------------------


def _schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _header(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/headers/{name}"}


def _parameter(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/parameters/{name}"}


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _html() -> dict[str, Any]:
    return {"text/html": {"schema": {"type": "string"}}}


def _stream() -> dict[str, Any]:
    return {"text/event-stream": {"schema": {"type": "string"}}}


def _problem(description: str, **headers: Schema) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _schema("Problem")}, **_html()}
    return {"description": description, "headers": headers, "content": content}


def problems(*codes: int) -> dict[str, Any]:
    """The answers of an operation that are errors."""
    return {str(code): {"$ref": f"#/components/responses/{code}"} for code in codes}


_RESPONSES = {
    400: _problem("Something in the request cannot be used; `field` names it where it is a field."),
    401: _problem("The token is missing or wrong.", **{"WWW-Authenticate": _header("challenge")}),
    403: _problem("Another site's page may not do this."),
    404: _problem("There is no such thing, or it has expired."),
    409: _problem("It has already ended."),
    413: _problem("The body is too large."),
    414: {
        "description": "The address is too long: the web server's own answer.",
        "content": _html(),
    },
    415: _problem("The body is neither a form nor JSON."),
    422: _problem("The Idempotency-Key was used before, with another body."),
    429: _problem("Too often.", **{"Retry-After": _header("seconds")}),
    503: _problem(
        "Redis or the broker is away, or the queue is full.",
        **{"Retry-After": _header("seconds")},
    ),
}

_TIME = {"type": ["string", "null"], "format": "date-time"}

_SCHEMAS: dict[str, Any] = {
    "Task": {
        "type": "object",
        "description": "The state of a task, as far as it is known.",
        "required": [
            *("state", "current", "total", "status", "result", "task_id", "task", "percent"),
            *("submitted", "started", "finished", "eta", "attempt"),
        ],
        "additionalProperties": False,
        "properties": {
            "state": {
                "type": "string",
                "description": "PENDING, PROGRESS, RETRY, SUCCESS, FAILURE, REVOKED, or a task's own.",
            },
            "current": {"type": "number", "minimum": 0},
            "total": {"type": "number", "exclusiveMinimum": 0},
            "status": {"type": "string", "description": "A sentence for a person."},
            "result": {"description": "What the task returned; null before SUCCESS."},
            "task_id": {"type": "string", "format": "uuid"},
            "task": {"type": ["string", "null"]},
            "percent": {
                "type": "integer",
                "minimum": 0,
                "maximum": 100,
                "description": "100 with SUCCESS and only then.",
            },
            "submitted": _TIME,
            "started": _TIME,
            "finished": _TIME,
            "eta": {"type": ["number", "null"], "minimum": 0, "description": "Seconds left."},
            "attempt": {"type": ["integer", "null"], "minimum": 0},
        },
    },
    "Problem": {
        "type": "object",
        "description": "An error (RFC 9457).",
        "required": ["title", "status", "detail"],
        "properties": {
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
            "field": {"type": "string"},
        },
    },
    "Health": {
        "type": "object",
        "required": ["redis", "workers", "waiting"],
        "additionalProperties": False,
        "properties": {
            "redis": {"enum": ["up", "down"]},
            "workers": {"type": ["integer", "null"], "minimum": 0},
            "waiting": {"type": ["integer", "null"], "minimum": 0},
        },
    },
}

_PARAMETERS: dict[str, Any] = {
    "task_id": {
        "name": "task_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "format": "uuid"},
    },
    "idempotency_key": {
        "name": HEADER,
        "in": "header",
        "description": "The same key, address and body is the same task. As hard to guess as an id.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST_KEY,
            "pattern": "^[!#-~][!-~]*$",
        },
    },
    "prefer": {
        "name": "Prefer",
        "in": "header",
        "description": "`wait=30` answers when the task ends or 30 seconds have passed (RFC 7240).",
        "schema": {"type": "string"},
    },
}

_HEADERS: dict[str, Any] = {
    "address": {"required": True, "schema": {"type": "string", "format": "uri-reference"}},
    "seconds": {"required": True, "schema": {"type": "integer", "minimum": 1}},
    "seconds_until_it_ends": {"schema": {"type": "integer", "minimum": 1}},
    "challenge": {"required": True, "schema": {"type": "string"}},
}

_OPERATIONS: dict[str, Any] = {
    "longtask.status": {
        "summary": "How far a task is",
        "parameters": [_parameter("task_id"), _parameter("prefer")],
        "responses": {
            "200": {
                "description": "The task; as a stream, its changes until it ends.",
                "headers": {"Retry-After": _header("seconds_until_it_ends")},
                "content": {**_json(_schema("Task")), **_html(), **_stream()},
            },
            **problems(404, 503),
        },
    },
    "longtask.cancel": {
        "summary": "Cancel a task",
        "parameters": [_parameter("task_id")],
        "responses": {
            "200": {"description": "It is cancelled.", "content": _json(_schema("Task"))},
            **problems(404, 409, 503),
        },
    },
    "longtask.cancel_by_form": {
        "summary": "Cancel a task, for a form",
        "parameters": [_parameter("task_id")],
        "responses": {
            "303": {
                "description": "It has ended, by this or by itself just before: see its page.",
                "headers": {"Location": _header("address")},
                "content": _html(),
            },
            **problems(400, 404, 503),
        },
    },
    "longtask.statuses": {
        "summary": "How far many tasks are",
        "parameters": [
            {
                "name": "id",
                "in": "query",
                "required": True,
                "schema": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 100,
                    "items": {"type": "string", "format": "uuid"},
                },
            }
        ],
        "responses": {
            "200": {
                "description": "Each by its id, null for one that does not exist.",
                "content": {
                    **_json(
                        {
                            "type": "object",
                            "required": ["tasks"],
                            "additionalProperties": False,
                            "properties": {
                                "tasks": {
                                    "type": "object",
                                    "additionalProperties": {
                                        "anyOf": [_schema("Task"), {"type": "null"}]
                                    },
                                }
                            },
                        }
                    ),
                    **_stream(),
                },
            },
            **problems(400, 414, 503),
        },
    },
    "longtask.tasks": {
        "summary": "What this browser has started, newest first",
        "responses": {
            "200": {
                "description": "The tasks that are still known.",
                "content": {
                    **_json(
                        {
                            "type": "object",
                            "required": ["tasks"],
                            "additionalProperties": False,
                            "properties": {"tasks": {"type": "array", "items": _schema("Task")}},
                        }
                    ),
                    **_html(),
                },
            },
            **problems(503),
        },
    },
    "longtask.health": {
        "summary": "Whether tasks can be taken in and run",
        "security": [],
        "responses": {
            "200": {"description": "They can be.", "content": _json(_schema("Health"))},
            "503": {
                "description": "Redis or the broker is away.",
                "headers": {"Retry-After": _header("seconds")},
                "content": _json(_schema("Health")),
            },
        },
    },
    "longtask_token.give": {
        "summary": "Give the token once, for all requests of this browser",
        "security": [],
        "requestBody": {
            "required": True,
            "content": {
                media_type: {
                    "schema": {
                        "type": "object",
                        "required": ["token"],
                        "properties": {"token": {"type": "string"}, "next": {"type": "string"}},
                    }
                }
                for media_type in ("application/json", *FORMS)
            },
        },
        "responses": {
            "204": {"description": "It is the right one; the answer's cookie says so from now on."},
            "303": {
                "description": "The same for a browser that sends a plain form.",
                "headers": {"Location": _header("address")},
                "content": _html(),
            },
            **problems(400, 401, 413, 415, 429, 503),
        },
    },
    "longtask_openapi.openapi": {
        "summary": "This document",
        "responses": {"200": {"description": "OpenAPI 3.1.", "content": _json({"type": "object"})}},
    },
}


# -- the document ------------------------------------------------------------------------------------


def describe(app: Flask) -> dict[str, Any]:
    """The document for all routes of an app that something is said about."""
    paths: dict[str, Any] = {}
    for rule in app.url_map.iter_rules():
        operation = _OPERATIONS.get(rule.endpoint) or getattr(
            app.view_functions[rule.endpoint], "openapi", None
        )
        if operation is None:
            continue
        path = re.sub(r"<(?:[^:<>]+:)?(\w+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            operations = paths.setdefault(path, {})
            operations[method.lower()] = _complete(app, rule.endpoint, method, operation)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Longtask", "version": "1"},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": _SCHEMAS,
            "responses": {str(code): response for code, response in _RESPONSES.items()},
            "parameters": _PARAMETERS,
            "headers": _HEADERS,
        },
    }
    if app.config["LONGTASK_API_TOKEN"]:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _complete(app: Flask, endpoint: str, method: str, operation: Schema) -> dict[str, Any]:
    """An operation with the answers that any of its kind may get."""
    codes = [] if method == "GET" else [403]
    if app.config["LONGTASK_API_TOKEN"] and operation.get("security") != []:
        codes.append(401)
    responses = {**problems(*codes), **operation["responses"]}
    return {"operationId": endpoint, **operation, "responses": dict(sorted(responses.items()))}


def init_app(app: Flask) -> None:
    app.register_blueprint(bp)
