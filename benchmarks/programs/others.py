"""The other solutions, each in a few lines as in its documentation, served by Flask."""

import os

import dramatiq
from celery import Celery, shared_task
from celery.result import AsyncResult
from celery_progress.backend import Progress
from dramatiq.brokers.redis import RedisBroker
from flask import Flask, jsonify, request, url_for
from redis import Redis
from rq import Queue

REDIS_URL = os.environ["OTHERS_REDIS_URL"]

app = Flask(__name__)
celery = Celery("others", broker=REDIS_URL, backend=REDIS_URL, set_as_current=True)
celery.set_default()
queue = Queue(connection=Redis.from_url(REDIS_URL))
dramatiq.set_broker(RedisBroker(url=REDIS_URL))


def work():
    return 42


@shared_task(bind=True)
def long_task(self):
    return work()


@shared_task
def add(a, b):
    return a + b


actor = dramatiq.actor(work)


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


@app.post("/flask-example/add")
def flask_example_add():
    result = add.delay(request.form.get("a", type=int), request.form.get("b", type=int))
    return {"result_id": result.id}


@app.get("/celery-progress/<task_id>")
def celery_progress(task_id):
    """What the view of celery-progress returns, served by Flask instead of Django."""
    return Progress(AsyncResult(task_id)).get_info()


@app.post("/rq/start")
def rq_start():
    return {"id": queue.enqueue(work).id}


@app.post("/dramatiq/start")
def dramatiq_start():
    return {"id": actor.send().message_id}
