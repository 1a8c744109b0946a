"""The schemas, responses, parameters and headers that several operations share and refer to by name."""

from collections.abc import Mapping
from typing import Any

from flask_longtask.celery.sending import LONGEST_ID
from flask_longtask.status.family import PHASES
from flask_longtask.status.history import (
    LONGEST_ERROR,
    LONGEST_LEVEL,
    LONGEST_LINE,
    MOST_ATTEMPTS,
    OUTCOMES,
)
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

_COUNT = {"type": "integer", "minimum": 0}

_TIME = {"type": ["string", "null"], "format": "date-time"}

_NUMBER = {"type": "integer", "minimum": 1}

_TASK: dict[str, Any] = {
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
    "reported": _TIME,
    "finished": _TIME,
    "eta": {"type": ["number", "null"], "minimum": 0, "description": "Seconds left."},
    "attempt": {"type": ["integer", "null"], "minimum": 0},
    "parts": {
        "anyOf": [
            complete_object(dict.fromkeys(("total", *PHASES), _COUNT)),
            {"type": "null"},
        ],
        "description": "Of a family: how many parts it has, and in which phases they are.",
    },
    "meta": {
        "type": ["object", "null"],
        "description": "What the task reports besides current, total and status.",
    },
}

_TASK_AT_TIMES: dict[str, Any] = {
    "result_bytes": {
        "type": "integer",
        "minimum": 1,
        "description": "The size of a result that is too large for this object: see /result/{task_id}.",
    },
    "restartable": {
        "const": True,
        "description": "The task has ended and can be started again.",
    },
    "restart_of": ID,
}

_SCHEMAS: dict[str, Any] = {
    "Task": complete_object(_TASK, optional=_TASK_AT_TIMES, description="The status of a task."),
    "Part": complete_object(
        {
            **_TASK,
            "part": {
                "type": ["integer", "null"],
                "minimum": 1,
                "description": "Its number in its family.",
            },
        },
        optional=_TASK_AT_TIMES,
        description="The status of a task in a family.",
    ),
    "History": complete_object(
        {
            "attempts": {
                "type": "array",
                "maxItems": MOST_ATTEMPTS,
                "items": complete_object(
                    {
                        "number": _NUMBER,
                        "started": _TIME,
                        "finished": _TIME,
                        "worker": {"type": ["string", "null"]},
                        "outcome": {"enum": [*OUTCOMES, None]},
                        "error": {"type": ["string", "null"], "maxLength": LONGEST_ERROR},
                    }
                ),
            },
            "lines": {
                "type": "array",
                "items": complete_object(
                    {
                        "number": _NUMBER,
                        "time": _TIME,
                        "level": {"type": "string", "maxLength": LONGEST_LEVEL},
                        "attempt": _NUMBER,
                        "text": {"type": "string", "maxLength": LONGEST_LINE},
                    }
                ),
            },
        },
        description="How each attempt at a task ended, and what the task has logged.",
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

_TEXT_OR_NULL = {"type": ["string", "null"]}

#: What belongs to whoever has started a task, and may be large.
_NOT_FOR_OPERATORS = ("result", "meta")


def _for_operators(task: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return the schema of a status object as the operators' page has it, with these further properties."""
    shown = {n: p for n, p in task["properties"].items() if n not in _NOT_FOR_OPERATORS}
    required = {name: shown[name] for name in task["required"] if name in shown}
    optional = {name: part for name, part in shown.items() if name not in required}
    return complete_object({**required, **more}, optional)


_COUNT = {"type": "integer", "minimum": 0}

_SCHEMAS["Operations"] = complete_object(
    {
        "tasks": {
            "type": "array",
            "maxItems": 50,
            "items": _for_operators(
                _SCHEMAS["Task"],
                **dict.fromkeys(("queue", "owner", "worker"), _TEXT_OR_NULL),
            ),
        },
        "next": {**_TEXT_OR_NULL, "description": "The cursor of the next page."},
        "workers": {
            "type": "array",
            "items": complete_object(
                {
                    "id": {"type": "string"},
                    "name": {"type": "string"},
                    "alive": {"type": "boolean"},
                    "silent_for": {"type": "number", "minimum": 0},
                    "queues": {"type": "array", "items": {"type": "string"}},
                    "running": _COUNT,
                    "tasks": {"type": "array", "items": _for_operators(_SCHEMAS["Task"])},
                }
            ),
        },
        "queues": {
            "type": "array",
            "items": complete_object(
                {
                    "name": {"type": "string"},
                    "waiting": _COUNT,
                    "oldest": {
                        "type": ["number", "null"],
                        "minimum": 0,
                        "description": "Seconds for which the oldest task has waited.",
                    },
                    "workers": {"type": "array", "items": {"type": "string"}},
                }
            ),
        },
        "counts": complete_object(
            dict.fromkeys(("open", "ended", "running", "waiting", "scheduled"), _COUNT)
        ),
    },
    description="What the operators' page shows.",
)

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
