"""Processes whose clocks are wrong, by libfaketime (Debian's package `faketime`)."""

import subprocess
from functools import cache
from pathlib import Path


def clock_off_by(seconds: int) -> dict[str, str]:
    """The environment in which a program's clock is so many seconds ahead, or behind if it is negative."""
    return {"FAKETIME": f"{seconds:+}s", **_environment()}


def clock_by_file(path: Path) -> dict[str, str]:
    """The same for a clock that may jump while the program runs: the file says `+3600s`, and is read every second."""
    return {"FAKETIME_TIMESTAMP_FILE": str(path), "FAKETIME_CACHE_DURATION": "1", **_environment()}


def _environment() -> dict[str, str]:
    return {
        "LD_PRELOAD": _library(),
        # A wrong clock is one that tells the wrong time; it counts as others do.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(Path(__file__).parent / "wrong_clock"),
    }


@cache
def _library() -> str:
    try:
        listed = subprocess.run(
            ["dpkg", "-L", "libfaketime"], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise AssertionError("No libfaketime: apt-get install faketime") from error
    return next(name for name in listed.stdout.splitlines() if name.endswith("/libfaketime.so.1"))
