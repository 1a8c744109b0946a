"""The other solutions, each in a few lines as in its documentation, with Flask and plain Celery."""

import json
import os

from celery import Celery, shared_task
from celery.result import AsyncResult
from flask import Flask, Response, jsonify, request, url_for

app = Flask(__name__)
celery = Celery(
    "others",
    broker=os.environ["OTHERS_REDIS_URL"],
    backend=os.environ["OTHERS_REDIS_URL"],
    set_as_current=True,
)
celery.set_default()


@shared_task(bind=True)
def long_task(self):
    return 42


@app.get("/constant")
def constant():
    """The limit: a response that needs no Redis."""
    return {"state": "PROGRESS", "current": 3, "total": 7, "status": "Sorting the loose pages"}


@app.get("/one-read/<task_id>")
def one_read(task_id):
    """Return Celery's stored document with one read."""
    return celery.backend.get_task_meta(task_id)


@app.get("/tutorial/status/<task_id>")
def tutorial_status(task_id):
    """The tutorial "Using Celery with Flask": each access to `state` or `info` is a read."""
    task = long_task.AsyncResult(task_id)
    if task.state == "PENDING":
        response = {"state": task.state, "current": 0, "total": 1, "status": "Pending..."}
    elif task.state != "FAILURE":
        response = {
            "state": task.state,
            "current": task.info.get("current", 0),
            "total": task.info.get("total", 1),
            "status": task.info.get("status", ""),
        }
        if "result" in task.info:
            response["result"] = task.info["result"]
    else:
        response = {"state": task.state, "current": 1, "total": 1, "status": str(task.info)}
    return jsonify(response)


@app.post("/tutorial/longtask")
def tutorial_start():
    task = long_task.apply_async()
    return jsonify({}), 202, {"Location": url_for("tutorial_status", task_id=task.id)}


@app.get("/flask-example/result/<task_id>")
def flask_example_result(task_id):
    """The example in Flask's repository."""
    result = AsyncResult(task_id)
    ready = result.ready()
    return {
        "ready": ready,
        "successful": result.successful() if ready else None,
        "value": result.get() if ready else result.result,
    }


@app.post("/flask-example/start")
def flask_example_start():
    request.form.get("a", type=int)
    return {"result_id": long_task.delay().id}


@app.get("/celery-progress/<task_id>")
def celery_progress(task_id):
    """The response of celery-progress, served by Flask instead of Django."""
    result = AsyncResult(task_id)
    meta = result._get_task_meta()
    state, info = meta["status"], meta["result"]
    answer = {"state": state, "complete": False, "success": None, "progress": info}
    if state in ("SUCCESS", "FAILURE"):
        success = result.successful()
        answer.update(complete=True, success=success, result=info if success else str(info))
    return Response(json.dumps(answer), content_type="application/json")
