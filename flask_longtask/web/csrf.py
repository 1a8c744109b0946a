"""Exempts our routes from Flask-WTF's CSRF protection, if the app uses it: protection/origin.py protects them.

Flask-WTF needs a token, which a program that cancels a task does not have, and which expires on a page after an hour.
"""

from flask import Flask
from flask.signals import request_started

_OURS = frozenset({"longtask", "longtask_operate", "longtask_token"})


def init_app(app: Flask) -> None:
    request_started.connect(_exempt, app)


def _exempt(sender: Flask, **_: object) -> None:
    # At the first request, when the app has all its extensions.
    request_started.disconnect(_exempt, sender)
    if csrf := sender.extensions.get("csrf"):
        for name in _OURS & sender.blueprints.keys():
            csrf.exempt(sender.blueprints[name])
