"""The parts that operations and components are put together from. None of them belongs to a single route."""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

#: What the body of a request may be.
BODIES = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")

#: What the body of an answer may be besides JSON.
HTML = {"text/html": {"schema": {"type": "string"}}}
STREAM = {"text/event-stream": {"schema": {"type": "string"}}}


def schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def header(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/headers/{name}"}


def parameter(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/parameters/{name}"}


def problems(*codes: int) -> dict[str, Any]:
    """The answers of an operation that are errors."""
    return {str(code): {"$ref": f"#/components/responses/{code}"} for code in codes}


def as_json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def problem(description: str, **headers: Schema) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": schema("Problem")}, **HTML}
    return {"description": description, "headers": headers, "content": content}


def see_other(description: str) -> dict[str, Any]:
    """A 303, which sends a browser on."""
    headers = {"Location": header("address")}
    return {"description": description, "headers": headers, "content": HTML}


def complete_object(
    properties: Schema, optional: Schema | None = None, **more: Any
) -> dict[str, Any]:
    """The schema of an object that has all of these properties, perhaps the optional ones, and no others."""
    closed = {"required": list(properties), "additionalProperties": False}
    return {"type": "object", **more, **closed, "properties": {**properties, **(optional or {})}}
