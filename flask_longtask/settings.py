"""The extension's own settings, with their defaults, and how they are read from the config and the environment."""

import os
from math import inf
from typing import Any

from celery.exceptions import ImproperlyConfigured
from flask import Flask

#: The default of each setting. The app's config overrides it, else the environment.
DEFAULTS: dict[str, Any] = {
    # The token that every request to a protected route must send, as `Authorization: Bearer …`; "" for none.
    "LONGTASK_API_TOKEN": "",
    # Seconds in which a cancelled task may stop by itself before its process is terminated.
    "LONGTASK_CANCEL_GRACE_SECONDS": 5.0,
    # Seconds within which another worker takes over the tasks of a dead one.
    "LONGTASK_LEASE_SECONDS": 30.0,
    # How often a task is started at most if its worker is lost each time.
    "LONGTASK_MAX_ATTEMPTS": 3,
    # The most bytes of a result that the status object holds; a larger result has an address of its own.
    "LONGTASK_MAX_RESULT_BYTES": 256 * 1024,
    # The most tasks that may wait in a queue; starting one more is refused with 503. 0 for no limit.
    # A request that starts several, such as a group, starts all of them or none: only the first is ever refused.
    "LONGTASK_MAX_WAITING": 10_000,
    # Whether whoever is at this machine may open the operators' page: a request that comes from a loopback address
    # directly, not through a proxy, and for a loopback name.
    "LONGTASK_OPERATE_ON_LOOPBACK": False,
    # The token that opens the operators' page; "" for none.
    "LONGTASK_OPERATOR_TOKEN": "",
    # Texts of the page that replace the English ones, by name; or a function that returns them for a request.
    "LONGTASK_STRINGS": {},
    # The path under which the extension's routes are, such as "/jobs"; "" for the root.
    "LONGTASK_URL_PREFIX": "",
    # The command that starts a worker of this app. The page shows it while no worker is running.
    "LONGTASK_WORKER_COMMAND": "",
    # Wrong tokens that a client may send in a minute before it is refused with 429 for the rest of that minute.
    "LONGTASK_WRONG_TOKENS": 10,
}

#: The smallest values of numbers for which 0 makes no sense.
_MINIMUM = {"LONGTASK_LEASE_SECONDS": 1, "LONGTASK_MAX_ATTEMPTS": 1}

_YES_OR_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def load(app: Flask) -> None:
    """Complete the app's config. Raises ImproperlyConfigured, which names the setting, for an invalid value."""
    for name, default in DEFAULTS.items():
        # An empty environment variable counts as not set: compose files pass on unset variables as empty ones.
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
    if isinstance(default, bool):
        if (known := _YES_OR_NO.get(str(value).lower())) is not None:
            return known
        raise ImproperlyConfigured(f"{name} must be yes or no, not {value!r}.")
    if isinstance(default, str):
        if isinstance(value, str):
            return value
        raise ImproperlyConfigured(f"{name} must be a string, not {value!r}.")
    is_whole, minimum = isinstance(default, int), _MINIMUM.get(name, 0)
    try:
        number = None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    # The comparison is false for a NaN, too.
    if number is None or not minimum <= number < inf or (is_whole and number % 1):
        what = "a whole number" if is_whole else "a finite number"
        raise ImproperlyConfigured(f"{name} must be {what} of at least {minimum}, not {value!r}.")
    return int(number) if is_whole else number
