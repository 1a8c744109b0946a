"""Reads the fields of a request that starts a task, from a form or from JSON, and checks them."""

import json
import math
from collections.abc import Mapping
from typing import Any

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from flask_longtask.web import body
from flask_longtask.web.kept import kept
from flask_longtask.web.problems import BadBody, BadField


def fields() -> Mapping[str, Any]:
    """Return the request's fields, from a JSON object or a form. Without a body there are none.

    A JSON integer with more digits than Python converts to an int is a string of its digits, as from a form.

    Raises BadBody (400) for malformed JSON or JSON that is not an object, ClientDisconnected (also 400) for an
    incomplete body, RequestEntityTooLarge (413) for a body over the limit, and UnsupportedMediaType (415) for other
    media types.
    """
    values = kept()
    if "fields" not in values:
        values["fields"] = _read_fields()
    found: Mapping[str, Any] = values["fields"]
    return found


def _read_fields() -> Mapping[str, Any]:
    body.guard(request.environ)
    if _is_cut_off():
        raise RequestEntityTooLarge
    if request.is_json:
        try:
            document = json.loads(request.get_data(), parse_int=_integer)
        except (ValueError, RecursionError) as error:  # RecursionError: nested too deeply
            raise BadBody("The body is not valid JSON.") from error
        if not isinstance(document, dict):
            raise BadBody("The body must be a JSON object.")
        return document
    if request.mimetype == "multipart/form-data" and _is_broken():
        raise BadBody("The form cannot be read: it is malformed, or a field name is not UTF-8.")
    form_types = ("application/x-www-form-urlencoded", "multipart/form-data")
    if request.mimetype in form_types or not (request.content_length or request.get_data()):
        return request.form
    raise UnsupportedMediaType("Send a form or application/json.")


def _is_cut_off() -> bool:
    """Whether a body without a Content-Length exceeds the limit: Werkzeug silently drops the rest.

    Werkzeug itself refuses such a body if it is multipart/form-data.
    """
    if request.content_length is not None or request.mimetype == "multipart/form-data":
        return False
    limit = request.max_content_length
    return limit is not None and len(request.get_data()) >= limit


def _is_broken() -> bool:
    """Whether a multipart body is malformed: it is not empty, but Werkzeug reads no fields from it."""
    if request.form or request.files:
        return False
    # The length of the closing boundary, with the line break that some clients put before it.
    boundary = len(request.mimetype_params.get("boundary", "")) + len("\r\n----\r\n")
    length = request.content_length
    if length is None:  # chunked: count what Werkzeug has read, and what it has left
        length = request.stream.tell() + len(request.stream.read(boundary + 1))
    return length > boundary


def _integer(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits


def integer(name: str, default: int | None = None, *, minimum: int, maximum: int) -> int:
    """Return an integer field of the request, or the default if the field is absent or empty.

    Raises BadField for a value that is not an integer from `minimum` to `maximum`, and for an absent or empty field
    without a default.
    """
    value = fields().get(name, "")
    if value in ("", None) and default is not None:
        return default
    try:
        # Only for strings: int() would also accept a bool, and truncate a fraction.
        number = int(_plain(value)) if isinstance(value, str) else value
    except ValueError:
        number = None
    if type(number) is not int or not minimum <= number <= maximum:
        raise BadField(name, f"must be a whole number from {minimum:,} to {maximum:,}.")
    return number


def seconds(name: str, default: float, maximum: float) -> float:
    """Return a field with a number of seconds from 0 to `maximum`, or the default if the field is absent or empty.

    Raises BadField for any other value.
    """
    value = fields().get(name, "")
    if value in ("", None):
        return default
    try:
        number = float(_plain(value)) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not 0 <= number <= maximum:  # NaN fails the comparison
        raise BadField(name, f"must be a number of seconds from 0 to {maximum:g}.")
    return number


def _plain(value: str | int | float) -> str | int | float:
    """Refuse number formats that only Python accepts: `1_0` and non-ASCII digits."""
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        raise ValueError(value)
    return value
