"""Python's `sleep` under libfaketime 0.9.10, which refuses the call of the system that it makes (clock_nanosleep)."""

import select
import time


def sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = sleep
