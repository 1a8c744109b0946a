"""A Celery app that was adopted: with the store's clock, our transports, sender, result backend and worker steps."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, cast
from urllib.parse import urlsplit

import celery
from celery.exceptions import ImproperlyConfigured
from flask import Flask, current_app, has_app_context
from kombu.utils.imports import symbol_by_name
from kombu.utils.url import maybe_sanitize_url
from redis.exceptions import RedisError

from flask_longtask.celery.adapting import TaskRegistry, adapt, adapt_task, with_ours
from flask_longtask.celery.backend import RedisBackend
from flask_longtask.celery.broker import transport
from flask_longtask.celery.sender import AMQP
from flask_longtask.celery.sending import Requests
from flask_longtask.celery.worker import STEPS
from flask_longtask.installed import EXTENSION
from flask_longtask.store import Store
from flask_longtask.store.messages import MOST_REJECTED

#: Celery settings that the pattern needs or that suit it; what the app's author has set goes before them.
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

#: Our result backends, by the schemes of URLs.
BACKENDS = {
    "redis": "flask_longtask.celery.backend:RedisBackend",
    "rediss": "flask_longtask.celery.backend:RedisBackend",
    "sentinel": "flask_longtask.celery.sentinel:SentinelBackend",
}


def adopt(celery_app: celery.Celery, flask_app: Flask, requests: Requests) -> "Celery":
    """Put what keeps the promises into a Celery app, whoever has made it, and into no other.

    `flask_app` is whose tasks these are from now on. `requests` is what is known of the request that starts a task.
    What its author has set, in whatever way and whenever, goes before DEFAULTS.
    """
    is_new = not isinstance(celery_app, Celery)
    if is_new:
        adapt(celery_app, Celery)
    adopted = cast(Celery, celery_app)
    adopted.latest_flask_app, adopted.requests = flask_app, requests
    if is_new:
        adopted.prepare()
    return adopted


class Celery(celery.Celery):  # type: ignore[misc]  # Celery has no types
    """A Celery app that was adopted."""

    #: The Flask app that adopted it last.
    latest_flask_app: Flask
    requests: Requests

    def prepare(self) -> None:
        """Put our parts in the place of Celery's."""
        theirs: type = symbol_by_name(self.amqp_cls)  # type: ignore[no-untyped-call,has-type]
        self.amqp_cls = with_ours(AMQP, theirs)
        self.__dict__.pop("amqp", None)  # one that was made before
        self.loader.override_backends = {**self.loader.override_backends, **BACKENDS}
        self.steps["consumer"].update(STEPS)
        if self.configured:
            self._complete(self.conf)
            _ = self.backend  # raises where it cannot be used
        else:
            self.on_after_configure.connect(self._complete)
        adapt(self._tasks, TaskRegistry)
        for task in self._tasks.values():
            adapt_task(task)

    def _complete(self, source: Any, **_: object) -> None:
        # RabbitMQ's own lease. Celery's two minutes would be how long a frozen worker's tasks stand still.
        heartbeat = max(2, int(self.longtask_settings["LONGTASK_LEASE_SECONDS"] * 2 / 3))
        defaults = {**DEFAULTS, "broker_heartbeat": heartbeat}
        source.add_defaults({k: v for k, v in defaults.items() if not source.value_set_for(k)})
        if str(source.result_backend).startswith("sentinel"):
            source.result_backend_transport_options = {
                "sentinel_kwargs": transport.ASK_SENTINEL,
                **source.result_backend_transport_options,
            }

    @property
    def flask_app(self) -> Flask:
        """The Flask app at work, if this is its Celery app; else, as in a worker, the latest."""
        if has_app_context():
            found = current_app.extensions.get(EXTENSION)
            if found is not None and found.celery is self:
                return cast(Flask, found.flask_app)
        return self.latest_flask_app

    @property
    def longtask_settings(self) -> Mapping[str, Any]:
        return self.flask_app.config

    @property
    def backend(self) -> RedisBackend:
        """Raises ImproperlyConfigured where results are not kept in Redis."""
        backend = super().backend
        if not isinstance(backend, RedisBackend):
            url = str(self.conf.result_backend)
            if url.partition("://")[0] in BACKENDS:
                reason = "this Celery app was used before LongTask(app, celery=…)"
            else:
                reason = f"result_backend is {maybe_sanitize_url(url)!r}"
            raise ImproperlyConfigured(
                f"LongTask keeps its records in Redis, by a redis:// address as result_backend: {reason}."
            )
        return backend

    def now(self) -> datetime:
        """The time by Redis's clock, by which `countdown` and `expires` are counted."""
        try:
            now = self.backend.store.clock.now()
        except RedisError:  # then nothing can be sent that would need it
            return cast(datetime, super().now())
        return datetime.fromtimestamp(now, UTC).astimezone(self.timezone)

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        return super().connection_for_read(url, **self._broker_options(self.read_url(url), options))

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        patience = transport.publisher_options(self.write_url(url))
        options = self._broker_options(self.write_url(url), options, patience)
        return super().connection_for_write(url, **options)

    def read_url(self, url: Any = None) -> str:
        return _one_text(url or self.conf.broker_read_url)

    def write_url(self, url: Any = None) -> str:
        return _one_text(url or self.conf.broker_write_url)

    def _broker_options(
        self, url: str, given: Mapping[str, Any], more: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """What a connection to the broker is made with: what was asked for before what was set before ours."""
        ours = transport.options(url)
        if prefix := _prefix(self.conf.result_backend_transport_options):
            ours["longtask_prefix"] = prefix
        return {
            **given,
            "transport": given.get("transport") or self._transport_for(url),
            "transport_options": {
                **ours,
                **self.conf.broker_transport_options,
                **(more or {}),
                **(given.get("transport_options") or {}),
            },
        }

    def _transport_for(self, url: str) -> str | None:
        return self.conf.broker_transport or transport.transport_for(url)

    @cached_property
    def message_store(self) -> Store | None:
        """The store where messages are leased; None where another broker than Redis keeps them.

        Raises kombu.exceptions.OperationalError when the broker cannot be reached.
        """
        if self.broker_is_store:
            return self.backend.store
        url = self.write_url()
        is_leased = self._transport_for(url) == transport.transport_for(url)
        if not is_leased or not url.startswith(("redis", "sentinel")):
            return None
        self._message_connection = self.connection_for_write()
        return cast(Store, self._message_connection.default_channel.store)

    @property
    def stores(self) -> list[Store]:
        """Where messages are leased, and last where records are: one Redis, or two, or one of them elsewhere."""
        records, messages = self.backend.store, self.message_store
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
        url = self.write_url()
        is_ours = self._transport_for(url) == transport.transport_for(url) is not None
        return is_ours and _place(url) == _place(str(self.conf.result_backend))


def _one_text(url: Any) -> str:
    """The address of a broker, or of several of which one is used at a time, as Kombu writes them."""
    if isinstance(url, list | tuple):
        return ";".join(map(str, url))
    return str(url or "amqp://")  # Kombu's own default


def _place(url: str) -> tuple[str, ...]:
    """Where a URL leads to, without the credentials."""
    if ";" in url or url.startswith("sentinel"):
        return (url,)
    parts = urlsplit(url)
    database = parts.path.strip("/") or "0"
    return (parts.scheme.rstrip("s"), parts.hostname or "", str(parts.port or 6379), database)


def _prefix(result_options: Mapping[str, Any]) -> str:
    """Celery's `global_keyprefix` of results, as Celery completes it."""
    prefix: str = result_options.get("global_keyprefix") or ""
    return prefix if not prefix or prefix[-1] in ":_-." else prefix + "_"
