"""The operations of the extension's own routes, by endpoint. The views are in routes.py, token.py and document.py."""

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
    problems,
    schema,
    see_other,
)

_TASK_OR_NULL_BY_ID = {
    "type": "object",
    "additionalProperties": {"anyOf": [schema("Task"), {"type": "null"}]},
}

_TOKEN = {
    "type": "object",
    "required": ["token"],
    "properties": {"token": {"type": "string"}, "next": {"type": "string"}},
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
    "longtask.result": {
        "summary": "The result of a task, of any size",
        "parameters": [parameter("task_id")],
        "responses": {
            "200": {"description": "What the task returned.", "content": as_json({})},
            **problems(404, 503),
        },
    },
    "longtask.cancel": {
        "summary": "Cancel a task",
        "parameters": [parameter("task_id")],
        "responses": {
            "200": {"description": "The task is cancelled.", "content": as_json(schema("Task"))},
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
        "requestBody": {
            "required": True,
            "content": {media_type: {"schema": _TOKEN} for media_type in BODIES},
        },
        "responses": {
            "204": {
                "description": "The token is right. The session cookie stands for it from now on."
            },
            "303": see_other("The token is right: a browser that sends a plain form is sent on."),
            **problems(400, 401, 413, 415, 429, 503),
        },
    },
    "longtask_openapi.openapi": {
        "summary": "This document",
        "responses": {
            "200": {"description": "OpenAPI 3.1.", "content": as_json({"type": "object"})}
        },
    },
}
