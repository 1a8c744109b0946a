"""Refuses requests that another site's page makes with this browser's cookies.

The rule is that of OWASP's cross-site request forgery cheat sheet for Fetch Metadata: a browser says where
a request comes from (`Sec-Fetch-Site`, or at least `Origin`), and a page cannot change what it says. A
client that says neither is no browser, e.g. curl, and needs no token.
"""

from flask import request
from werkzeug.exceptions import Forbidden

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class CrossOrigin(Forbidden):
    """Another site's page tries to change something here."""

    description = "A page of another site may not start or cancel tasks here."


def check_origin() -> None:
    """Raise CrossOrigin for a state-changing request from another origin's page."""
    if request.method in _SAFE_METHODS:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site in ("same-origin", "none"):
        return
    origin = request.headers.get("Origin")
    if site is None and (origin is None or origin == request.host_url.rstrip("/")):
        return
    raise CrossOrigin
