"""Prints to the terminal, and records the signals that stop everything."""

import signal
import sys

#: The signals received so far that stop `./run.sh`. Each further one skips a wait in `stopping`.
signals: list[int] = []

#: The colours of the names: cyan, yellow, green, magenta, blue, red.
_COLOURS = [36, 33, 32, 35, 34, 31]


def take_signals() -> None:
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda signum, frame: signals.append(signum))


def label(name: str, names: list[str]) -> str:
    """Return the prefix of each line of a process."""
    text = f"{name:{max(map(len, names))}} | "
    if sys.stdout.isatty():
        return f"\033[{_COLOURS[names.index(name) % len(_COLOURS)]}m{text}\033[0m"
    return text


def say(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError:
        # The reader has ended (`./run.sh | head`), or the terminal was closed.
        if not signals:
            signals.append(signal.SIGHUP)
