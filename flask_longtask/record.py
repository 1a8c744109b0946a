"""The record of a task: its fields, and how a stored record is read. The scripts in lua/ write it; see records.lua."""

import math
from contextlib import suppress
from typing import Annotated, TypedDict, cast, get_type_hints

import msgspec

from flask_longtask.json_text import loads

_Count = Annotated[int, msgspec.Meta(ge=0)]

#: Seconds since 1970 by Redis's clock.
_Time = float

#: 1 for yes.
_Flag = int


class Culprit(TypedDict, total=False):
    """The part of a family that failed or was cancelled first."""

    number: _Count
    task: str
    phase: str
    state: str
    error: str
    unsent: _Flag


class Parts(TypedDict, total=False):
    """What the record of a family counts; see store/families.py."""

    total: _Count
    waiting: _Count  # how many parts are in each phase
    running: _Count
    succeeded: _Count
    failed: _Count
    cancelled: _Count
    generation: float  # identifies the family, if its id is used again
    share: _Count  # the sum of what is done of each part, in thousandths of a part
    final: _Count  # this sum at its end
    kind: str  # "group", "chord" or "chain"
    task: str  # the name of all of its tasks, or the kind if their names differ
    queue: str  # of the part that was last sent or waits again
    eta: _Time  # of the same part
    latest: str  # the name of the part that was started last
    started: _Time  # when the first part was started
    reported: _Time  # when any part last changed
    state: str  # SUCCESS, FAILURE or REVOKED once this is certain
    ended: _Time  # since when it is
    culprit: Culprit
    stopped: _Time  # when it was cancelled, even if it had failed before
    incomplete: _Flag  # its parts are being registered
    steps: _Count  # how many parts there were when they had been registered


class Record(TypedDict, total=False):
    """A JSON object in Redis. A field that is missing or has another type is absent.

    A record without `format` 1 was not written by this version.
    """

    format: int

    # What was sent, and by whom
    task: str  # the task's name
    queue: str  # where it was sent
    submitted: _Time  # when it was sent
    owner: str  # the user who has started it, as the app identifies them
    eta: _Time  # when it is due, if it is scheduled or to be tried again
    retries: _Count  # how often it was tried again
    max_retries: int  # how often it may be
    sending: _Flag  # its message is under way to another broker; it is not known whether it arrived
    unsent: _Flag  # its message was never sent
    nonce: str  # identifies the call that recorded its sending, which may arrive twice
    claim: str  # the idempotency key that stands for it
    followers: list[str]  # the ids of the tasks that follow it in a chain or chord
    restartable: _Flag  # what is needed to start it again is kept
    restart_of: str  # the task that it repeats

    # Its place among the tasks that wait in its queue
    score: float
    left: _Flag  # it no longer waits there

    # Its attempts
    attempt: _Count  # how often it was started
    started: _Time  # when it was last started
    worker: str  # the worker of the last start
    pid: int  # and the process
    nonce_of_run: str  # identifies the call that recorded the last start
    running: _Flag  # they still run it
    resent: _Flag  # the attempt has sent the task again, so it is over
    unstoppable: _Flag  # the worker's pool cannot end the task,
    time_limit: float  # nor keep this limit in seconds,
    stall_seconds: float  # nor this one
    lost: _Count  # how often its worker was lost
    stalled: _Count  # how often of these it was ended because it stalled
    attempt_ended: _Time  # when the last attempt ended
    outcome: str  # how it ended; the list of attempts has the earlier ones
    error: str  # what that attempt raised, if it did, or why it is to be tried again

    # What it has reported
    reported: _Time  # when it last said anything: a report, a line, a checkpoint
    progress: str  # the last progress, which Celery's document loses at the task's end
    meta: str  # what else that report had, as JSON; absent if nothing, or too much
    checkpoint: _Flag  # it has kept something for its next attempt
    # If the present attempt goes on from a checkpoint:
    resumed: float  # the share that was done when it first reported its progress,
    resumed_at: _Time  # and when that was
    lines: _Count  # how many lines it has logged
    lines_before: _Count  # and how many of them in earlier attempts

    # Its end
    cancelled: _Time  # when it was cancelled
    ended: _Time  # when it ended; an ended task does not change any more
    state: str  # Celery's state at its end, in case Celery's document is deleted
    result_bytes: _Count  # for a large result: the bytes of Celery's document
    final: str  # and what else the task returned

    # Its family
    family: str
    part: _Count  # its number there, from 1
    generation: float  # tells that family from another one with the same id
    phase: str  # what its family counts it as
    share: float  # how much of it is done, in thousandths
    parts: Parts  # of a family


#: The errors of msgspec. In old versions, only that for text that is not UTF-8 is a ValueError.
_INVALID = (msgspec.MsgspecError, ValueError)

_decode = msgspec.json.Decoder(Record).decode
_TYPES = get_type_hints(Record, include_extras=True)


def load_record(text: bytes | str | None) -> Record | None:
    """Read a stored record, whatever was stored instead; None if it is no JSON object."""
    if not text:
        return None
    try:
        return _decode(text)
    except (*_INVALID, RecursionError):
        return _mend(text)


def _mend(text: bytes | str) -> Record | None:
    """Read what can be used of a record with fields of the wrong type, as records.lua does."""
    try:
        stored = loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(stored, dict):
        return None
    record = {}
    for name in stored.keys() & _TYPES.keys():
        with suppress(*_INVALID, OverflowError):
            value = msgspec.convert(stored[name], _TYPES[name])
            if not (isinstance(value, float) and not math.isfinite(value)):
                record[name] = value
    return cast(Record, record)
