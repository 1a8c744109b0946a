"""Rate limits for a client's starts, mails and downloads, counted in Redis for all web processes together."""

import math
import time
from functools import lru_cache

from flask import Flask, current_app, request
from limits import RateLimitItem, parse_many
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from werkzeug.exceptions import TooManyRequests

from flask_longtask import client_address

_EXTENSION = "rate_limiter"

_parse = lru_cache(parse_many)


class RateLimit:
    """A limit for each client: `mail_limit.count()` counts one mail, or raises TooManyRequests (429).

    `setting` is the name of the setting with the limit, such as "10 per minute", and `what` names what is limited.
    """

    def __init__(self, setting: str, what: str) -> None:
        self._setting = setting
        self._what = what

    def count(self, scope: str = "") -> None:
        """Count a request of this client. `scope` tells apart what is counted separately."""
        if not current_app.config["RATELIMIT_ENABLED"]:
            return
        limiter: MovingWindowRateLimiter = current_app.extensions[_EXTENSION]
        for item in _parse(str(current_app.config[self._setting])):
            names = ("longtask", self._what, scope, client_address())
            if not limiter.hit(item, *names):
                self._refuse(item, limiter.get_window_stats(item, *names).reset_time)

    def _refuse(self, item: RateLimitItem, reset_at: float) -> None:
        wait = max(1, math.ceil(reset_at - time.time()))
        raise TooManyRequests(
            f"The limit for your address is {item.amount} {self._what} {_period(item)}. "
            f"Try again in {wait} seconds.",
            retry_after=wait,
        )


def _period(item: RateLimitItem) -> str:
    multiples, unit = item.multiples, item.GRANULARITY.name
    return f"a {unit}" if multiples == 1 else f"in {multiples} {unit}s"


#: Counts every request that starts a task, for each route on its own.
_start_limit = RateLimit("LONGTASK_RATE_LIMIT", "starts")

#: Count a mail just before its task is started, so that a mistyped address does not count. All routes share this limit.
mail_limit = RateLimit("MAIL_LIMIT", "mails")

#: Count the download of a sample file of up to 60 MB.
sample_limit = RateLimit("SAMPLE_LIMIT", "samples")


def init_app(app: Flask) -> None:
    # The extension's connections fail fast, so an outage of Redis is a 503 here, too.
    pool = app.extensions["celery"].backend.store.client.connection_pool
    storage = RedisStorage("redis://", connection_pool=pool)
    app.extensions[_EXTENSION] = MovingWindowRateLimiter(storage)
    if app.config["RATELIMIT_ENABLED"]:
        app.before_request(_count_start)


def _count_start() -> None:
    if request.method == "POST" and request.endpoint not in (None, "longtask.cancel_by_form"):
        _start_limit.count(str(request.endpoint))
