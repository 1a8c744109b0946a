"""An example app for the extension: a long task, the route that starts it, and the page that shows its bar."""

import math
import random
import time

from celery import shared_task
from flask import Flask, current_app, render_template
from redis.exceptions import RedisError
from werkzeug.exceptions import HTTPException, ServiceUnavailable
from werkzeug.wrappers import Response

import security
from examples import database, double, imports, limits, mail, outbox, timed, users
from flask_longtask import (
    BadField,
    LongTask,
    accepted,
    ensure_browser,
    integer,
    openapi,
    problem,
    seconds,
)

VERBS = ["Folding", "Measuring", "Polishing", "Sorting", "Untangling", "Weighing"]
NOUNS = [
    "blue threads",
    "brass gears",
    "harbour lights",
    "loose pages",
    "paper boats",
    "winter maps",
]

longtask = LongTask()


@shared_task(bind=True, restartable=True)
def long_task(self, steps=None, delay=1.0):
    """Work through `steps` steps of `delay` seconds each, and report the progress at each step."""
    total = steps or random.randint(10, 50)
    for step in range(self.last_checkpoint or 0, total):
        message = f"{random.choice(VERBS)} the {random.choice(NOUNS)}"
        self.update_state(
            state="PROGRESS", meta={"current": step, "total": total, "status": message}
        )
        time.sleep(delay)
        self.checkpoint(step + 1)
    return {"current": total, "total": total, "status": "Task completed!", "result": 42}


def redis_away(error: RedisError) -> Response:
    """Respond with 503 when the app cannot read its own data in Redis: rate limits and caught mails."""
    current_app.logger.warning("Redis cannot be reached: %s", error)
    return problem(ServiceUnavailable("Redis cannot be reached. Try again soon.", retry_after=5))


def create_app(config: object = "config") -> Flask:
    app = Flask(__name__)
    app.config.from_object(config)
    security.init_app(app)
    longtask.init_app(app)
    longtask.protect(app)
    app.register_error_handler(HTTPException, problem)
    app.register_error_handler(RedisError, redis_away)
    for part in (database, users, limits, mail):
        part.init_app(app)
    for example in (imports, double, timed, mail, outbox, users):
        app.register_blueprint(example.bp)

    @app.get("/")
    @openapi.documented(openapi.page("The page"))
    def index() -> str:
        ensure_browser()
        return render_template("index.html")

    @app.post("/longtask")
    @openapi.documented(
        openapi.starts(
            f"Start a long task, of {app.config['LONGTASK_DEMO_SECONDS']:,} seconds at most",
            steps=openapi.whole_number(1, 1000),
            delay=openapi.seconds(60),
        )
    )
    def start_longtask() -> Response:
        steps = integer("steps", default=random.randint(10, 50), minimum=1, maximum=1000)
        delay = seconds("delay", default=1.0, maximum=60.0)
        longest = app.config["LONGTASK_DEMO_SECONDS"]
        if steps * delay > longest:
            most = math.floor(longest / steps * 1000) / 1000  # rounded down, so that it is allowed
            raise BadField(
                "delay",
                f"must be at most {most:g} with {steps:,} steps: a task may take {longest:,} seconds.",
            )
        return accepted(long_task.delay(steps, delay))

    return app


app = create_app()
celery = app.extensions["celery"]

if __name__ == "__main__":
    app.run(port=app.config["PORT"])
