"""Flask-WTF's CSRF protection, where the app has it, leaves our routes to their own (protection/origin.py).

Its token would be missing where a program cancels a task, and expire on a page that is open for longer than an hour.
"""

from flask import Flask, request
from flask.signals import request_started

_OURS = frozenset({"longtask", "longtask_token"})


def init_app(app: Flask) -> None:
    request_started.connect(_exempt, app)


def _exempt(sender: Flask, **_: object) -> None:
    csrf = sender.extensions.get("csrf")
    if csrf is not None and request.blueprint in _OURS:
        csrf.exempt(sender.blueprints[request.blueprint])
