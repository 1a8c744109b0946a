"""An integer is doubled, after a wait in the queue; and three tasks that are smaller still."""

import re
import time
from decimal import MAX_EMAX, Context, Decimal
from typing import Any

from celery import shared_task
from flask import Blueprint, current_app, request
from werkzeug.wrappers import Response

from flask_longtask import BadField, accepted, fields, openapi

#: Larger integers are strings in JSON: not every reader keeps their digits, JavaScript's does not (RFC 7493).
LARGEST_NUMBER = 2**53 - 1

bp = Blueprint("double", __name__)


@shared_task
def double(digits: str) -> int | str:
    """Twice an integer that is given as decimal digits: an int, or a string when it is a large one."""
    time.sleep(current_app.config["DOUBLE_WORK_SECONDS"])
    # Python refuses to make an int of more than 4,300 digits, since its time grows with their square.
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
    # The digits, and what a form or JSON has around them.
    request.max_content_length = current_app.config["DOUBLE_MAX_DIGITS"] + 1024
    digits = _digits(fields().get("number"))
    return accepted(
        double.apply_async((digits,), countdown=current_app.config["DOUBLE_WAIT_SECONDS"])
    )


def _digits(value: Any) -> str:
    """The integer that a form or JSON has sent, as digits."""
    most = current_app.config["DOUBLE_MAX_DIGITS"]
    text = str(value).strip() if type(value) in (int, str) else ""
    if not re.fullmatch(rf"[+-]?[0-9]{{1,{most}}}", text):
        raise BadField("number", f"must be a whole number of at most {most:,} digits.")
    return text
