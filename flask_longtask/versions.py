"""The version of this package, and the oldest versions of other packages that it works with.

Importing the package raises ImportError if an installed one is older.
"""

import re
from importlib import metadata

#: By package name, as in pyproject.toml. An older billiard cannot tell that a process was sent a signal; with an older
#: Kombu, a worker takes no more messages once its Redis has been restarted.
OLDEST = {"billiard": "4.3.1", "celery": "5.6", "Flask": "3.0", "kombu": "5.7", "redis": "6.4"}

#: The usual names of packages that are known by another name.
_NAMES = {"celery": "Celery", "kombu": "Kombu", "redis": "redis-py"}

try:
    VERSION = metadata.version("Flask-LongTask")
except metadata.PackageNotFoundError:  # not installed, but run from its source
    VERSION = "development"


def check_versions() -> None:
    """Raise ImportError if an installed package is too old."""
    for package, oldest in OLDEST.items():
        installed = metadata.version(package)
        if _numbers(installed) < _numbers(oldest):
            name = _NAMES.get(package, package)
            raise ImportError(f"LongTask needs {name} {oldest} or newer; {installed} is installed.")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


check_versions()
