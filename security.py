"""What every answer tells the browser not to allow, and whom the app believes about the request.

What the pattern itself refuses, such as another site's requests, is in flask_longtask.
"""

from functools import cache

from flask import Flask, Response, request
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import URLSafeTimedSerializer
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_longtask import nanobar


class SessionInterface(SecureCookieSessionInterface):
    """Marks the session cookie as Secure wherever the request came over HTTPS."""

    def __init__(self) -> None:
        # It depends on settings alone, but Flask makes it anew in every request: 4 % of a poll.
        self._serializer = cache(super().get_signing_serializer)

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        return self._serializer(app)

    def get_cookie_secure(self, app: Flask) -> bool:
        return super().get_cookie_secure(app) or request.is_secure


def init_app(app: Flask) -> None:
    headers = {
        "Content-Security-Policy": _content_security_policy(app),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in headers.items():
            response.headers.setdefault(name, value)
        return response

    app.session_interface = SessionInterface()
    if proxies := app.config["LONGTASK_TRUSTED_PROXIES"]:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]  # as Flask's documentation has it
            app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies, x_prefix=proxies
        )


def _content_security_policy(app: Flask) -> str:
    scripts = " ".join(["'self'", *nanobar.hosts(app)])
    return (
        f"default-src 'self'; script-src {scripts}; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )
