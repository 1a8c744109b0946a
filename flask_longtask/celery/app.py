"""The Celery app: Celery's own, with the store's clock, our transports, sender, result backend and worker steps."""

from datetime import UTC, datetime
from functools import cached_property
from typing import Any, cast
from urllib.parse import urlsplit

import celery
from flask import Flask
from redis.exceptions import RedisError

from flask_longtask.celery import transport
from flask_longtask.celery.sending import Requests
from flask_longtask.celery.worker import STEPS
from flask_longtask.store import Store
from flask_longtask.store.messages import MOST_REJECTED

#: Celery settings that the pattern needs or that suit it; the app's own CELERY setting overrides them.
DEFAULTS = {
    # One backend for all threads and greenlets of a process: Celery makes one for each by default, and a
    # gevent server has a new greenlet for every request.
    "result_backend_thread_safe": True,
    # A message is kept until its task has ended, so that a dead worker's tasks are not lost.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_lost_wait": 1.0,  # seconds that a lost child's last word is waited for
    "worker_prefetch_multiplier": 1,
    # A message that no worker can take is put aside, and its task told to have failed.
    "worker_consumer": "flask_longtask.celery.worker.consumer:Consumer",
    "redis_socket_timeout": transport.SILENCE,  # of what a worker stores; it tries again until it is stored
    "redis_socket_connect_timeout": 1.0,
    # What runs when the connection is lost is kept (transport.py), or comes again. Celery would count it twice, and
    # take nothing else until it has ended.
    "worker_enable_prefetch_count_reduction": False,
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

_BACKENDS = {
    "redis": "flask_longtask.celery.backend:RedisBackend",
    "rediss": "flask_longtask.celery.backend:RedisBackend",
    "sentinel": "flask_longtask.celery.sentinel:SentinelBackend",
}


class Celery(celery.Celery):  # type: ignore[misc]  # Celery has no types
    """`flask_app` is whose tasks these are. `requests` is what is known of the request that starts a task."""

    def __init__(self, flask_app: Flask, requests: Requests) -> None:
        # `flask_app.name` is right under `python app.py` too, where `__name__` would give tasks a second name.
        super().__init__(
            flask_app.name,
            task_cls="flask_longtask.task:Task",
            amqp="flask_longtask.celery.sender:AMQP",
            set_as_current=True,
        )
        self.flask_app = flask_app
        self.requests = requests
        self.longtask_settings = flask_app.config
        self.loader.override_backends = _BACKENDS
        self.config_from_object(_settings(flask_app))
        self.steps["consumer"].update(STEPS)
        self.set_default()

    def now(self) -> datetime:
        """The time by Redis's clock, by which `countdown` and `expires` are counted."""
        try:
            now = self.backend.store.clock.now()
        except RedisError:  # then nothing can be sent that would need it
            return cast(datetime, super().now())
        return datetime.fromtimestamp(now, UTC).astimezone(self.timezone)

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        url = url or self.conf.broker_write_url
        patience = transport.publisher_options(str(url))
        patience.update(options.pop("transport_options", None) or {})
        return super().connection_for_write(url, transport_options=patience, **options)

    @cached_property
    def message_store(self) -> Store | None:
        """The store where messages are leased; None where another broker than Redis keeps them.

        Raises kombu.exceptions.OperationalError when the broker cannot be reached.
        """
        if self.broker_is_store:
            return cast(Store, self.backend.store)
        if not str(self.conf.broker_write_url).startswith(("redis", "sentinel")):
            return None
        self._message_connection = self.connection_for_write()
        return cast(Store, self._message_connection.default_channel.store)

    @property
    def stores(self) -> list[Store]:
        """Where messages are leased, and last where records are: one Redis, or two, or one of them elsewhere."""
        records, messages = cast(Store, self.backend.store), self.message_store
        return [records] if messages is None or messages is records else [messages, records]

    def warnings(self) -> list[str]:
        """What an operator should see to, in sentences. Raises RedisError where Redis does not answer."""
        warnings = []
        for store in self.stores:
            if policy := store.may_forget():
                # What has a time to live has ended.
                what = "results" if policy.startswith("volatile") else "tasks"
                warnings.append(
                    f"Redis may forget {what}: its maxmemory-policy is {policy}. Set it to noeviction."
                )
            if rejected := store.messages.count_rejected():
                more = " or more" if rejected >= MOST_REJECTED else ""
                what = "1 message" if rejected == 1 else f"{rejected}{more} messages"
                warnings.append(f"{what} could not be used: see {store.keys.rejected} in Redis.")
        return warnings

    @cached_property
    def broker_is_store(self) -> bool:
        """Whether messages and records are in the same Redis, so that one step can write both."""
        url = str(self.conf.broker_write_url)
        is_ours = self.conf.broker_transport == transport.transport_for(url)
        return is_ours and _place(url) == _place(str(self.conf.result_backend))


def _place(url: str) -> tuple[str, ...]:
    """Where a URL leads to, without the credentials."""
    if ";" in url or url.startswith("sentinel"):
        return (url,)
    parts = urlsplit(url)
    database = parts.path.strip("/") or "0"
    return (parts.scheme.rstrip("s"), parts.hostname or "", str(parts.port or 6379), database)


def _settings(flask_app: Flask) -> dict[str, Any]:
    settings = {**DEFAULTS, **flask_app.config["CELERY"]}
    result_options = {
        "sentinel_kwargs": transport.ASK_SENTINEL,
        **settings.get("result_backend_transport_options", {}),
    }
    settings["result_backend_transport_options"] = result_options
    settings["broker_transport_options"] = {
        **transport.options(str(settings["broker_url"])),
        "longtask_prefix": _prefix(result_options),
        **settings.get("broker_transport_options", {}),
    }
    settings.setdefault("broker_transport", transport.transport_for(str(settings["broker_url"])))
    # RabbitMQ's own lease. Celery's two minutes would be how long a frozen worker's tasks stand still.
    lease = flask_app.config["LONGTASK_LEASE_SECONDS"]
    settings.setdefault("broker_heartbeat", max(2, int(lease * 2 / 3)))
    return settings


def _prefix(result_options: dict[str, Any]) -> str:
    """Celery's `global_keyprefix` of results, as Celery completes it."""
    prefix: str = result_options.get("global_keyprefix") or ""
    return prefix if not prefix or prefix[-1] in ":_-." else prefix + "_"
