"""What is said in the terminal, and the signals that end everything. Nothing is decided here."""

import signal
import sys

#: The signals to stop that have come so far. Each one more moves on to the next request of `stopping`.
signals: list[int] = []

#: Of terminals, for the names: cyan, yellow, green, magenta, blue, red.
_COLOURS = [36, 33, 32, 35, 34, 31]


def take_signals() -> None:
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda signum, frame: signals.append(signum))


def label(name: str, names: list[str]) -> str:
    """What stands before each line of a process."""
    text = f"{name:{max(map(len, names))}} | "
    if sys.stdout.isatty():
        return f"\033[{_COLOURS[names.index(name) % len(_COLOURS)]}m{text}\033[0m"
    return text


def say(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError:
        # Nobody reads any more: `./run.sh | head`, or a closed terminal.
        if not signals:
            signals.append(signal.SIGHUP)
