"""The building blocks of operations and components. None of them belongs to a single route."""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

#: The media types of a request body.
BODIES = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")

#: The media types of an answer besides JSON.
HTML = {"text/html": {"schema": {"type": "string"}}}
STREAM = {"text/event-stream": {"schema": {"type": "string"}}}


def schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def header(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/headers/{name}"}


def parameter(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/parameters/{name}"}


def problems(*codes: int) -> dict[str, Any]:
    """Return references to the error answers with these codes."""
    return {str(code): {"$ref": f"#/components/responses/{code}"} for code in codes}


def as_json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def problem(description: str, **headers: Schema) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": schema("Problem")}, **HTML}
    return {"description": description, "headers": headers, "content": content}


def see_other(description: str) -> dict[str, Any]:
    """Return a 303, which redirects a browser."""
    headers = {"Location": header("address")}
    return {"description": description, "headers": headers, "content": HTML}


def complete_object(
    properties: Schema, optional: Schema | None = None, **more: Any
) -> dict[str, Any]:
    """Return the schema of an object with all of these properties, any of the optional ones, and no others."""
    closed = {"required": list(properties), "additionalProperties": False}
    return {"type": "object", **more, **closed, "properties": {**properties, **(optional or {})}}
