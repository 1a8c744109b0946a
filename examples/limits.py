"""How much one client may start, have sent and load, counted in Redis for all web processes together."""

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
            f"From your address {limit.limit.amount} {what} {_period(limit)} are accepted. "
            f"Try again in {wait} seconds.",
            retry_after=wait,
        )

    return refuse


def _period(limit: RequestLimit) -> str:
    multiples, unit = limit.limit.multiples, limit.limit.GRANULARITY.name
    return f"a {unit}" if multiples == 1 else f"in {multiples} {unit}s"


limiter = Limiter(client_address, strategy="moving-window")

#: For every route that starts something, one by one.
_start_limit = limiter.limit(
    lambda: str(current_app.config["LONGTASK_RATE_LIMIT"]), on_breach=_refuse("starts")
)

#: `with mail_limit: …` around what sends a mail, so that a mistyped address does not count. It is one for all
#: routes, or else each of them would have the whole.
mail_limit = limiter.shared_limit(
    lambda: str(current_app.config["MAIL_LIMIT"]), scope="mail", on_breach=_refuse("mails")
)

#: `with sample_limit: …` around what hands out a sample, of up to 60 MB.
sample_limit = limiter.shared_limit(
    lambda: str(current_app.config["SAMPLE_LIMIT"]), scope="sample", on_breach=_refuse("samples")
)


def init_app(app: Flask) -> None:
    # The connections of the extension, since they fail fast: Redis away is a 503 here as everywhere.
    pool = app.extensions["celery"].backend.store.client.connection_pool
    # Flask-Limiter's own hooks look at every request and double what Flask itself does for a poll. What is
    # limited here are few routes, so the hooks get an app of their own that nobody asks anything.
    unasked = Flask(__name__)
    unasked.config.update(
        RATELIMIT_ENABLED=app.config["RATELIMIT_ENABLED"],
        RATELIMIT_STORAGE_URI="redis://",
        RATELIMIT_STORAGE_OPTIONS={"connection_pool": pool},
        RATELIMIT_KEY_PREFIX="longtask",
    )
    limiter.init_app(unasked)
    if app.config["RATELIMIT_ENABLED"]:
        app.before_request(_count_start)


def _count_start() -> None:
    if request.method == "POST" and request.endpoint not in (None, "longtask.cancel_by_form"):
        with _start_limit:
            pass
