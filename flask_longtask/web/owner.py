"""Who is asking: the app's user, else the browser, else the client's address. What belongs to whom is kept elsewhere.

The browser is known by a name that its session cookie holds. It is signed, so that nobody can be another.
"""

import secrets
from collections.abc import Callable

from flask import Flask, current_app, g, session

from flask_longtask.web.client import client_address

#: Says who is asking, as the app knows it; None where it does not know.
Identify = Callable[[], str | None]

_EXTENSION = "longtask_identify"

_BROWSER = "longtask"
_FIRST_OWNER = "longtask_owner"


def user() -> str | None:
    """Who the app says is asking; None where it does not say so."""
    identify: Identify | None = current_app.extensions.get(_EXTENSION)
    return (identify() if identify else None) or None


def browser() -> str | None:
    """The name of the browser that asks; None for one that has none yet, and for most programs."""
    name: str | None = session.get(_BROWSER)
    return name


def ensure_browser() -> str:
    """The name of the browser that asks. Call it where a page is served: its starts then find it set."""
    if _BROWSER not in session:
        session[_BROWSER] = secrets.token_urlsafe(16)
        if "longtask_owner" in g:
            session[_FIRST_OWNER] = g.longtask_owner
    name: str = session[_BROWSER]
    return name


def owner() -> tuple[str, str]:
    """Whose the idempotency key of this request is: of which kind the owner is, and who of that kind.

    Who has no name yet is given one by the answer to the request, and stays the owner by address of what that
    request had: the next one, with the cookie of that answer, may be the same again.
    """
    if known := user():
        return "user", known
    if first := session.get(_FIRST_OWNER):
        return "address", first
    if name := browser():
        return "browser", name
    g.longtask_owner = client_address()
    return "address", g.longtask_owner


def init_app(app: Flask, identify: Identify | None) -> None:
    app.extensions[_EXTENSION] = identify
