"""LONGTASK_API_TOKEN: if it is set, every request to a protected route but `/health` needs it.

A program sends it as a bearer token (RFC 6750). A person enters it once, in the page that answers the first request.
From then on the browser's session cookie stands for it, also in requests that cannot have a header of their own.

A client that sends LONGTASK_WRONG_TOKENS wrong tokens within a minute, in whatever way, is refused for the rest of
that minute, even with the right token, so that it cannot go on guessing. Right tokens are not counted, and need no
Redis. A process that has not itself seen a wrong token of this client may check one more.
"""

import hmac
from hashlib import sha256
from urllib.parse import unquote

from flask import Blueprint, Response, current_app, redirect, request, session
from redis.exceptions import RedisError
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import TooManyRequests, Unauthorized
from werkzeug.wrappers import Response as BaseResponse

from flask_longtask.installed import installed
from flask_longtask.store.guesses import Guesses
from flask_longtask.web.client import client_address
from flask_longtask.web.fields import fields
from flask_longtask.web.owner import ensure_browser, forget
from flask_longtask.web.problems import wants_html

_OPEN = frozenset({"longtask.health", "longtask_token.give", "longtask.static", "static"})
_SESSION_FIELD = "longtask_token"

#: The most characters of the path to which a person is redirected after entering the token.
_LONGEST_PLACE = 2000

bp = Blueprint("longtask_token", __name__)


class TokenMissing(Unauthorized):
    """The request has no token: 401."""

    description = (
        "This site requires a token. Reload the page to enter it, or send it as a bearer token."
    )

    def __init__(self) -> None:
        super().__init__(www_authenticate=WWWAuthenticate("bearer", {"realm": "longtask"}))


class TokenWrong(TokenMissing):
    """The token of the request is wrong: 401."""

    description = "The token is wrong."


class TooManyTokens(TooManyRequests):
    """The client has sent too many wrong tokens, so this one was not checked: 429."""

    def __init__(self, seconds: int) -> None:
        super().__init__(
            f"Too many wrong tokens came from your address. Try again in {seconds} seconds.",
            retry_after=seconds,
        )


@bp.post("/session")
def give() -> BaseResponse:
    """Take the token from a person. It is valid until the browser is closed."""
    token = fields().get("token")
    if not isinstance(token, str):
        raise TokenWrong
    _check(token)
    # Against session fixation: the owner that the session holds is discarded.
    forget()
    ensure_browser()
    session[_SESSION_FIELD] = _proof()
    if not wants_html():
        return Response(status=204)
    place = request.form.get("next", "")
    return redirect(place if _is_here(place) else request.script_root + "/", 303)


def check_token() -> None:
    """Raise TokenMissing, TokenWrong or TooManyTokens unless the request may pass."""
    if not current_app.config["LONGTASK_API_TOKEN"]:
        return
    if request.endpoint in _OPEN or _is_proof(session.get(_SESSION_FIELD)):
        return
    try:
        shown = request.authorization
    except ValueError:  # `Basic` with bytes that are not UTF-8
        raise TokenMissing from None
    if shown is None or shown.type != "bearer" or not shown.token:
        raise TokenMissing
    _check(shown.token)


def _proof() -> str:
    """Return the value that a session keeps instead of the token. A new token makes it invalid."""
    token = current_app.config["LONGTASK_API_TOKEN"].encode()
    key = current_app.secret_key or ""
    return hmac.new(key.encode() if isinstance(key, str) else key, token, sha256).hexdigest()


def _is_proof(kept: object) -> bool:
    return isinstance(kept, str) and hmac.compare_digest(_digest(kept), _digest(_proof()))


def _check(token: str) -> None:
    """Raise TokenWrong for a wrong token, and TooManyTokens once the client has sent too many of them."""
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
    """Whether the token is right. The time that this takes reveals nothing about the right one, not even its length."""
    right = _digest(current_app.config["LONGTASK_API_TOKEN"])
    # WSGI has decoded the header as Latin-1 (PEP 3333), in whatever encoding the client has sent it.
    in_utf_8 = token.encode("latin-1", "replace").decode("utf-8", "replace")
    equal = [hmac.compare_digest(_digest(form), right) for form in (token, in_utf_8)]
    return any(equal)


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _is_here(place: str) -> bool:
    r"""Whether this is a path of this site, however often it is percent-decoded.

    `//evil.example` is an address of another site. Browsers read `/\evil.example` in the same way, and remove tabs and
    line breaks first (https://url.spec.whatwg.org/#url-parsing).
    """
    if len(place) > _LONGEST_PLACE:
        return False
    while place.startswith("/") and place[1:2] not in ("/", "\\") and place.isprintable():
        decoded = unquote(place)
        if decoded == place:
            return True
        place = decoded
    return False
