"""Exempts our routes from Flask-WTF's CSRF protection, if the app uses it: protection/origin.py protects them.

Flask-WTF needs a token, which a program that cancels a task does not have, and which expires on a page after an hour.
"""

from flask import Flask, request
from flask.signals import request_started

_OURS = frozenset({"longtask", "longtask_operate", "longtask_token"})


def init_app(app: Flask) -> None:
    request_started.connect(_exempt, app)


def _exempt(sender: Flask, **_: object) -> None:
    csrf = sender.extensions.get("csrf")
    if csrf is not None and request.blueprint in _OURS:
        csrf.exempt(sender.blueprints[request.blueprint])
