"""Rate limits for a client's starts, mails and downloads, counted in Redis for all web processes together."""

import math
import time
from collections.abc import Callable
from typing import NoReturn

from flask import Flask, current_app, request
from flask_limiter import Limiter, RequestLimit
from werkzeug.exceptions import TooManyRequests

from flask_longtask import client_address


def _refuse(what: str) -> Callable[[RequestLimit], NoReturn]:
    def refuse(limit: RequestLimit) -> NoReturn:
        wait = max(1, math.ceil(limit.reset_at - time.time()))
        raise TooManyRequests(
            f"The limit for your address is {limit.limit.amount} {what} {_period(limit)}. "
            f"Try again in {wait} seconds.",
            retry_after=wait,
        )

    return refuse


def _period(limit: RequestLimit) -> str:
    multiples, unit = limit.limit.multiples, limit.limit.GRANULARITY.name
    return f"a {unit}" if multiples == 1 else f"in {multiples} {unit}s"


limiter = Limiter(client_address, strategy="moving-window")

#: Applies to every route that starts a task, each on its own.
_start_limit = limiter.limit(
    lambda: str(current_app.config["LONGTASK_RATE_LIMIT"]), on_breach=_refuse("starts")
)

#: Use `with mail_limit: …` around the start of a mail task, so that a mistyped address does not count. All routes
#: share this limit.
mail_limit = limiter.shared_limit(
    lambda: str(current_app.config["MAIL_LIMIT"]), scope="mail", on_breach=_refuse("mails")
)

#: Use `with sample_limit: …` before the download of a sample file of up to 60 MB.
sample_limit = limiter.shared_limit(
    lambda: str(current_app.config["SAMPLE_LIMIT"]), scope="sample", on_breach=_refuse("samples")
)


def init_app(app: Flask) -> None:
    # The extension's connections fail fast, so an outage of Redis is a 503 here, too.
    pool = app.extensions["celery"].backend.store.client.connection_pool
    # Flask-Limiter's hooks run in every request and would double Flask's time for a poll. Only few routes are
    # limited here, so the hooks are installed in an unused app.
    unused = Flask(__name__)
    unused.config.update(
        RATELIMIT_ENABLED=app.config["RATELIMIT_ENABLED"],
        RATELIMIT_STORAGE_URI="redis://",
        RATELIMIT_STORAGE_OPTIONS={"connection_pool": pool},
        RATELIMIT_KEY_PREFIX="longtask",
    )
    limiter.init_app(unused)
    if app.config["RATELIMIT_ENABLED"]:
        app.before_request(_count_start)


def _count_start() -> None:
    if request.method == "POST" and request.endpoint not in (None, "longtask.cancel_by_form"):
        with _start_limit:
            pass
