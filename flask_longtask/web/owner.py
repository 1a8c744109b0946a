"""The owner of a request: the app's user, else the browser, else the client's address. Lists of tasks are elsewhere.

A browser is identified by a random name in its session cookie, which is signed, so nobody can pose as another browser.
"""

import secrets

from flask import current_app, session

from flask_longtask.installed import installed
from flask_longtask.web.client import client_address
from flask_longtask.web.kept import kept

_BROWSER = "longtask"
_FIRST_OWNER = "longtask_owner"


def user() -> str | None:
    """Return the user that `identify` names, or without `identify` Flask-Login's user; None if there is none."""
    if identify := installed().identify:
        name, said_by = current_app.ensure_sync(identify)(), "identify()"
    elif hasattr(current_app, "login_manager"):
        name, said_by = _login_user(), "get_id()"
    else:
        return None
    if not isinstance(name, str | int | None):
        raise TypeError(f"{said_by} must return a str, an int or None, not {name!r}.")
    return None if name is None or name == "" else str(name)


def _login_user() -> object:
    """Return the id of Flask-Login's user, or None."""
    from flask_login import current_user  # noqa: PLC0415  # imported only if the app uses it

    return current_user.get_id() if current_user.is_authenticated else None


def forget() -> None:
    """Remove the browser's name and its first owner from the session."""
    session.pop(_BROWSER, None)
    session.pop(_FIRST_OWNER, None)


def browser() -> str | None:
    """Return the name of the browser; None if it has none yet, as most programs."""
    name: str | None = session.get(_BROWSER)
    return name


def ensure_browser() -> str:
    """Return the name of the browser, and give it one if it has none. Call this in the view of a page with forms."""
    if _BROWSER not in session:
        session[_BROWSER] = browser_to_be()
        if "owner" in kept():
            session[_FIRST_OWNER] = kept()["owner"]
    name: str = session[_BROWSER]
    return name


def browser_to_be() -> str:
    """Return the name of the browser, or the one that `ensure_browser` would give it."""
    if (name := browser()) is None:
        name = kept().setdefault("browser", secrets.token_urlsafe(16))
    return name


def owner() -> tuple[str, str]:
    """Return the owner of this request's idempotency key: "user", "address" or "browser", and its name.

    A browser without a name is given one by the answer to its first request. The key of that request belongs to its
    address, and so do the browser's later keys: its next request, now with a cookie, may be a retry of the first.
    """
    if known := user():
        return "user", known
    if first := session.get(_FIRST_OWNER):
        return "address", first
    if name := browser():
        return "browser", name
    kept()["owner"] = client_address()
    return "address", kept()["owner"]
