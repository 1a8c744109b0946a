"""Finds the log level of each line that a process has written, in the format of each program."""

import re
from enum import Enum

_LEVELS = [
    re.compile(pattern)
    for pattern in (
        r"\[[^]]*: ([A-Z]+)/",  # Celery: [2026-11-21 20:22:06,190: INFO/MainProcess] …
        r"\[[^]]*\] \[\d+\] \[([A-Z]+)\]",  # gunicorn: [2026-11-21 20:22:04 +0000] [8935] [INFO] …
        r"\[[^]]*\] ([A-Z]+) in ",  # Flask: [2026-11-21 20:22:04,190] ERROR in app: …
        r"\[([A-Z]) \d{6} ",  # Flower: [W 261121 20:22:07 inspector:98] …
        r"\d+:[A-Z] \d+ \w+ \d+ [\d:.]+ ([.*#-]) ",  # Redis: 8923:M 21 Nov 2026 20:22:03.213 # …
    )
]
_QUIET = {"DEBUG", "INFO", "D", "I", ".", "-", "*"}

#: Redis uses its highest level, `#`, also to say that it starts and stops.
_REDIS_TROUBLE = re.compile(
    r"warning|error|fail|can't|cannot|unable|crash|bug|denied|misconf", re.IGNORECASE
)


class Level(Enum):
    #: Lines before the first one with a level: a banner, or messages of a script that starts the program.
    PREFACE = "preface"
    QUIET = "quiet"
    WARNING = "warning"


class Lines:
    """The lines of one process, in order. A line without a level, as in a traceback, has the level of the last one."""

    def __init__(self) -> None:
        self._level = Level.PREFACE

    def level(self, line: str) -> Level:
        for pattern in _LEVELS:
            if found := pattern.match(line):
                is_quiet = found[1] in _QUIET or (
                    found[1] == "#" and not _REDIS_TROUBLE.search(line)
                )
                self._level = Level.QUIET if is_quiet else Level.WARNING
                return self._level
        if line.startswith("Traceback (most recent call last)"):
            self._level = Level.WARNING
        return self._level
