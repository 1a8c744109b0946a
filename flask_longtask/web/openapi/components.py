"""The schemas, responses, parameters and headers that several operations share and refer to by name."""

from typing import Any

from flask_longtask.celery.sending import LONGEST_ID
from flask_longtask.web.openapi.parts import HTML, complete_object, header, problem
from flask_longtask.web.protection.idempotency import HEADER, LONGEST_KEY

_RETRY_AFTER = {"Retry-After": header("seconds")}

_RESPONSES: dict[str, Any] = {
    "400": problem("The request is invalid. If a field is, `field` names it."),
    "401": problem("The token is missing or wrong.", **{"WWW-Authenticate": header("challenge")}),
    "403": problem("A page of another site may not do this."),
    "404": problem("It does not exist, or it has expired."),
    "409": problem(
        "The task has already ended, or a request with the same Idempotency-Key is still being answered."
    ),
    "413": problem("The body is too large, or has too many fields."),
    "414": {
        "description": "The address is too long. The web server itself answers this.",
        "content": HTML,
    },
    "415": problem("The body is neither a form nor JSON."),
    "422": problem("The Idempotency-Key was already used with a different body."),
    "429": problem("Too many requests.", **_RETRY_AFTER),
    "503": problem("Redis or the broker is away, or the queue is full.", **_RETRY_AFTER),
}

ID = {"type": "string", "minLength": 1, "maxLength": LONGEST_ID}

_TIME = {"type": ["string", "null"], "format": "date-time"}

_SCHEMAS: dict[str, Any] = {
    "Task": complete_object(
        {
            "state": {
                "type": "string",
                "description": "PENDING, PROGRESS, RETRY, SUCCESS, FAILURE, REVOKED, or a state of the task's own.",
            },
            "current": {"type": "number", "minimum": 0},
            "total": {"type": "number", "exclusiveMinimum": 0},
            "status": {"type": "string", "description": "A sentence for a person."},
            "result": {"description": "What the task returned; null before SUCCESS."},
            "task_id": ID,
            "task": {"type": ["string", "null"]},
            "percent": {
                "type": "integer",
                "minimum": 0,
                "maximum": 100,
                "description": "100 with SUCCESS, and only then.",
            },
            "submitted": _TIME,
            "started": _TIME,
            "finished": _TIME,
            "eta": {"type": ["number", "null"], "minimum": 0, "description": "Seconds left."},
            "attempt": {"type": ["integer", "null"], "minimum": 0},
        },
        optional={
            "result_bytes": {
                "type": "integer",
                "minimum": 1,
                "description": "The size of a result that is too large for this object: see /result/{task_id}.",
            }
        },
        description="The status of a task.",
    ),
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
    "Health": complete_object(
        {
            "redis": {"enum": ["up", "read-only", "down"]},
            "workers": {"type": ["integer", "null"], "minimum": 0},
            "waiting": {"type": ["integer", "null"], "minimum": 0},
        },
        optional={"warnings": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
    ),
}

_PARAMETERS: dict[str, Any] = {
    "task_id": {
        "name": "task_id",
        "in": "path",
        "required": True,
        "schema": ID,
    },
    "idempotency_key": {
        "name": HEADER,
        "in": "header",
        "description": "Requests of one client with the same key, address and body start one task.",
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
        "description": "With `wait=30`, the answer comes when the task ends, or after 30 seconds (RFC 7240).",
        "schema": {"type": "string"},
    },
}

_HEADERS: dict[str, Any] = {
    "address": {"required": True, "schema": {"type": "string", "format": "uri-reference"}},
    "seconds": {"required": True, "schema": {"type": "integer", "minimum": 1}},
    "seconds_until_it_ends": {"schema": {"type": "integer", "minimum": 1}},
    "challenge": {"required": True, "schema": {"type": "string"}},
}

COMPONENTS = {
    "schemas": _SCHEMAS,
    "responses": _RESPONSES,
    "parameters": _PARAMETERS,
    "headers": _HEADERS,
}
