"""Processes whose clocks are wrong, by libfaketime (Debian's package `faketime`)."""

import subprocess
from functools import cache
from pathlib import Path


def clock_off_by(seconds: int) -> dict[str, str]:
    """The environment in which a program's clock is so many seconds ahead, or behind if it is negative."""
    return {
        "LD_PRELOAD": _library(),
        "FAKETIME": f"{seconds:+}s",
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
