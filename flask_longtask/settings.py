"""The extension's own settings: what there is, and where a value comes from. What they do is written beside each."""

import os
from typing import Any

from celery.exceptions import ImproperlyConfigured
from flask import Flask

#: Each setting with its default, which the app's config overrides, or else the environment.
DEFAULTS: dict[str, Any] = {
    # The token that every request to a protected route needs, as `Authorization: Bearer …`; "" for none.
    "LONGTASK_API_TOKEN": "",
    # Seconds that a cancelled task has to stop by itself before its process is ended.
    "LONGTASK_CANCEL_GRACE_SECONDS": 5.0,
    # Seconds within which another worker has the tasks of one that died.
    "LONGTASK_LEASE_SECONDS": 30.0,
    # How often a task is started whose worker is lost each time.
    "LONGTASK_MAX_ATTEMPTS": 3,
    # Bytes of a result beyond which it is not sent with the status, but has an address of its own.
    "LONGTASK_MAX_RESULT_BYTES": 256 * 1024,
    # Tasks that may wait in a queue before starting one more is refused with 503; 0 for any number.
    "LONGTASK_MAX_WAITING": 10_000,
    # Texts of the page in place of the English ones, by their names; or a function that returns them for a request.
    "LONGTASK_STRINGS": {},
    # The path under which the extension's routes are, such as "/jobs"; "" for the root.
    "LONGTASK_URL_PREFIX": "",
    # How a worker of this app is started: the page says so when there is none.
    "LONGTASK_WORKER_COMMAND": "",
    # Wrong tokens that a client may show in a minute before it is refused with 429 for the rest of it.
    "LONGTASK_WRONG_TOKENS": 10,
}


def load(app: Flask) -> None:
    """Complete the app's config. Raises ImproperlyConfigured, which names the setting, for a value of no use."""
    for name, default in DEFAULTS.items():
        # An empty variable counts as not set: that is how compose files pass on what nobody gave.
        given = app.config.get(name)
        value = (os.environ.get(name) or default) if given is None else given
        app.config[name] = _checked(name, value, default)
    prefix = app.config["LONGTASK_URL_PREFIX"]
    if prefix and (not prefix.startswith("/") or prefix.endswith("/") or "<" in prefix):
        raise ImproperlyConfigured(
            f'LONGTASK_URL_PREFIX must be a path such as "/jobs", not {prefix!r}.'
        )


def _checked(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, dict):
        if isinstance(value, dict) or callable(value):
            return value if callable(value) else {**value}
        raise ImproperlyConfigured(f"{name} must be a dict or a function, not {value!r}.")
    if isinstance(default, str):
        if isinstance(value, str):
            return value
        raise ImproperlyConfigured(f"{name} must be a string, not {value!r}.")
    kind, is_whole = type(default), isinstance(default, int)
    try:
        number = None if isinstance(value, bool) else kind(value)
    except (TypeError, ValueError):
        number = None
    # `0 <= number` is false for a NaN, too.
    if number is None or not number >= 0 or (is_whole and number != float(value)):
        what = "a whole number" if is_whole else "a number"
        raise ImproperlyConfigured(f"{name} must be {what} of at least 0, not {value!r}.")
    return number
