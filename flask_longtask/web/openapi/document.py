"""Builds the OpenAPI document of an app, and serves it. Its parts come from the other modules of this folder."""

import json
import re
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request

from flask_longtask.web.openapi.components import COMPONENTS
from flask_longtask.web.openapi.own_operations import OPERATIONS
from flask_longtask.web.openapi.parts import Schema, problems

bp = Blueprint("longtask_openapi", __name__)


@bp.get("/openapi.json")
def openapi() -> Response:
    document = {**describe(current_app), "servers": [{"url": request.script_root or "/"}]}
    return Response(json.dumps(document), mimetype="application/json")


def describe(app: Flask) -> dict[str, Any]:
    """Return the document of all routes of an app that have an operation."""
    paths: dict[str, Any] = {}
    for rule in app.url_map.iter_rules():
        operation = OPERATIONS.get(rule.endpoint) or getattr(
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
        "components": dict(COMPONENTS),
    }
    if app.config["LONGTASK_API_TOKEN"]:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _complete(app: Flask, endpoint: str, method: str, operation: Schema) -> dict[str, Any]:
    """Return an operation with the error answers that every route may give."""
    codes = [400] if method == "GET" else [400, 403]  # 400 for an untrusted host
    if app.config["LONGTASK_API_TOKEN"] and operation.get("security") != []:
        codes += [401, 429]
    responses = {**problems(*codes), **operation["responses"]}
    return {"operationId": endpoint, **operation, "responses": dict(sorted(responses.items()))}
