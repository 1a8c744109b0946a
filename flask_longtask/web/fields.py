"""Reads the fields of a request that starts a task, from a form or from JSON, and checks them."""

import json
import math
from collections.abc import Mapping
from typing import Any

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from flask_longtask.web import body
from flask_longtask.web.problems import BadBody, BadField


def fields() -> Mapping[str, Any]:
    """The request's fields: of a JSON object or of a form; none at all where there is no body.

    An integer in JSON with more digits than Python makes an int of is a string of them, as from a form.
    Raises BadBody (400) for malformed JSON or JSON that is no object, ClientDisconnected (also 400) for a body that
    does not come whole, UnsupportedMediaType for anything else.
    """
    body.guard(request.environ)
    if _is_cut_off():
        raise RequestEntityTooLarge
    if request.is_json:
        try:
            document = json.loads(request.get_data(), parse_int=_integer)
        except (ValueError, RecursionError) as error:  # the latter where it is nested too deeply
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
    """Whether the body goes on beyond the limit although it did not say so: Werkzeug drops what is left.

    It refuses such an upload, multipart/form-data, by itself.
    """
    if request.content_length is not None or request.mimetype == "multipart/form-data":
        return False
    limit = request.max_content_length
    return limit is not None and len(request.get_data()) >= limit


def _is_broken() -> bool:
    """Whether a multipart body has nothing in it that Werkzeug can read, which it takes for no fields."""
    if request.form or request.files:
        return False
    # The closing border, with the line break that some clients put before it.
    border = len(request.mimetype_params.get("boundary", "")) + len("\r\n----\r\n")
    length = request.content_length
    if length is None:  # what was read, and what was not since there is no border
        length = request.stream.tell() + len(request.stream.read(border + 1))
    return length > border


def _integer(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits


def integer(name: str, default: int | None = None, *, minimum: int, maximum: int) -> int:
    """An integer field of the request, or the default where it is absent or empty.

    Raises BadField for anything else, for an integer out of bounds, and where there is no default.
    """
    value = fields().get(name, "")
    if value in ("", None) and default is not None:
        return default
    try:
        # int() would also take a bool and cut a fraction off.
        number = int(_plain(value)) if isinstance(value, str) else value
    except ValueError:
        number = None
    if type(number) is not int or not minimum <= number <= maximum:
        raise BadField(name, f"must be a whole number from {minimum:,} to {maximum:,}.")
    return number


def seconds(name: str, default: float, maximum: float) -> float:
    """A field with a length of time in seconds, from 0 to `maximum`; otherwise as `integer`."""
    value = fields().get(name, "")
    if value in ("", None):
        return default
    try:
        number = float(_plain(value)) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not 0 <= number <= maximum:  # false for a NaN, too
        raise BadField(name, f"must be a number of seconds from 0 to {maximum:g}.")
    return number


def _plain(value: str | int | float) -> str | int | float:
    """A number as everybody writes it: Python itself also takes 1_0 and the digits of every script."""
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        raise ValueError(value)
    return value
