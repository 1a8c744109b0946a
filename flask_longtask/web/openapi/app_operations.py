"""OpenAPI operations for the routes of an app. Those of the extension are in own_operations.py."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask_longtask.web.openapi.parts import (
    BODIES,
    HTML,
    Schema,
    as_json,
    header,
    parameter,
    problem,
    problems,
    schema,
    see_other,
)

View = TypeVar("View", bound=Callable[..., Any])


def documented(operation: Schema) -> Callable[[View], View]:
    """Decorate a view function with its OpenAPI operation."""

    def keep(view: View) -> View:
        view.openapi = operation  # type: ignore[attr-defined]
        return view

    return keep


def starts(
    summary: str,
    *,
    required: tuple[str, ...] = (),
    media_types: tuple[str, ...] = BODIES,
    answer: Schema | None = None,
    conflict: str | None = None,
    **fields: Schema,
) -> dict[str, Any]:
    """Return the operation of a route that starts a task.

    `fields` are the schemas of the fields of its form or JSON object, and `required` the names of those that a request
    must have. `answer` is the schema of the 202 if it is not the status object. `conflict` describes the 409.
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
        "parameters": [parameter("idempotency_key")],
        "requestBody": {
            "required": bool(required),
            "content": {media_type: {"schema": body(media_type)} for media_type in media_types},
        },
        "responses": {
            "202": {
                "description": "The task was started. Poll its address for its status.",
                "headers": {"Location": header("address"), "Retry-After": header("seconds")},
                "content": as_json(answer or schema("Task")),
            },
            "303": see_other(
                "The task was started: a browser that sends a plain form is sent to its page."
            ),
            **problems(400, 409, 413, 415, 422, 429, 503),
            **({"409": problem(conflict)} if conflict else {}),
        },
    }


def whole_number(minimum: int, maximum: int) -> Schema:
    """Return the schema of a field that `flask_longtask.integer` reads."""
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


def seconds(maximum: float) -> Schema:
    """Return the schema of a field that `flask_longtask.seconds` reads."""
    return {"type": "number", "minimum": 0, "maximum": maximum}


def _in_json(field: Schema, optional: bool) -> Schema:
    """Return the schema of a field in JSON: a number may also be a string, and an optional one empty or null."""
    if "maximum" not in field:
        return field
    least, most = field["minimum"], int(field["maximum"])
    digits = f"[{least}-{most}]" if most < 10 else f"[1-9][0-9]{{0,{len(str(most)) - 2}}}"
    if optional:
        text = {"type": "string", "pattern": f"^({digits})?$"}
        return {"anyOf": [field, text, {"type": "null"}]}
    return {"anyOf": [field, {"type": "string", "pattern": f"^{digits}$"}]}


def tells(summary: str, answer: Schema, *parameters: str) -> dict[str, Any]:
    """Return the operation of a route that answers with JSON, or with a page for a browser."""
    return {
        "summary": summary,
        "parameters": [parameter(name) for name in parameters],
        "responses": {
            "200": {
                "description": "The present state.",
                "content": {**as_json(answer), **HTML},
            },
            **problems(404, 503),
        },
    }


def page(summary: str) -> dict[str, Any]:
    """Return the operation of a route that answers with a page."""
    return {
        "summary": summary,
        "responses": {"200": {"description": "A page.", "content": HTML}},
    }
