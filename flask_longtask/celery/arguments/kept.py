"""What a restartable task was started with: kept as text beside its record, and sent again as a new task.

The text may hold secrets, as a message may. No client is ever shown any of it.
"""

import logging
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from celery.result import AsyncResult
from kombu import serialization
from kombu.utils.json import dumps, loads

from flask_longtask.celery.sending import restart_of

logger = logging.getLogger(__name__)

#: The most characters of the text. The arguments of a larger task are not kept.
LONGEST = 1_000_000

#: Options of the message that is sent again, and those that Celery keeps in its headers.
_OPTIONS = ("routing_key", "priority", "serializer", "compression", "delivery_mode", "headers")
_HEADERS = ("shadow", "argsrepr", "kwargsrepr", "ignore_result")


def keep(app: Any, name: str, message: Any, options: Mapping[str, Any]) -> str:
    """Return what is needed to start a task again, as text; "" if it cannot be.

    `message` and `options` are those with which Celery sends the task.
    """
    task, headers = app.tasks.get(name), message.headers
    embedded = message.body[2]
    is_part = headers["group"] or embedded["chain"] or embedded["chord"]
    if is_part or headers["retries"] or not getattr(task, "restartable", False):
        return ""
    time_limit, soft_time_limit = headers["timelimit"]
    given = {
        "name": name,
        **{option: options.get(option) for option in _OPTIONS},
        **{place: _name(options.get(place)) for place in ("queue", "exchange")},
        **{option: headers[option] for option in _HEADERS},
        "time_limit": time_limit,
        "soft_time_limit": soft_time_limit,
    }
    given = {option: value for option, value in given.items() if value is not None}
    # As they are in the message: by the task's serializer, and beside it as JSON.
    kind, encoding, body = serialization.dumps(  # type: ignore[no-untyped-call]
        message.body, options.get("serializer") or app.conf.task_serializer
    )
    data = body.encode(encoding) if isinstance(body, str) else body
    text = "\n".join((dumps(given), kind, encoding, b64encode(data).decode()))  # type: ignore[no-untyped-call]
    if len(text) > LONGEST:
        logger.warning(
            "Task %s cannot be started again: its arguments take more than %d characters.",
            headers["id"],
            LONGEST,
        )
        return ""
    return text


def send_again(app: Any, task_id: str, text: bytes) -> AsyncResult:
    """Send a task with what an earlier one was started with. Raises ValueError if that cannot be read."""
    try:
        given, kind, encoding, body = text.decode().split("\n")
        accepted = serialization.prepare_accept_content(app.conf.accept_content)  # type: ignore[no-untyped-call]
        args, kwargs, embedded = serialization.loads(  # type: ignore[no-untyped-call]
            b64decode(body), kind, encoding, accept=accepted
        )
        callbacks = {"link": embedded["callbacks"], "link_error": embedded["errbacks"]}
        options = {**loads(given), **callbacks, "args": args, "kwargs": kwargs}  # type: ignore[no-untyped-call]
        options["name"] = str(options["name"])
    except Exception as error:  # the decoders' errors share no base class
        raise ValueError(f"The arguments of task {task_id} cannot be read: {error!r}") from error
    token = restart_of.set(task_id)
    try:
        result: AsyncResult = app.send_task(**options)
    finally:
        restart_of.reset(token)
    return result


def _name(place: Any) -> Any:
    """Return the name of a queue or an exchange, which an author may have given as an object."""
    return getattr(place, "name", place) or None
