"""Values that belong to one request. Flask's `g` belongs to the app context, which several requests may share."""

from typing import Any

from flask import request

_KEY = "longtask.kept"


def kept() -> dict[str, Any]:
    """Return the values that this package keeps for the current request, by name."""
    values: dict[str, Any] = request.environ.setdefault(_KEY, {})
    return values
