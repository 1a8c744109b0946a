"""What is stored of a task -> what a client is told: pure functions, no I/O. See describe.py."""

from flask_longtask.status.describe import (
    ENDED_STATES,
    LONGEST_MESSAGE,
    MOST_META_BYTES,
    NOT_REPORTED,
    UNREADABLE,
    Progress,
    describe,
    describe_alone,
    describe_part,
    extras,
    final_report,
    is_open,
    waits_in,
)

__all__ = [
    "ENDED_STATES",
    "LONGEST_MESSAGE",
    "MOST_META_BYTES",
    "NOT_REPORTED",
    "UNREADABLE",
    "Progress",
    "describe",
    "describe_alone",
    "describe_part",
    "extras",
    "final_report",
    "is_open",
    "waits_in",
]
