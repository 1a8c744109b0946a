"""What an app says about its own routes, as operations. Those of the extension are in own_operations.py."""

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
    """Say what a view function takes and answers, as an OpenAPI operation."""

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
        "parameters": [parameter("idempotency_key")],
        "requestBody": {
            "required": bool(required),
            "content": {media_type: {"schema": body(media_type)} for media_type in media_types},
        },
        "responses": {
            "202": {
                "description": "Started. Ask its address how far it is.",
                "headers": {"Location": header("address"), "Retry-After": header("seconds")},
                "content": as_json(answer or schema("Task")),
            },
            "303": see_other("The same for a browser that sends a plain form."),
            **problems(400, 409, 413, 415, 422, 429, 503),
            **({"409": problem(conflict)} if conflict else {}),
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
        "parameters": [parameter(name) for name in parameters],
        "responses": {
            "200": {
                "description": "What is known now.",
                "content": {**as_json(answer), **HTML},
            },
            **problems(404, 503),
        },
    }


def page(summary: str) -> dict[str, Any]:
    """The operation of a route that answers with a page."""
    return {
        "summary": summary,
        "responses": {"200": {"description": "A page.", "content": HTML}},
    }
