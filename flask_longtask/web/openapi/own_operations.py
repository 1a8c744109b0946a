"""The operations of the extension's own routes, by endpoint."""

from typing import Any

from flask_longtask.web.openapi.components import ID
from flask_longtask.web.openapi.parts import (
    BODIES,
    HTML,
    STREAM,
    as_json,
    complete_object,
    header,
    parameter,
    problem,
    problems,
    schema,
    see_other,
)

_TASK_OR_NULL_BY_ID = {
    "type": "object",
    "additionalProperties": {"anyOf": [schema("Task"), {"type": "null"}]},
}

_CANCELLED = {"description": "The task is cancelled.", "content": as_json(schema("Task"))}

_TOKEN = {
    "type": "object",
    "required": ["token"],
    "properties": {"token": {"type": "string"}, "next": {"type": "string"}},
}

_FILTERS = [
    {
        "name": "state",
        "in": "query",
        "schema": {
            "enum": [
                *("", "open", "waiting", "scheduled", "running", "retry"),
                *("ended", "done", "failed", "cancelled"),
            ]
        },
    },
    *(
        {"name": name, "in": "query", "schema": {"type": "string", "maxLength": 255}}
        for name in ("task", "queue", "words")
    ),
    {"name": "cursor", "in": "query", "schema": {"type": "string"}},
]

_TAKES_TOKEN = {
    "required": True,
    "content": {media_type: {"schema": _TOKEN} for media_type in BODIES},
}

_TOKEN_IS_RIGHT = {
    "204": {"description": "The token is right. The session cookie stands for it from now on."},
    "303": see_other("The token is right: a browser that sends a plain form is sent on."),
}

OPERATIONS: dict[str, Any] = {
    "longtask.status": {
        "summary": "The status of a task",
        "parameters": [parameter("task_id"), parameter("prefer")],
        "responses": {
            "200": {
                "description": "The status object, or a stream of its changes until the task ends.",
                "headers": {"Retry-After": header("seconds_until_it_ends")},
                "content": {**as_json(schema("Task")), **HTML, **STREAM},
            },
            **problems(404, 503),
        },
    },
    "longtask.history": {
        "summary": "The attempts at a task, and the lines that it has logged",
        "parameters": [
            parameter("task_id"),
            {
                "name": "after",
                "in": "query",
                "description": "The number of the last line that is known: only later ones are answered.",
                "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999_999_999},
            },
        ],
        "responses": {
            "200": {
                "description": "The history, or a stream of its changes until the task ends.",
                "content": {**as_json(schema("History")), **STREAM},
            },
            **problems(400, 404, 503),
        },
    },
    "longtask.result": {
        "summary": "The result of a task, of any size",
        "parameters": [parameter("task_id")],
        "responses": {
            "200": {"description": "What the task returned.", "content": as_json({})},
            **problems(404, 503),
        },
    },
    "longtask.parts": {
        "summary": "The parts of a family: a group, a chain, a chord, or a task with children",
        "parameters": [
            parameter("task_id"),
            {
                "name": "cursor",
                "in": "query",
                "description": "The value of `next` in the answer before.",
                "schema": {"type": "string", "pattern": "^[0-9]{1,12}$"},
            },
        ],
        "responses": {
            "200": {
                "description": "Some parts: those that failed come first, then those that run. A page for a browser.",
                "content": {
                    **as_json(
                        complete_object(
                            {
                                "parts": {"type": "array", "items": schema("Part")},
                                "next": {"type": ["string", "null"]},
                            }
                        )
                    ),
                    **HTML,
                },
            },
            **problems(400, 404, 503),
        },
    },
    "longtask.cancel": {
        "summary": "Cancel a task",
        "parameters": [parameter("task_id")],
        "responses": {
            "200": _CANCELLED,
            **problems(400, 404, 409, 413, 503),
        },
    },
    "longtask.cancel_by_form": {
        "summary": "Cancel a task, for a form",
        "parameters": [parameter("task_id")],
        "responses": {
            "303": see_other("The task is cancelled, or had already ended: see its page."),
            **problems(400, 404, 413, 503),
        },
    },
    "longtask.restart": {
        "summary": "Start a task again that has failed or was cancelled, with the same arguments",
        "parameters": [parameter("task_id"), parameter("idempotency_key")],
        "responses": {
            "202": {
                "description": "A new task is started.",
                "headers": {"Location": header("address"), "Retry-After": header("seconds")},
                "content": as_json(schema("Task")),
            },
            "303": see_other("For a plain form: see the page of the new task."),
            **problems(400, 404, 413, 422, 429, 503),
            "409": problem(
                "The task cannot be started again, or a request with the same Idempotency-Key is still being answered."
            ),
        },
    },
    "longtask.statuses": {
        "summary": "The statuses of many tasks",
        "parameters": [
            {
                "name": "id",
                "in": "query",
                "required": True,
                "schema": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 100,
                    "items": ID,
                },
            }
        ],
        "responses": {
            "200": {
                "description": "The status object of each task by its id, null if it does not exist.",
                "content": {
                    **as_json(complete_object({"tasks": _TASK_OR_NULL_BY_ID})),
                    **STREAM,
                },
            },
            **problems(400, 414, 503),
        },
    },
    "longtask.tasks": {
        "summary": "The tasks that this user or browser has started, newest first",
        "responses": {
            "200": {
                "description": "The tasks that have not expired.",
                "content": {
                    **as_json(
                        complete_object({"tasks": {"type": "array", "items": schema("Task")}})
                    ),
                    **HTML,
                },
            },
            **problems(503),
        },
    },
    "longtask.health": {
        "summary": "Whether tasks can be accepted and run",
        "security": [],
        "responses": {
            "200": {"description": "Tasks can be accepted.", "content": as_json(schema("Health"))},
            "503": {
                "description": "Redis or the broker is away.",
                "headers": {"Retry-After": header("seconds")},
                "content": as_json(schema("Health")),
            },
        },
    },
    "longtask_token.give": {
        "summary": "Log a browser in with the token, for all its requests",
        "security": [],
        "requestBody": _TAKES_TOKEN,
        "responses": {
            **_TOKEN_IS_RIGHT,
            **problems(400, 401, 413, 415, 429, 503),
        },
    },
    "longtask_operate.page": {
        "summary": "The operators' page",
        "parameters": _FILTERS,
        "responses": {
            "200": {"description": "The page.", "content": HTML},
            **problems(400, 401, 404, 429, 503),
        },
    },
    "longtask_operate.tasks": {
        "summary": "All that the operators' page shows: tasks that match the filters, workers, and queues",
        "parameters": _FILTERS,
        "responses": {
            "200": {
                "description": "At most 50 tasks, the open ones before the ended ones.",
                "content": as_json(schema("Operations")),
            },
            **problems(400, 401, 404, 429, 503),
        },
    },
    "longtask_operate.cancel": {
        "summary": "Cancel any task",
        "parameters": [parameter("task_id")],
        "responses": {
            "200": _CANCELLED,
            **problems(400, 401, 404, 409, 413, 429, 503),
        },
    },
    "longtask_operate.cancel_by_form": {
        "summary": "Cancel any task, for a form",
        "parameters": [parameter("task_id"), *_FILTERS],
        "responses": {
            "303": see_other("The task is cancelled, or had already ended: see the page."),
            **problems(400, 401, 404, 413, 429, 503),
        },
    },
    "longtask_operate.restart": {
        "summary": "Start any task again that has failed or was cancelled",
        "parameters": [parameter("task_id"), *_FILTERS],
        "responses": {
            "202": {
                "description": "A new task is started with the same arguments.",
                "headers": {"Location": header("address")},
                "content": as_json(schema("Task")),
            },
            "303": see_other("The same, for a browser that sends a plain form: see the page."),
            **problems(400, 401, 404, 409, 413, 429, 503),
        },
    },
    "longtask_operate.give": {
        "summary": "Log a browser in with the operators' token",
        "security": [],
        "requestBody": _TAKES_TOKEN,
        "responses": {
            **_TOKEN_IS_RIGHT,
            **problems(400, 401, 404, 413, 415, 429, 503),
        },
    },
    "longtask_openapi.openapi": {
        "summary": "This document",
        "responses": {
            "200": {"description": "OpenAPI 3.1.", "content": as_json({"type": "object"})}
        },
    },
}
