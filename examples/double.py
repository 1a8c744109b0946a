"""Doubles an integer after a wait in the queue; also has three smaller tasks."""

import re
import time
from decimal import MAX_EMAX, Context, Decimal
from typing import Any

from celery import shared_task
from flask import Blueprint, current_app, request
from werkzeug.wrappers import Response

from flask_longtask import BadField, accepted, fields, openapi

#: Larger integers are sent as strings in JSON, because many readers, such as JavaScript, lose digits (RFC 7493, 2.2).
LARGEST_NUMBER = 2**53 - 1

bp = Blueprint("double", __name__)


@shared_task(restartable=True)
def double(digits: str) -> int | str:
    """Double the integer in `digits`. Returns an int, or a string if the result is above LARGEST_NUMBER."""
    time.sleep(current_app.config["DOUBLE_WORK_SECONDS"])
    # Python refuses to convert more than 4,300 digits to an int, since the time grows with their square.
    number = Decimal(digits)
    twice = Context(prec=len(digits) + 1, Emax=MAX_EMAX).add(number, number)
    return int(twice) if twice.copy_abs() <= LARGEST_NUMBER else str(twice)


@shared_task
def add(x: float, y: float) -> float:
    return x + y


@shared_task
def mul(x: float, y: float) -> float:
    return x * y


@shared_task
def xsum(numbers: list[float]) -> float:
    return sum(numbers)


@bp.post("/double")
@openapi.documented(
    openapi.starts(
        "Double an integer",
        required=("number",),
        number={"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^[+-]?[0-9]+$"}]},
    )
)
def start() -> Response:
    # The digits, and the form or JSON around them.
    request.max_content_length = current_app.config["DOUBLE_MAX_DIGITS"] + 1024
    digits = _digits(fields().get("number"))
    return accepted(
        double.apply_async((digits,), countdown=current_app.config["DOUBLE_WAIT_SECONDS"])
    )


def _digits(value: Any) -> str:
    """Return the integer in a form or in JSON as digits. Raises BadField for any other value."""
    most = current_app.config["DOUBLE_MAX_DIGITS"]
    text = str(value).strip() if type(value) in (int, str) else ""
    if not re.fullmatch(rf"[+-]?[0-9]{{1,{most}}}", text):
        raise BadField("number", f"must be a whole number of at most {most:,} digits.")
    return text
