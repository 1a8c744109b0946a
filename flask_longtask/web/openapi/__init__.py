"""The HTTP contract as an OpenAPI 3.1 document, at `/openapi.json`: what an app uses to add its own routes.

::

    @app.post("/longtask")
    @openapi.documented(openapi.starts("Start a long task", steps=openapi.whole_number(1, 1000)))
    def start_longtask(): …

Addresses and methods come from the routes themselves, and what holds for all of them is added to each.
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
