"""Long-running tasks for Flask that tell the truth about themselves.

The extension binds Celery to a Flask app and serves the state of its tasks. What lives here is how the parts
are put together; each part has a module of its own.
"""

from typing import Any

import celery
from flask import Flask

from flask_longtask import idempotency, nanobar, openapi, origin, problems, stream, token, transport
from flask_longtask.fields import fields, integer, seconds
from flask_longtask.history import ensure_browser
from flask_longtask.idempotency import started_before
from flask_longtask.problems import BadField, problem, wants_html
from flask_longtask.task import NotQueued, Task, TaskCancelled
from flask_longtask.views import accepted, bp, find_task
from flask_longtask.worker import HandBack, Heartbeat, Watch

__all__ = [
    "BadField",
    "LongTask",
    "NotQueued",
    "Task",
    "TaskCancelled",
    "accepted",
    "ensure_browser",
    "fields",
    "find_task",
    "integer",
    "problem",
    "seconds",
    "started_before",
    "wants_html",
]

#: The extension's own settings, which a Flask app's config overrides.
DEFAULTS = {
    # What whoever wants anything but /health has to show, by `Authorization: Bearer …`; "" for nothing.
    "LONGTASK_API_TOKEN": "",
    # Seconds that a cancelled task has to stop by itself before its process is ended.
    "LONGTASK_CANCEL_GRACE_SECONDS": 5.0,
    # Seconds within which another worker has the tasks of one that died.
    "LONGTASK_LEASE_SECONDS": 30.0,
    # How often a task is started whose worker is lost each time.
    "LONGTASK_MAX_ATTEMPTS": 3,
    # Tasks that may wait in a queue before starting one more is refused with 503; 0 for any number.
    "LONGTASK_MAX_WAITING": 10_000,
}

#: Celery settings that the pattern needs or that suit it; the app's own CELERY setting overrides them.
CELERY_DEFAULTS = {
    # One backend for all threads and greenlets of a process: Celery makes one for each by default, and a
    # gevent server has a new greenlet for every request.
    "result_backend_thread_safe": True,
    # A message is kept until its task has ended, so that a dead worker's tasks are not lost.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_lost_wait": 1.0,  # seconds that a lost child's last word is waited for
    "worker_prefetch_multiplier": 1,
    "redis_socket_timeout": transport.SILENCE,  # of what a worker stores; it tries again until it is stored
    "redis_socket_connect_timeout": 1.0,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,  # a worker waits for its broker as long as it takes
    # What Redis answers while it is full or a replica passes, like an outage, and must not end a worker.
    "broker_channel_error_retry": True,
    # Publishing must end, well or badly, while a person waits for it.
    "task_publish_retry_policy": {
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0.1,
        "errback": transport.give_up_on_silence,
    },
    "broker_connection_timeout": 1.0,
    # Each start has a connection to itself. Were there fewer, some would wait for those that wait.
    "broker_pool_limit": 100,
    "broker_pool_acquire_timeout": 1.0,
}


class LongTask:
    """The extension: `LongTask(app)`, or `init_app` for an app factory.

    It makes the Celery app from the Flask setting CELERY, a dict of Celery's own settings of which
    `broker_url` and `result_backend` (a Redis) are needed, keeps it in `app.extensions["celery"]` as
    Flask's documentation has it, and registers the routes of `views.py`.
    Its own settings are in DEFAULTS.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> celery.Celery:
        for setting, default in DEFAULTS.items():
            app.config.setdefault(setting, default)
        celery_app = _celery_for(app)
        app.extensions["celery"] = celery_app
        app.register_blueprint(bp)
        problems.init_app(app)
        origin.init_app(app)
        token.init_app(app)
        idempotency.init_app(app)
        openapi.init_app(app)
        nanobar.init_app(app)
        stream.init_app(app, celery_app)
        return celery_app


class _Celery(celery.Celery):  # type: ignore[misc]
    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        url = url or self.conf.broker_write_url
        patience = transport.publisher_options(str(url))
        patience.update(options.pop("transport_options", None) or {})
        return super().connection_for_write(url, transport_options=patience, **options)


def _celery_for(app: Flask) -> celery.Celery:
    transport.register()
    # `app.name` is right under `python app.py` too, where `__name__` would give tasks a second name.
    celery_app = _Celery(
        app.name, task_cls=Task, amqp="flask_longtask.publish:AMQP", set_as_current=True
    )
    celery_app.flask_app = app
    celery_app.loader.override_backends = {
        "redis": "flask_longtask.backend:RedisBackend",
        "rediss": "flask_longtask.backend:RedisBackend",
        "sentinel": "flask_longtask.backend:SentinelBackend",
    }
    celery_app.config_from_object(_settings(app))
    celery_app.steps["consumer"].update([Heartbeat, Watch, HandBack])
    celery_app.set_default()
    return celery_app


def _settings(app: Flask) -> dict[str, Any]:
    lease = app.config["LONGTASK_LEASE_SECONDS"]
    settings = {**CELERY_DEFAULTS, **app.config["CELERY"]}
    settings["broker_transport_options"] = {
        **transport.options(str(settings["broker_url"]), lease),
        **settings.get("broker_transport_options", {}),
    }
    settings["result_backend_transport_options"] = {
        "sentinel_kwargs": transport.ASK_SENTINEL,
        **settings.get("result_backend_transport_options", {}),
    }
    # RabbitMQ's own lease. Celery's two minutes would be how long a frozen worker's tasks stand still.
    settings.setdefault("broker_heartbeat", max(2, int(lease * 2 / 3)))
    return settings
