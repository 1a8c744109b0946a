"""The app of the classic tutorial, rewritten. The variable LONGTASK says how it uses LongTask.

no: not at all. beside: with its own status route. instead: with LongTask's status route in place of its own.
"""

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task
from flask import Flask, jsonify, url_for

from flask_longtask import LongTask, accepted

KIND = os.environ["LONGTASK"]

app = Flask("classic")
app.config["SECRET_KEY"] = "classic"

# As in the tutorial
app.config["broker_url"] = os.environ["REDIS_URL"]
app.config["result_backend"] = os.environ["REDIS_URL"]
celery = Celery(app.name, broker=app.config["broker_url"])
celery.conf.update(app.config)

if KIND == "beside":
    LongTask(app, url_prefix="/jobs", celery=celery)
elif KIND == "instead":
    LongTask(app, celery=celery)


@celery.task(bind=True)
def long_task(self: Task) -> dict[str, object]:
    total = 7
    for step in range(total):
        meta = {"current": step, "total": total, "status": f"Charging battery {step}..."}
        self.update_state(state="PROGRESS", meta=meta)
        if step == 3:
            self.app.backend.client.blpop("go on", timeout=60)  # once a test has seen it
        time.sleep(0.1)
    return {"current": 100, "total": 100, "status": "Task completed!", "result": 42}


@celery.task(bind=True)
def failing_task(self: Task) -> None:
    self.update_state(state="PROGRESS", meta={"current": 1, "total": 2, "status": "Trying..."})
    # The tutorial's status route reads the task twice, and fails if the state has changed between the reads.
    time.sleep(0.5)
    raise ValueError("the fuse has blown")


@app.get("/")
def index() -> str:
    return (Path(__file__).parent / "index.html").read_text()


if KIND == "instead":

    @app.post("/longtask")
    def start() -> Any:
        return accepted(long_task.apply_async())

    @app.post("/failing")
    def start_failing() -> Any:
        return accepted(failing_task.apply_async())

else:

    @app.post("/longtask")
    def start() -> Any:
        task = long_task.apply_async()
        return jsonify({}), 202, {"Location": url_for("task_status", task_id=task.id)}

    @app.post("/failing")
    def start_failing() -> Any:
        task = failing_task.apply_async()
        return jsonify({}), 202, {"Location": url_for("task_status", task_id=task.id)}

    @app.get("/status/<task_id>")
    def task_status(task_id: str) -> Any:
        task = long_task.AsyncResult(task_id)
        if task.state == "PENDING":
            return {"state": task.state, "current": 0, "total": 1, "status": "Pending..."}
        if task.state == "FAILURE":
            return {"state": task.state, "current": 1, "total": 1, "status": str(task.info)}
        answer = {name: task.info.get(name) for name in ("current", "total", "status")}
        if "result" in task.info:
            answer["result"] = task.info["result"]
        return {"state": task.state, **answer}
