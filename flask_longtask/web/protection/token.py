"""LONGTASK_API_TOKEN: where it is set, every request to a protected route but `/health` needs it.

A program sends it as a bearer token (RFC 6750). A person is asked for it once, by the page that answers the
first request; the browser's session cookie then says that it was given, on every request that a page makes,
those that cannot carry a header of their own included.

Who shows LONGTASK_WRONG_TOKENS wrong ones within a minute, in whatever way, is refused for the rest of it, with the
right one, too: guessing would go on otherwise. A right one costs nothing by that. A process that has not seen this
client's wrong ones itself takes one more guess.
"""

import hmac
from hashlib import sha256
from urllib.parse import unquote

from flask import Blueprint, Response, current_app, redirect, request, session
from redis.exceptions import RedisError
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException, TooManyRequests, Unauthorized
from werkzeug.wrappers import Response as BaseResponse

from flask_longtask.installed import installed
from flask_longtask.store.guesses import Guesses
from flask_longtask.web.client import client_address
from flask_longtask.web.fields import fields
from flask_longtask.web.owner import ensure_browser, forget
from flask_longtask.web.problems import problem, wants_html

_OPEN = frozenset({"longtask.health", "longtask_token.give", "longtask.static", "static"})
_SESSION_FIELD = "longtask_token"

#: Characters that the address may have to which a person goes after giving the token.
_LONGEST_PLACE = 2000

bp = Blueprint("longtask_token", __name__)
bp.register_error_handler(HTTPException, problem)


class TokenMissing(Unauthorized):
    """The request shows no token."""

    description = (
        "This site requires a token. Reload the page to enter it, or send it as a bearer token."
    )

    def __init__(self) -> None:
        super().__init__(www_authenticate=WWWAuthenticate("bearer", {"realm": "longtask"}))


class TokenWrong(TokenMissing):
    """The token that the request shows is another."""

    description = "The token is wrong."


class TooManyTokens(TooManyRequests):
    """The client has shown too many wrong tokens: this one was not looked at."""

    def __init__(self, seconds: int) -> None:
        super().__init__(
            f"Too many wrong tokens came from your address. Try again in {seconds} seconds.",
            retry_after=seconds,
        )


@bp.post("/session")
def give() -> BaseResponse:
    """Take the token from a person, for as long as the browser is open."""
    token = fields().get("token")
    if not isinstance(token, str):
        raise TokenWrong
    _check(token)
    # Nothing of a session that somebody else may have planted in this browser goes on.
    forget()
    ensure_browser()
    session[_SESSION_FIELD] = _proof()
    if not wants_html():
        return Response(status=204)
    place = request.form.get("next", "")
    return redirect(place if _is_here(place) else request.script_root + "/", 303)


def check_token() -> None:
    """Raise TokenMissing unless the request may pass."""
    if not current_app.config["LONGTASK_API_TOKEN"]:
        return
    if request.endpoint in _OPEN or _is_proof(session.get(_SESSION_FIELD)):
        return
    try:
        shown = request.authorization
    except ValueError:  # `Basic`, with bytes that are no text
        raise TokenMissing from None
    if shown is None or shown.type != "bearer" or not shown.token:
        raise TokenMissing
    _check(shown.token)


def _proof() -> str:
    """What a session keeps instead of the token: another token makes it worthless."""
    token = current_app.config["LONGTASK_API_TOKEN"].encode()
    key = current_app.secret_key or ""
    return hmac.new(key.encode() if isinstance(key, str) else key, token, sha256).hexdigest()


def _is_proof(kept: object) -> bool:
    return isinstance(kept, str) and hmac.compare_digest(_digest(kept), _digest(_proof()))


def _check(token: str) -> None:
    """Raise TokenWrong for another token than ours, and TooManyTokens once too many of them were shown."""
    guesses: Guesses = installed().celery.backend.store.guesses
    address, most = client_address(), current_app.config["LONGTASK_WRONG_TOKENS"]
    if seconds := guesses.seconds_barred(address, most):
        raise TooManyTokens(seconds)
    if _is_right(token):
        return
    try:
        seconds = guesses.count(address, most)
    except RedisError as error:
        current_app.logger.warning("A wrong token could not be counted: %s", error)
        raise TokenWrong from None
    raise TooManyTokens(seconds) if seconds else TokenWrong


def _is_right(token: str) -> bool:
    """Whether it is the token. How long this takes tells nothing of how near it is, nor of how long ours is."""
    right = _digest(current_app.config["LONGTASK_API_TOKEN"])
    # WSGI has decoded a header as Latin-1 (PEP 3333), whatever the client had encoded it by.
    in_utf_8 = token.encode("latin-1", "replace").decode("utf-8", "replace")
    equal = [hmac.compare_digest(_digest(form), right) for form in (token, in_utf_8)]
    return any(equal)


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _is_here(place: str) -> bool:
    r"""Whether this is a path of this site, however often it is decoded on its way.

    `//evil.example` is another site's, and browsers read `/\evil.example` as that, and also what has a tab or a
    line break in it, which they leave out (https://url.spec.whatwg.org/#url-parsing).
    """
    if len(place) > _LONGEST_PLACE:
        return False
    while place.startswith("/") and place[1:2] not in ("/", "\\") and place.isprintable():
        decoded = unquote(place)
        if decoded == place:
            return True
        place = decoded
    return False
