"""`Idempotency-Key`: the same request twice starts the same task (draft-ietf-httpapi-idempotency-key-header).

Every task that a request with this header starts is claimed in Redis, in the same step that accepts the task
(accept.lua). The claim is made of the owner of the request (owner.py), its method, path and key, and the number of the
task among those of the request. A second request starts nothing and gets the task of the first; with a different body
it is refused.

A protected route (protect.py) needs no code for this, whether it starts one task, several, a chain or a chord. A
repeated group has the same tasks, but a new GroupResult. Whatever else a route does, it does for each request: see
`started_before`. Bodies are compared byte by byte, forms by their fields and the bytes of their files.

A key is valid until its task's result expires (`result_expires`), and only for its owner. Clients without a session
that share an address share their keys, so a key should be as hard to guess as a task's id: a UUID.
"""

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import IO

from celery.result import AsyncResult
from flask import current_app, has_request_context, request
from werkzeug.exceptions import Conflict, UnprocessableEntity

from flask_longtask.celery.sender import BUSY_PATIENCE
from flask_longtask.celery.sending import Requests
from flask_longtask.installed import EXTENSION, installed
from flask_longtask.store import Acceptance, Accepted, Claim, Record
from flask_longtask.web import body, browser
from flask_longtask.web.kept import kept
from flask_longtask.web.owner import owner, user
from flask_longtask.web.problems import BadField, asking_the_store

HEADER = "Idempotency-Key"

#: The most characters of a key.
LONGEST_KEY = 255

_METHODS = frozenset({"POST", "PUT", "PATCH"})
_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})

# A String of RFC 9651, which the draft requires. A key without quotation marks is accepted, too.
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(r"[!#-~][!-~]*")

_PIECE = 1024 * 1024


class KeyReused(UnprocessableEntity):
    """The key was already used for a request to the same address with a different body: 422."""

    description = "This Idempotency-Key was already used with a different body."


class KeyBusy(Conflict):
    """An earlier request with the key is still being answered: 409, as in section 2.6 of the draft."""

    description = (
        "A request with this Idempotency-Key is still being answered. Try again in a second."
    )

    def __init__(self) -> None:
        super().__init__()
        self.retry_after = 1

    def get_headers(self, *args: object, **options: object) -> list[tuple[str, str]]:
        return [*super().get_headers(*args, **options), ("Retry-After", "1")]  # type: ignore[arg-type]


class FlaskRequests(Requests):
    """Connects the sender of tasks with the current Flask request: its claims, its owner and its tasks."""

    def claim(self) -> Claim | None:
        if not _applies():
            return None
        values = kept()
        number = values.get("claims", 0)
        values["claims"] = number + 1
        return _claim(number)

    def owner(self) -> str | None:
        # An app without this extension may send tasks of an app that has it.
        is_ours = has_request_context() and EXTENSION in current_app.extensions
        return user() if is_ours else None

    def list_name(self) -> str | None:
        # A protected route is expected to answer with `accepted`.
        return browser.list_name() if has_request_context() and "key_counts" in kept() else None

    def answer_with(self, earlier: Sequence[str], instead_of: Sequence[str]) -> None:
        if has_request_context():
            kept().setdefault("earlier", {}).update(zip(instead_of, earlier, strict=False))

    def counts(self, task_id: str) -> str:
        return counts(task_id)

    def on_accepted(self, task_id: str, acceptance: Acceptance) -> None:
        if has_request_context() and acceptance.record is not None:
            kept().setdefault("accepted", {})[task_id] = acceptance.record, acceptance.ahead
            browser.note_accepted(task_id)

    def has_started(self) -> bool:
        return has_request_context() and not kept().keys().isdisjoint({"accepted", "earlier"})

    def refuse(self, outcome: Accepted) -> None:
        raise KeyReused if outcome is Accepted.REUSED else KeyBusy


def counts(task_id: str) -> str:
    """Return the id of the task that an earlier request started instead of this one, or the same id."""
    if not has_request_context():
        return task_id
    earlier: Mapping[str, str] = kept().get("earlier", {})
    return earlier.get(task_id, task_id)


def just_accepted(task_id: str) -> tuple[Record, int] | None:
    """Return the record of a task that this request has started, and how many tasks are ahead of it; else None."""
    accepted: Mapping[str, tuple[Record, int]] = kept().get("accepted", {})
    return accepted.get(task_id)


def started_before() -> AsyncResult | None:
    """Return the task that an earlier request with the same `Idempotency-Key` has started, or None.

    For a route that does something else before it starts its task and must not do that twice::

        if earlier := started_before():
            return accepted(earlier)

    While the earlier request is still being answered, this waits, since that request may not have sent its task yet.
    Raises KeyBusy if this takes longer than a client should wait, and KeyReused if the earlier request had a different
    body.
    """
    if not has_request_context():
        return None
    check_key()
    if not _applies():
        return None
    return _started_before(_claim(0))


@asking_the_store
def _started_before(claim: Claim) -> AsyncResult | None:
    celery_app = installed().celery
    backend = celery_app.backend
    claims = backend.store.claims
    task_ids, same_body = claims.tasks(claim)
    if not task_ids and "turn" not in kept():
        turn = claims.take_turn(claim, BUSY_PATIENCE)
        if turn is None:
            raise KeyBusy
        kept()["turn"] = turn  # until this request has been answered
        task_ids, same_body = claims.tasks(claim)
    (first,) = backend.read(task_ids[:1]) or [None]
    # A task that could not be sent does not count.
    if first is None or (first.record or {}).get("unsent"):
        return None
    if not same_body:
        raise KeyReused
    return celery_app.AsyncResult(task_ids[0])


def end_request(error: BaseException | None) -> None:
    """Let the next request with the same key be answered. Called when this request has been."""
    browser.forget_expected()
    if turn := kept().pop("turn", None):
        installed().celery.backend.store.claims.end_turn(turn)


def check_key() -> None:
    """Make the key of this request count from now on. Raises BadField for an invalid key."""
    kept()["key_counts"] = True
    if _applies() and request.endpoint:  # without an endpoint it is 404 or 405, whatever the key
        _key()


def _applies() -> bool:
    return (
        has_request_context()
        and request.method in _METHODS
        and HEADER in request.headers
        # In routes that are not protected, the header is the app's own affair.
        and "key_counts" in kept()
    )


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
    values = kept()
    if "body" not in values:
        values.update(body=_fingerprint(), owned_by=owner())
    name = blake2b(digest_size=16)
    _add(name, *values["owned_by"], request.method, request.script_root + request.path)
    _add(name, _key(), str(number))
    return Claim(name.hexdigest(), values["body"])


def _fingerprint() -> str:
    """Return a hash of the query string, media type and body. Uploaded files are read piece by piece."""
    body.guard(request.environ)
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
