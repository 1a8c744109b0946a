"""Who may open the operators' page: whoever has its token, whom `authorize` allows it, or who is at this machine.

It is closed (404) to everyone unless the app opens it in one of these ways. With the token or on this machine, an
operator may cancel every task. Whom `authorize` lets in may do with each task what `authorize` says.
"""

import ipaddress
import secrets
from collections.abc import Mapping
from typing import Any

from flask import Flask, current_app, request
from werkzeug.exceptions import NotFound

from flask_longtask.installed import Installed, installed
from flask_longtask.status import describe
from flask_longtask.web import permission
from flask_longtask.web.kept import kept
from flask_longtask.web.protection import token

OPERATOR = token.Token(
    "The operators' page",
    "LONGTASK_OPERATOR_TOKEN",
    "longtask_operator_token",
    "longtask_operate.give",
)

#: The endpoint that takes the token, which a person sends before they may open the page.
_OPEN = "longtask_operate.give"

#: A proxy adds at least one of these. Behind one, every request comes from the machine of the proxy.
_OF_PROXIES = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")


def may_open(app: Flask, here: Installed) -> bool:
    """Whether an app opens the page in any way, so that it needs the routes."""
    settings = ("LONGTASK_OPERATOR_TOKEN", "LONGTASK_OPERATE_ON_LOOPBACK")
    return here.authorize is not None or any(app.config[name] for name in settings)


def check_access() -> None:
    """Raise NotFound or an error of the token unless this request may see the page."""
    if request.endpoint == _OPEN:
        return
    if OPERATOR.is_set and (OPERATOR.is_kept or token.shown_token() is not None):
        OPERATOR.require()
    elif _is_at_this_machine() or _is_authorized():
        if token.API.is_set:
            token.API.require()
    elif OPERATOR.is_set:
        OPERATOR.require()
    else:
        raise NotFound


def require(task: dict[str, Any], action: str) -> None:
    """Raise Forbidden if this operator is let in by `authorize`, and it forbids this action with this task."""
    if _asks_authorize():
        permission.require(task, "read", action)


def permitted(tasks: Mapping[str, dict[str, Any] | None]) -> permission.Statuses:
    """Return the tasks, with None for each that this operator may not see."""
    return permission.permitted({**tasks}, "read") if _asks_authorize() else {**tasks}


def _asks_authorize() -> bool:
    return bool(kept().get("operate_by_authorize"))


def _is_authorized() -> bool:
    authorize = installed().authorize
    if authorize is None:
        return False
    # An app that compares the owner with the current user must not take a visitor, who is None, for the owner.
    nobody = {**dict.fromkeys(describe("", {}, {})), "owner": secrets.token_urlsafe()}
    try:
        is_authorized = bool(current_app.ensure_sync(authorize)(nobody, "operate"))
    # Such as a function that needs the task's name. A page that lists all tasks stays closed.
    except Exception:
        current_app.logger.exception("authorize() has failed for the action 'operate'")
        is_authorized = False
    kept()["operate_by_authorize"] = is_authorized
    return is_authorized


def _is_at_this_machine() -> bool:
    """Whether the request comes from this machine, without a proxy, and from no page of a host name that points here.

    With DNS rebinding, a page of any site reaches this machine under its own host name.
    """
    if not current_app.config["LONGTASK_OPERATE_ON_LOOPBACK"]:
        return False
    # nginx speaks HTTP/1.0 unless it is told otherwise, and names neither the host nor the client.
    if any(name in request.headers for name in _OF_PROXIES) or (
        request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0"
    ):
        return False
    host = request.host.rpartition(":")[0] if _has_port(request.host) else request.host
    return _is_loopback(request.remote_addr or "") and (
        host == "localhost" or _is_loopback(host.strip("[]"))
    )


def _has_port(host: str) -> bool:
    return ":" in host and not host.endswith("]")


def _is_loopback(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
