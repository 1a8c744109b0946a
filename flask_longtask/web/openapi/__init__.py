"""The HTTP contract as an OpenAPI 3.1 document, at `/openapi.json`. An app documents its own routes with these names.

::

    @app.post("/longtask")
    @openapi.documented(openapi.starts("Start a long task", steps=openapi.whole_number(1, 1000)))
    def start_longtask(): …

Paths and methods come from the routes, and the answers that every route may give are added to each.
"""

from flask_longtask.web.openapi.app_operations import (
    documented,
    page,
    seconds,
    starts,
    tells,
    whole_number,
)
from flask_longtask.web.openapi.parts import problems

__all__ = [
    "documented",
    "page",
    "problems",
    "seconds",
    "starts",
    "tells",
    "whole_number",
]
