"""Who is asking: the app's user, else the browser, else the client's address. What belongs to whom is kept elsewhere.

The browser is known by a name that its session cookie holds. It is signed, so that nobody can be another.
"""

import secrets

from flask import current_app, session

from flask_longtask.installed import installed
from flask_longtask.web.client import client_address
from flask_longtask.web.kept import kept

_BROWSER = "longtask"
_FIRST_OWNER = "longtask_owner"


def user() -> str | None:
    """Who the app says is asking, or Flask-Login where it is in use; None where neither says so."""
    identify = installed().identify
    if identify is None:
        return _login_user() if hasattr(current_app, "login_manager") else None
    name = current_app.ensure_sync(identify)()
    if not isinstance(name, str | int | None):
        raise TypeError(f"identify() must return a str, an int or None, not {name!r}.")
    return None if name is None or name == "" else str(name)


def _login_user() -> str | None:
    """The user that Flask-Login knows."""
    from flask_login import current_user  # noqa: PLC0415  # the app has it, or it is not needed

    return current_user.get_id() if current_user.is_authenticated else None


def forget() -> None:
    """The session is nobody's from now on, as far as this package is concerned."""
    session.pop(_BROWSER, None)
    session.pop(_FIRST_OWNER, None)


def browser() -> str | None:
    """The name of the browser that asks; None for one that has none yet, and for most programs."""
    name: str | None = session.get(_BROWSER)
    return name


def ensure_browser() -> str:
    """The name of the browser that asks. Call it where a page is served: its starts then find it set."""
    if _BROWSER not in session:
        session[_BROWSER] = secrets.token_urlsafe(16)
        if "owner" in kept():
            session[_FIRST_OWNER] = kept()["owner"]
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
    kept()["owner"] = client_address()
    return "address", kept()["owner"]
