"""A worker in a thread of this process. Its broker and store are in in_memory.py."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery.app import app_or_default, default_app
from celery.contrib.testing.worker import start_worker
from celery.signals import worker_shutdown

from flask_longtask.celery.app import Celery
from flask_longtask.celery.attempt import Pool
from flask_longtask.testing.in_memory import InMemory


@contextmanager
def run_worker(celery_app: Celery, **options: Any) -> Iterator[Any]:
    """Run a worker for this app, with a broker and a store in memory, until the context ends."""
    hijack = celery_app.conf.worker_hijack_root_logger
    current, level = app_or_default(), logging.getLogger().level
    restore_default = default_app.set_default  # of the app that is the default now
    pool = Pool.has_processes, Pool.can_stop_tasks
    celery_app.conf.worker_hijack_root_logger = False
    try:
        with InMemory.put_into(celery_app):
            options = {"pool": "threads", "perform_ping_check": False, **options}
            try:
                with start_worker(celery_app, **options) as worker:
                    _await_heartbeat(celery_app)
                    yield worker
            finally:
                worker_shutdown.send(sender=celery_app)  # as a worker process does when it stops
    finally:
        # Undo what Celery changes for the whole process.
        celery_app.conf.worker_hijack_root_logger = hijack
        restore_default()
        current.set_current()
        logging.getLogger().setLevel(level)
        Pool.has_processes, Pool.can_stop_tasks = pool


def _await_heartbeat(celery_app: Celery) -> None:
    """Wait until the store knows the worker, which is a moment after Celery calls it ready."""
    while not celery_app.stores[-1].workers.heard():
        time.sleep(0.01)
