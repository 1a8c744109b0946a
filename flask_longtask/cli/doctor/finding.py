"""The findings of the checks."""

from enum import Enum
from typing import NamedTuple


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
