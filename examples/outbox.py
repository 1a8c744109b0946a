"""The mails that the mail catcher has caught, kept in Redis and shown at /outbox.

`flask --app app mailcatcher` runs the mail catcher. It and the page work only if no mail server is configured, so
that no mail leaves this machine.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from flask import Blueprint, Response, current_app, render_template
from redis import Redis
from werkzeug.exceptions import NotFound

from flask_longtask import openapi, wants_html

#: A Redis stream. Its ids are the times at which mails arrived.
_KEY = "longtask:outbox"

#: Maximum number of mails that are kept, and that are shown.
MOST = 1000
SHOWN = 100

bp = Blueprint("outbox", __name__, cli_group=None)


@bp.get("/outbox")
@openapi.documented(
    openapi.tells("The mails that were caught", {"type": "object", "required": ["mails"]})
)
def show() -> Response:
    """Show the newest mails first, as JSON or, for a browser, as a page."""
    if not current_app.config["MAIL_CATCHER"]:
        raise NotFound("A mail server is configured, so no mail is caught here.")
    mails = caught()
    if wants_html():
        response = Response(render_template("outbox.html", mails=mails))
    else:
        response = Response(json.dumps({"mails": mails}), mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("Accept")
    return response


@bp.cli.command("mailcatcher")
def run_mailcatcher() -> None:
    """Catch all mail at MAIL_PORT, as long as no mail server is configured."""
    if not current_app.config["MAIL_CATCHER"]:
        print("A mail server is configured (MAIL_SERVER): nothing to catch.")
        return
    from examples.mailcatcher import catch_mail  # noqa: PLC0415  # the web server needs none of it

    catch_mail(
        current_app.config["MAIL_SERVER"], current_app.config["MAIL_PORT"], partial(add, _client())
    )


def add(client: Redis, mail: Mapping[str, Any]) -> None:
    client.xadd(_KEY, {"mail": json.dumps(mail)}, maxlen=MOST)


def caught() -> list[dict[str, Any]]:
    """Return the newest mails, newest first, each with the time of its arrival."""
    entries: Any = _client().xrevrange(_KEY, count=SHOWN)
    return [
        {"received": _time(entry_id).isoformat(), **json.loads(entry[b"mail"])}
        for entry_id, entry in entries
    ]


def clean_up(keep: timedelta) -> None:
    """Remove mails that are older than `keep`. Called by a periodic task."""
    oldest = datetime.now(UTC) - keep
    _client().xtrim(_KEY, minid=str(int(oldest.timestamp() * 1000)), approximate=False)


def _client() -> Redis:
    client: Redis = current_app.extensions["celery"].backend.store.client
    return client


def _time(entry_id: bytes) -> datetime:
    milliseconds = int(entry_id.partition(b"-")[0])
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
