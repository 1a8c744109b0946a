"""Checks of the Redis that holds what is known about tasks."""

import re
from collections.abc import Iterator

from celery.exceptions import ImproperlyConfigured
from flask import Flask
from redis.exceptions import RedisError

from flask_longtask.cli.doctor.finding import Finding, mend, no_answer, ok
from flask_longtask.cli.group import celery_app, sentence

#: The oldest supported Redis version.
OLDEST = (6, 2)


def answers(_: Flask) -> Iterator[Finding]:
    try:
        backend = celery_app().backend
    except ImproperlyConfigured as error:
        yield mend(sentence(error))
        return
    where = backend.as_uri()  # without the password
    try:
        server = backend.store.server()
        if _is_old(server.version):
            yield mend(f"{where} is Redis {server.version}. Use 6.2 or newer.")
            return
        presence = backend.store.presence.look()
    except RedisError as error:
        advice = "Start Redis, or correct result_backend in Celery's settings."
        yield no_answer(where, error, advice)
        return
    if not presence.writable:
        what = (
            "is a replica" if server.is_replica else "accepts no writes: it is full or cannot save"
        )
        yield mend(f"Redis at {where} {what}. See its log and `redis-cli info`.")
    else:
        yield ok(f"{where} answers: Redis {server.version}.")


def eviction(_: Flask) -> Iterator[Finding]:
    for store in celery_app().stores:
        server = store.server()
        if policy := store.may_forget():
            what = "results" if policy.startswith("volatile") else "tasks"
            yield mend(
                f"Redis removes {what} when its memory is full: its maxmemory-policy is {policy}. "
                "Run redis-cli config set maxmemory-policy noeviction, and set the same in redis.conf."
            )
        elif server.max_memory:
            yield ok("maxmemory-policy is noeviction.")
        else:
            yield ok("Redis has no memory limit, so it removes nothing.")


def append_only_file(_: Flask) -> Iterator[Finding]:
    for store in celery_app().stores:
        if store.server().is_append_only:
            yield ok("appendonly is on.")
        else:
            yield mend(
                "appendonly is off: Redis loses accepted tasks when it is restarted. "
                "Run redis-cli config set appendonly yes, and set the same in redis.conf."
            )


def _is_old(version: str) -> bool:
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < OLDEST
