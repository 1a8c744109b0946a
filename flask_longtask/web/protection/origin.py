"""Refuses requests that a page of another site makes with this browser's cookies.

The rule is from OWASP's Cross-Site Request Forgery Prevention Cheat Sheet, for Fetch Metadata: a browser says where a
request comes from (`Sec-Fetch-Site`, or at least `Origin`), and a page cannot change these headers. A client that
sends neither is not a browser (curl, for instance), and is not checked.
"""

from flask import request
from werkzeug.exceptions import Forbidden

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class CrossOrigin(Forbidden):
    """A page of another site tries to change something here: 403."""

    description = "A page of another site may not start or cancel tasks here."


def check_origin() -> None:
    """Raise CrossOrigin for a state-changing request from a page of another origin."""
    if request.method in _SAFE_METHODS:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site in ("same-origin", "none"):
        return
    origin = request.headers.get("Origin")
    if site is None and (origin is None or origin == request.host_url.rstrip("/")):
        return
    raise CrossOrigin
