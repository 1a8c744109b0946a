"""The findings of the checks."""

from enum import Enum
from typing import NamedTuple

from flask_longtask.cli.group import sentence


class Verdict(Enum):
    OK = "ok"
    MEND = "mend"
    UNKNOWN = "could not be checked"


class Finding(NamedTuple):
    verdict: Verdict
    text: str  # what was found and, with MEND, how to mend it


def ok(text: str) -> Finding:
    return Finding(Verdict.OK, text)


def mend(text: str) -> Finding:
    return Finding(Verdict.MEND, text)


def unknown(text: str) -> Finding:
    return Finding(Verdict.UNKNOWN, text)


def no_answer(where: str, error: Exception, advice: str) -> Finding:
    """Say why a server cannot be reached, by the error that it or the connection has raised."""
    if "HELLO" in str(error):  # the first command on a connection, new in Redis 6.0
        return mend(f"{where} is a Redis older than 6.0. Use 6.2 or newer.")
    return mend(f"No answer from {where}: {sentence(error)} {advice}")
