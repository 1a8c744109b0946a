"""The shop with long-running reports, and with LongTask under /jobs. gunicorn and Celery load this module."""

import os

from celery import Task, shared_task
from flask import Flask, render_template_string, request
from flask_login import login_required
from redis import Redis
from werkzeug.wrappers import Response

from flask_longtask import accepted
from tests.home.everything.shop import make_app

PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <title>Reports</title>
  {% include "longtask/head.html" %}
</head>
<body>
<form data-longtask action="/reports" method="post">
  <input type="hidden" name="csrf_token" value="{{ csrf_token() }}">
  <button>Write a report</button>
</form>
</body>
</html>
"""


@shared_task(bind=True, name="write_report", restartable=True)
def write_report(self: Task, title: str) -> dict[str, object]:
    """Write half of the report, and the rest once a test lets the task go on."""
    self.update_state(state="PROGRESS", meta={"current": 1, "total": 2, "status": "Half of it"})
    with Redis.from_url(os.environ["REDIS_URL"]) as redis:
        while redis.blpop([f"go on:{self.request.id}"], timeout=1) is None:
            self.update_state(
                state="PROGRESS", meta={"current": 1, "total": 2, "status": "Half of it"}
            )
    return {"current": 2, "total": 2, "status": "Written", "result": title}


def add_reports(app: Flask) -> None:
    @app.get("/reports")
    @login_required
    def reports() -> str:
        return render_template_string(PAGE)

    @app.post("/reports")
    @login_required
    def start_report() -> Response:
        return accepted(write_report.delay(request.form.get("title", "Untitled")))


app = make_app(os.environ["SHOP"])
add_reports(app)
celery = app.extensions["celery"]
