"""An adopted Celery app: it has the store's clock, our transports, sender, result backend and worker steps."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, cast
from urllib.parse import urlsplit

import celery
from celery.app import app_or_default
from celery.exceptions import ImproperlyConfigured
from flask import Flask, current_app, has_app_context
from kombu.utils.imports import symbol_by_name
from kombu.utils.url import maybe_sanitize_url
from redis.exceptions import RedisError

from flask_longtask.celery.adapting import TaskRegistry, adapt, adapt_task, with_mixin
from flask_longtask.celery.backend import RedisBackend
from flask_longtask.celery.broker import transport
from flask_longtask.celery.sender import AMQP
from flask_longtask.celery.sending import Requests
from flask_longtask.celery.worker import STEPS
from flask_longtask.celery.worker.memory import SharedMemory
from flask_longtask.installed import EXTENSION
from flask_longtask.store import Store
from flask_longtask.store.messages import MOST_REJECTED

#: Our defaults for Celery's settings. The settings of the app's author take precedence.
DEFAULTS = {
    # One backend for all threads and greenlets of a process: Celery makes one for each by default, and a
    # gevent server has a new greenlet for every request.
    "result_backend_thread_safe": True,
    # A message is kept until its task has ended, so that a dead worker's tasks are not lost.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_lost_wait": 1.0,  # seconds to wait for the result of a lost child process
    "worker_prefetch_multiplier": 1,
    # Puts a message aside that no worker can handle, and fails its task.
    "worker_consumer": "flask_longtask.celery.worker.consumer:Consumer",
    "redis_socket_timeout": transport.SILENCE,  # for a worker's writes, which it retries until they succeed
    "redis_socket_connect_timeout": 1.0,
    # When the connection is lost, running tasks are kept (transport.py) or redelivered. Celery would count them twice,
    # and take no other message until they have ended.
    "worker_enable_prefetch_count_reduction": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,  # a worker waits for its broker as long as it takes
    # Redis's errors while it is full or a replica are temporary, like an outage, and must not end a worker.
    "broker_channel_error_retry": True,
    "task_publish_retry_policy": transport.RETRY_POLICY,
    "broker_connection_timeout": 1.0,
    # Each start uses a connection of its own. With fewer, starts would wait for others that are waiting themselves.
    "broker_pool_limit": 100,
    "broker_pool_acquire_timeout": 1.0,
}

#: Our result backends, by URL scheme.
BACKENDS = {
    "redis": "flask_longtask.celery.backend:RedisBackend",
    "rediss": "flask_longtask.celery.backend:RedisBackend",
    "sentinel": "flask_longtask.celery.sentinel:SentinelBackend",
}


def adopt(celery_app: celery.Celery, flask_app: Flask, requests: Requests) -> "Celery":
    """Add our parts to a Celery app, whoever has created it, and to no other.

    Its tasks belong to `flask_app` from now on. `requests` knows the request that starts a task. The settings of the
    app's author take precedence over DEFAULTS, however and whenever they are set.
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
    """An adopted Celery app."""

    #: The Flask app that adopted it last.
    latest_flask_app: Flask
    requests: Requests

    def prepare(self) -> None:
        """Replace Celery's parts with ours."""
        amqp_class: type = symbol_by_name(self.amqp_cls)  # type: ignore[no-untyped-call,has-type]
        self.amqp_cls = with_mixin(AMQP, amqp_class)
        self.__dict__.pop("amqp", None)  # it may have been created already
        self.loader.override_backends = {**self.loader.override_backends, **BACKENDS}
        self.steps["consumer"].update(STEPS)
        self.steps["worker"].add(SharedMemory)
        if self.configured:
            self._complete(self.conf)
            # Each of them raises ImproperlyConfigured if it cannot be used.
            _ = self.backend, self.broker_is_store, self.amqp.create_task_message
        else:
            self.on_after_configure.connect(self._complete)
        adapt(self._tasks, TaskRegistry)
        for task in self._tasks.values():
            adapt_task(task)

    def _complete(self, source: Any, **_: object) -> None:
        # RabbitMQ's own lease. With Celery's two minutes, a frozen worker's tasks would stand still for as long.
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
        """The current Flask app, if this is its Celery app; else, as in a worker, the one that adopted it last."""
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
        """The result backend. Raises ImproperlyConfigured if it does not keep results in Redis."""
        backend = super().backend
        if not isinstance(backend, RedisBackend):
            url = str(self.conf.result_backend)
            if url.partition("://")[0] in BACKENDS:
                reason = "this Celery app was used before LongTask(app, celery=…) was called"
            else:
                reason = f"result_backend is {maybe_sanitize_url(url)!r}"
            raise ImproperlyConfigured(
                f"LongTask keeps its records in a result_backend with a redis:// URL, but {reason}."
            )
        return backend

    @contextmanager
    def as_current(self) -> Iterator[None]:
        """Make this the current Celery app of this thread, and then the one that was current before."""
        before = app_or_default()
        self.set_current()
        try:
            yield
        finally:
            before.set_current()

    def now(self) -> datetime:
        """Return the time by Redis's clock, from which Celery counts `countdown` and `expires`."""
        try:
            now = self.backend.store.clock.now()
        except RedisError:  # then no task can be sent that would need it
            return cast(datetime, super().now())
        return datetime.fromtimestamp(now, UTC).astimezone(self.timezone)

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        return super().connection_for_read(url, **self._broker_options(self.read_url(url), options))

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        patience = transport.publisher_options(self.write_url(url))
        options = self._broker_options(self.write_url(url), options, patience)
        return super().connection_for_write(url, **options)

    def producer_or_acquire(self, producer: Any = None) -> Any:
        """Like Celery's, which has a connection and a socket for each sender.

        Where the store pushes the messages (transport.py), a producer only writes them, so that all senders share one.
        This takes a tenth off the time of `delay()`.
        """
        if producer is None and self.broker_is_store:
            return nullcontext(self._producer)
        return super().producer_or_acquire(producer)

    @cached_property
    def _producer(self) -> Any:
        return self.amqp.Producer(self.connection_for_write(), auto_declare=False)

    def read_url(self, url: Any = None) -> str:
        return _one_text(url or self.conf.broker_read_url)

    def write_url(self, url: Any = None) -> str:
        return _one_text(url or self.conf.broker_write_url)

    def _broker_options(
        self, url: str, given: Mapping[str, Any], more: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the options of a broker connection: those in `given` come first, then `more`, then the settings."""
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

    def _is_ours(self, url: str) -> bool:
        """Whether our transport leads to this broker."""
        ours = transport.transport_for(url)
        return ours is not None and self._transport_for(url) == ours

    @cached_property
    def message_store(self) -> Store | None:
        """The store that leases messages; None if they are not kept in Redis by our transport.

        Raises kombu.exceptions.OperationalError when the broker cannot be reached.
        """
        if self.broker_is_store:
            return self.backend.store
        url = self.write_url()
        if not self._is_ours(url) or not url.startswith(("redis", "sentinel")):
            return None
        self._message_connection = self.connection_for_write()
        return cast(Store, self._message_connection.default_channel.store)

    @property
    def stores(self) -> list[Store]:
        """The store of messages, if Redis keeps them, and that of records, in this order. They may be one store."""
        records, messages = self.backend.store, self.message_store
        return [records] if messages is None or messages is records else [messages, records]

    def warnings(self) -> list[str]:
        """Return warnings for an operator, one sentence each. Raises RedisError if Redis does not answer."""
        warnings = []
        for store in self.stores:
            if policy := store.may_forget():
                # Only what is kept of ended tasks has a time to live.
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
        return self._is_ours(url) and _place(url) == _place(str(self.conf.result_backend))


def _one_text(url: Any) -> str:
    """Return the URL of a broker, or the URLs of alternative brokers as one text, as Kombu writes them."""
    if isinstance(url, list | tuple):
        return ";".join(map(str, url))
    return str(url or "amqp://")  # Kombu's own default


def _place(url: str) -> tuple[str, ...]:
    """Return the server and the database of a URL, without the credentials."""
    if ";" in url or url.startswith("sentinel"):
        return (url,)
    parts = urlsplit(url)
    database = parts.path.strip("/") or "0"
    return (parts.scheme.rstrip("s"), parts.hostname or "", str(parts.port or 6379), database)


def _prefix(result_options: Mapping[str, Any]) -> str:
    """Return the `global_keyprefix` of results, completed as Celery does it."""
    prefix: str = result_options.get("global_keyprefix") or ""
    return prefix if not prefix or prefix[-1] in ":_-." else prefix + "_"
