"""LONGTASK_API_TOKEN: where it is set, every request but `/health` needs it.

A program sends it as a bearer token (RFC 6750). A person is asked for it once, by the page that answers the
first request; the browser's session cookie then says that it was given, on every request that a page makes,
those that cannot carry a header of their own included.
"""

import hmac
from hashlib import sha256

from flask import Blueprint, Flask, Response, current_app, redirect, request, session
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException, Unauthorized
from werkzeug.wrappers import Response as BaseResponse

from flask_longtask.web.fields import fields
from flask_longtask.web.problems import problem, wants_html

_OPEN = frozenset({"longtask.health", "longtask_token.give", "longtask.static", "static"})
_SESSION_FIELD = "longtask_token"

bp = Blueprint("longtask_token", __name__)
bp.register_error_handler(HTTPException, problem)


class TokenMissing(Unauthorized):
    """The request shows no token."""

    description = (
        "A token is needed here. Reload the page to give it, or send it as a bearer token."
    )

    def __init__(self) -> None:
        super().__init__(www_authenticate=WWWAuthenticate("bearer", {"realm": "longtask"}))


class TokenWrong(TokenMissing):
    """The token that the request shows is another."""

    description = "That is not the token."


@bp.post("/session")
def give() -> BaseResponse:
    """Take the token from a person, for as long as the browser is open."""
    token = fields().get("token")
    if not isinstance(token, str) or not _equal(token, current_app.config["LONGTASK_API_TOKEN"]):
        raise TokenWrong
    session[_SESSION_FIELD] = _proof()
    if not wants_html():
        return Response(status=204)
    place = request.form.get("next", "")
    # Only a place on this site: `//` and `/\` lead to another.
    is_here = place.startswith("/") and place[1:2] not in ("/", "\\")
    return redirect(place if is_here else request.script_root + "/", 303)


def check_token() -> None:
    """Raise TokenMissing unless the request may pass."""
    if request.endpoint in _OPEN or _equal(session.get(_SESSION_FIELD, ""), _proof()):
        return
    shown = request.authorization
    if shown is None or shown.type != "bearer" or not shown.token:
        raise TokenMissing
    if not _equal(shown.token, current_app.config["LONGTASK_API_TOKEN"]):
        raise TokenWrong


def init_app(app: Flask) -> None:
    if not app.config["LONGTASK_API_TOKEN"]:
        return
    app.before_request(check_token)
    app.register_blueprint(bp)
    app.register_error_handler(TokenMissing, problem)


def _proof() -> str:
    """What a session keeps instead of the token: another token makes it worthless."""
    token = current_app.config["LONGTASK_API_TOKEN"].encode()
    key = current_app.secret_key or ""
    return hmac.new(key.encode() if isinstance(key, str) else key, token, sha256).hexdigest()


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
