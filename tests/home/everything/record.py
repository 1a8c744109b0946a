"""Sends all requests to the shop, and prints the responses: `python -m tests.home.everything.record last handlers`."""

import base64
import json
import re
import sys
import zlib
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer

from tests.home.everything.asked import ASKED, Asked
from tests.home.everything.shop import make_app

#: The secret that Flask-WTF keeps in a session. Fixed here, otherwise random.
SECRET = "0" * 40

#: A session cookie: its content, the time of its signature, and the signature.
SESSION = re.compile(r"^session=(\.?)([\w-]+)\.[\w-]+\.[\w-]+;")


def record(app: Flask) -> list[dict[str, Any]]:
    browsers: dict[str, FlaskClient] = {}
    token = URLSafeTimedSerializer("shop", salt="wtf-csrf-token").dumps(SECRET)

    def browser(who: str) -> FlaskClient:
        if not who:
            return app.test_client(use_cookies=False)
        if who not in browsers:
            browsers[who] = app.test_client()
            with browsers[who].session_transaction() as session:
                session["csrf_token"] = SECRET
        return browsers[who]

    return [answer(browser(asked.who), asked, token) for asked in ASKED]


def answer(client: FlaskClient, asked: Asked, token: str) -> dict[str, Any]:
    headers = dict(asked.headers)
    if asked.who and asked.token:
        headers["X-CSRFToken"] = token
    response = client.open(
        asked.path, method=asked.method, headers=headers, data=asked.form, json=asked.json
    )
    return {
        "status": response.status,
        "headers": [[name, readable(name, value)] for name, value in response.headers],
        "body": response.text,
    }


def readable(name: str, header: str) -> str:
    """Return a header without parts that differ from run to run.

    These are the times in a cookie's signature and expiry, and the order of the methods in `Allow`, which are a set in
    Werkzeug.
    """
    if name == "Allow":
        return ", ".join(sorted(header.split(", ")))
    header = re.sub(r"Expires=[^;]+GMT", "Expires=…", header)
    if match := SESSION.match(header):
        data = base64.urlsafe_b64decode(match[2] + "=" * (-len(match[2]) % 4))
        text = (zlib.decompress(data) if match[1] else data).decode()
        return f"session={text};{header[match.end() :]}"
    return header


if __name__ == "__main__":
    json.dump(record(make_app(sys.argv[1], handlers=sys.argv[2] == "handlers")), sys.stdout)
