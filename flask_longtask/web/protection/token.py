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
from flask_longtask.store.clients.guesses import Guesses
from flask_longtask.web.client import client_address
from flask_longtask.web.fields import fields
from flask_longtask.web.owner import ensure_browser, forget
from flask_longtask.web.problems import wants_html

_OPEN = frozenset({"longtask.health", "longtask_token.give", "longtask.static", "static"})

#: The operators' page, which has a token of its own.
_OPERATE = "longtask_operate"

#: The most characters of the path to which a person is redirected after entering the token.
_LONGEST_PLACE = 2000

bp = Blueprint("longtask_token", __name__)


class TokenMissing(Unauthorized):
    """The request has no token: 401."""

    sentence = (
        "{place} requires a token. Reload the page to enter it, or send it as a bearer token."
    )

    def __init__(self, token: "Token") -> None:
        super().__init__(
            self.sentence.format(place=token.place),
            www_authenticate=WWWAuthenticate("bearer", {"realm": "longtask"}),
        )
        self.token = token


class TokenWrong(TokenMissing):
    """The token of the request is wrong: 401."""

    sentence = "The token is wrong."


class TooManyTokens(TooManyRequests):
    """The client has sent too many wrong tokens, so this one was not checked: 429."""

    def __init__(self, seconds: int) -> None:
        super().__init__(
            f"Too many wrong tokens came from your address. Try again in {seconds} seconds.",
            retry_after=seconds,
        )


class Token:
    """The token in a setting, which a place requires: "This site".

    `field` of the session stands for it, and a form sends it to the endpoint `form`.
    """

    def __init__(self, place: str, setting: str, field: str, form: str) -> None:
        self.place = place
        self._setting = setting
        self._field = field
        self.form = form

    @property
    def is_set(self) -> bool:
        return bool(current_app.config[self._setting])

    @property
    def is_kept(self) -> bool:
        """Whether this browser has given the token earlier."""
        kept = session.get(self._field)
        if not (self.is_set and isinstance(kept, str)):
            return False
        return hmac.compare_digest(_digest(kept), _digest(self._proof()))

    def keep(self) -> None:
        session[self._field] = self._proof()

    def require(self) -> None:
        """Raise TokenMissing, TokenWrong or TooManyTokens unless the session or a header has the token."""
        if self.is_kept:
            return
        shown = shown_token()
        if shown is None:
            raise TokenMissing(self)
        self.check(shown)

    def check(self, token: str) -> None:
        """Raise TokenWrong for a wrong token, and TooManyTokens once the client has sent too many of them."""
        guesses: Guesses = installed().celery.backend.store.guesses
        address, most = client_address(), current_app.config["LONGTASK_WRONG_TOKENS"]
        if seconds := guesses.seconds_barred(address, most):
            raise TooManyTokens(seconds)
        if self.is_right(token):
            return
        try:
            seconds = guesses.count(address, most)
        except RedisError as error:
            current_app.logger.warning("A wrong token could not be counted: %s", error)
            raise TokenWrong(self) from None
        raise TooManyTokens(seconds) if seconds else TokenWrong(self)

    def is_right(self, token: str) -> bool:
        """Whether the token is right.

        The time that this takes reveals nothing about the right one, not even its length.
        """
        right = _digest(current_app.config[self._setting])
        # WSGI has decoded the header as Latin-1 (PEP 3333), in whatever encoding the client has sent it.
        in_utf_8 = token.encode("latin-1", "replace").decode("utf-8", "replace")
        equal = [hmac.compare_digest(_digest(form), right) for form in (token, in_utf_8)]
        return any(equal)

    def _proof(self) -> str:
        """Return the value that a session keeps instead of the token. A new token makes it invalid."""
        token = current_app.config[self._setting].encode()
        key = current_app.secret_key or ""
        return hmac.new(key.encode() if isinstance(key, str) else key, token, sha256).hexdigest()


API = Token("This site", "LONGTASK_API_TOKEN", "longtask_token", "longtask_token.give")


@bp.post("/session")
def give() -> BaseResponse:
    """Take the token from a person. It is valid until the browser is closed."""
    API.check(given_token(API))
    # Against session fixation: the owner that the session holds is discarded.
    forget()
    ensure_browser()
    API.keep()
    return given(request.script_root + "/")


def given_token(token: Token) -> str:
    """Return the field `token` of this request. Raises TokenWrong if it has none."""
    text = fields().get("token")
    if not isinstance(text, str):
        raise TokenWrong(token)
    return text


def given(place: str) -> BaseResponse:
    """Answer that the token is right. A person is sent to the form's field `next`, else to `place`."""
    if not wants_html():
        return Response(status=204)
    following = request.form.get("next", "")
    return redirect(following if _is_here(following) else place, 303)


def check_token() -> None:
    """Raise TokenMissing, TokenWrong or TooManyTokens unless the request may pass."""
    if not API.is_set or request.endpoint in _OPEN or request.blueprint == _OPERATE:
        return
    API.require()


def shown_token() -> str | None:
    """Return the bearer token of this request; None if it has none."""
    try:
        shown = request.authorization
    except ValueError:  # `Basic` with bytes that are not UTF-8
        return None
    return shown.token or None if shown is not None and shown.type == "bearer" else None


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
