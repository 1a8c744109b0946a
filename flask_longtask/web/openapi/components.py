"""What operations refer to by name: the schemas, answers, parameters and headers that several of them share."""

from typing import Any

from flask_longtask.web.ids import LONGEST
from flask_longtask.web.openapi.parts import HTML, complete_object, header, problem
from flask_longtask.web.protection.idempotency import HEADER, LONGEST_KEY

_RETRY_AFTER = {"Retry-After": header("seconds")}

_RESPONSES: dict[str, Any] = {
    "400": problem(
        "Something in the request cannot be used; `field` names it where it is a field."
    ),
    "401": problem("The token is missing or wrong.", **{"WWW-Authenticate": header("challenge")}),
    "403": problem("Another site's page may not do this."),
    "404": problem("There is no such thing, or it has expired."),
    "409": problem(
        "It has already ended; of a start: a request with the same Idempotency-Key is still being answered."
    ),
    "413": problem("The body is too large, or has too many fields."),
    "414": {
        "description": "The address is too long: the web server's own answer.",
        "content": HTML,
    },
    "415": problem("The body is neither a form nor JSON."),
    "422": problem("The Idempotency-Key was already used with a different body."),
    "429": problem("Too often.", **_RETRY_AFTER),
    "503": problem("Redis or the broker is away, or the queue is full.", **_RETRY_AFTER),
}

ID = {"type": "string", "minLength": 1, "maxLength": LONGEST}

_TIME = {"type": ["string", "null"], "format": "date-time"}

_SCHEMAS: dict[str, Any] = {
    "Task": complete_object(
        {
            "state": {
                "type": "string",
                "description": "PENDING, PROGRESS, RETRY, SUCCESS, FAILURE, REVOKED, or a task's own.",
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
                "description": "100 with SUCCESS and only then.",
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
                "description": "There is a result of this size, at /result/{task_id}.",
            }
        },
        description="The state of a task, as far as it is known.",
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
        "description": "The same key, address and body from the same client is the same task.",
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

COMPONENTS = {
    "schemas": _SCHEMAS,
    "responses": _RESPONSES,
    "parameters": _PARAMETERS,
    "headers": _HEADERS,
}
