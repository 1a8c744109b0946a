"""What is kept for one request. Flask's `g` belongs to the app context, which several requests may share."""

from typing import Any

from flask import request

_KEY = "longtask.kept"


def kept() -> dict[str, Any]:
    """What this package keeps for the present request, by names."""
    values: dict[str, Any] = request.environ.setdefault(_KEY, {})
    return values
