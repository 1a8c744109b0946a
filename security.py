"""Security headers, session cookies, host names and proxies of this app.

The extension's own protection, such as the check of a request's origin, is in flask_longtask.
"""

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Request, Response, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from itsdangerous import URLSafeTimedSerializer
from werkzeug.exceptions import SecurityError
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_longtask import WholeBodies
from flask_longtask.page import nanobar


class SessionInterface(SecureCookieSessionInterface):
    """Marks the session cookie as Secure if the request came over HTTPS."""

    def __init__(self) -> None:
        # The serializer depends only on settings, but Flask creates it in every request. Without this and the two
        # methods below, a poll would take 15 % longer.
        self._serializer = cache(super().get_signing_serializer)

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        return self._serializer(app)

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if "HTTP_COOKIE" not in request.environ:  # most programs send no cookies
            return self.session_class()
        return super().open_session(app, request)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.accessed or session.modified:  # Flask would do more before it checks this
            super().save_session(app, session, response)

    def get_cookie_secure(self, app: Flask) -> bool:
        return super().get_cookie_secure(app) or request.is_secure


def init_app(app: Flask) -> None:
    """Set up the protection of the app. Call it first, so that requests for unknown hosts are refused first."""
    app.before_request(_check_host)
    app.wsgi_app = WholeBodies(app.wsgi_app)  # type: ignore[method-assign]
    # As WSGI middleware: with `after_request`, a poll would take 4 % longer.
    app.wsgi_app = _WithHeaders(  # type: ignore[method-assign]  # as Flask's documentation has it
        app.wsgi_app,
        [
            ("Content-Security-Policy", _content_security_policy(app)),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "same-origin"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ],
    )
    app.session_interface = SessionInterface()
    if proxies := app.config["LONGTASK_TRUSTED_PROXIES"]:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            _PlainPrefix(app.wsgi_app),
            x_for=proxies,
            x_proto=proxies,
            x_host=proxies,
            x_prefix=proxies,
        )


def _check_host() -> None:
    """Raise SecurityError (400) if the request's host name is invalid or not a name of this site."""
    try:
        host = request.host
    except SecurityError:
        raise SecurityError(
            "This site does not have this host name. TRUSTED_HOSTS sets its host names."
        ) from None
    if not host:  # Werkzeug returns "" for an invalid host name
        raise SecurityError("The request has no valid host name.")


class _PlainPrefix:
    """WSGI middleware that ignores a prefix which is not a plain path.

    Many proxies pass on a client's X-Forwarded-Prefix. With the prefix `.evil.example`, generated addresses would
    name another host.
    """

    _PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")

    def __init__(self, wsgi_app: WSGIApplication) -> None:
        self._wsgi_app = wsgi_app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not self._PATH.fullmatch(environ.get("SCRIPT_NAME", "")):
            environ["SCRIPT_NAME"] = ""
        return self._wsgi_app(environ, start_response)


class _WithHeaders:
    """WSGI middleware that adds the same headers to every response."""

    def __init__(self, wsgi_app: WSGIApplication, headers: list[tuple[str, str]]) -> None:
        self._wsgi_app = wsgi_app
        self._headers = headers

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], object]:
            return start_response(status, headers + self._headers, exc_info)

        return self._wsgi_app(environ, start)


def _content_security_policy(app: Flask) -> str:
    scripts = " ".join(["'self'", *nanobar.hosts(app)])
    return (
        f"default-src 'self'; script-src {scripts}; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )
