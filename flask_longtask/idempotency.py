"""`Idempotency-Key`: the same request twice starts the same task (draft-ietf-httpapi-idempotency-key-header).

Every task that a request with this header starts is claimed in Redis, under the request's method, path and
key and the task's number among those of the request, in the very step that registers it (`register.lua`).
Who comes second publishes nothing and is given the first one's task; with another body he is refused. What
Redis holds about a claim is `backend.py`'s business.

A route needs nothing for this, whether it starts one task, several, a chain or a chord; of a group each task
is the same again, but its GroupResult is not. Whatever else a route does, it does each time it is asked: see
`started_before`. Bodies are compared byte by byte, forms by their fields and the bytes of their files.

A key counts for as long as results are kept (`result_expires`). It opens the way to its task as the task's
id does, so it should be as hard to guess: a UUID.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import IO, NamedTuple

from celery.result import AsyncResult
from flask import Flask, current_app, g, has_request_context, request
from redis.exceptions import RedisError
from werkzeug.exceptions import UnprocessableEntity

from flask_longtask.problems import BadField, problem

HEADER = "Idempotency-Key"

#: Characters that a key may have.
LONGEST_KEY = 255

_METHODS = frozenset({"POST", "PUT", "PATCH"})
_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})

# A String of RFC 9651, which the draft asks for; a key without quotation marks is as good.
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(r"[!#-~][!-~]*")

_PIECE = 1024 * 1024


class KeyReused(UnprocessableEntity):
    """The key was used before, for another request to the same address."""

    description = "This Idempotency-Key was used before, with another body."


class Claim(NamedTuple):
    """What makes a task that is about to be published the one of its request."""

    name: str  # of the key in Redis
    body: str  # a fingerprint


def claim() -> Claim | None:
    """The claim on the next task of this request; None without the header, or outside of a request."""
    if not _applies():
        return None
    number = g.setdefault("longtask_claims", 0)
    g.longtask_claims = number + 1
    return _claim(number)


def started_before() -> AsyncResult | None:
    """The task that an earlier request with the same `Idempotency-Key` has started.

    For a route that does something else before it starts its task and must not do that twice:

        if earlier := started_before():
            return accepted(earlier)

    While such a request is still being answered, this waits: what it does may be done and its task not yet sent.
    Raises KeyReused if that request had another body.
    """
    if not _applies():
        return None
    celery_app, claim = current_app.extensions["celery"], _claim(0)
    tasks = celery_app.backend.claimed_by(claim)
    if not tasks and "longtask_turn" not in g:
        turn = celery_app.backend.turn(claim)
        if turn.acquire():
            g.longtask_turn = turn  # until this request has been answered
        tasks = celery_app.backend.claimed_by(claim)
    return celery_app.AsyncResult(tasks[0]) if tasks else None


def _end_turn(error: BaseException | None) -> None:
    if turn := g.pop("longtask_turn", None):
        with suppress(RedisError):  # it ends by itself soon, or has already
            turn.release()


def answer_with(earlier: Sequence[str], instead_of: Sequence[str]) -> None:
    """Note that these tasks of an earlier request stand for the ones that this request has just made up."""
    g.setdefault("longtask_earlier", {}).update(zip(instead_of, earlier, strict=False))


def counts(task_id: str) -> str:
    """The id of the task that stands for this one in the answer: in most cases it itself."""
    if not has_request_context():
        return task_id
    earlier: Mapping[str, str] = g.get("longtask_earlier", {})
    return earlier.get(task_id, task_id)


def init_app(app: Flask) -> None:
    app.before_request(_check_key)
    app.teardown_request(_end_turn)
    app.register_error_handler(KeyReused, problem)


def _check_key() -> None:
    if request.endpoint and _applies():  # else it is 404 or 405, whatever the key
        _key()


def _applies() -> bool:
    return has_request_context() and request.method in _METHODS and HEADER in request.headers


def _key() -> str:
    text = request.headers[HEADER].strip()
    if quoted := _STRING.fullmatch(text):
        text = re.sub(r"\\(.)", r"\1", quoted[1])
    elif not _BARE.fullmatch(text):
        text = ""
    if not 1 <= len(text) <= LONGEST_KEY:
        raise BadField(HEADER, f"must have 1 to {LONGEST_KEY} visible ASCII characters.")
    return text


def _claim(number: int) -> Claim:
    if "longtask_body" not in g:
        g.longtask_body = _fingerprint()
    name = blake2b(digest_size=16)
    _add(name, request.method, request.script_root + request.path, _key(), str(number))
    return Claim(name.hexdigest(), g.longtask_body)


def _fingerprint() -> str:
    """Tells one body from another. An uploaded file is read piece by piece from where it was kept."""
    digest = blake2b(digest_size=16)
    _add(digest, request.query_string, request.mimetype)
    if request.mimetype not in _FORMS:
        _add(digest, request.get_data())
        return digest.hexdigest()
    for field, value in request.form.items(multi=True):
        _add(digest, field or "", value)
    for field, file in request.files.items(multi=True):
        _add(digest, field or "", file.filename or "", file.mimetype, _file_digest(file.stream))
    return digest.hexdigest()


def _file_digest(stream: IO[bytes]) -> bytes:
    digest = blake2b(digest_size=16)
    position = stream.tell()
    stream.seek(0)
    while piece := stream.read(_PIECE):
        digest.update(piece)
    stream.seek(position)
    return digest.digest()


def _add(digest: blake2b, *parts: str | bytes) -> None:
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(b"%d:" % len(data) + data)
