"""Which version of this package runs, and the oldest versions of others that it works with.

Importing the package raises ImportError where one is older.
"""

import re
from importlib import metadata

#: By the names of the packages, as in pyproject.toml. Why no older one does: billiard cannot say that a process was
#: sent a signal, and with Kombu a worker takes no message any more once its Redis was restarted.
OLDEST = {"billiard": "4.3.1", "celery": "5.6", "Flask": "3.0", "kombu": "5.7", "redis": "6.4"}

#: What people call them, where that is not the name of the package.
_NAMES = {"celery": "Celery", "kombu": "Kombu", "redis": "redis-py"}

try:
    VERSION = metadata.version("Flask-LongTask")
except metadata.PackageNotFoundError:  # from the folder of its source
    VERSION = "development"


def check_versions() -> None:
    """Raises ImportError, in one sentence, where an installed package is too old."""
    for package, oldest in OLDEST.items():
        installed = metadata.version(package)
        if _numbers(installed) < _numbers(oldest):
            name = _NAMES.get(package, package)
            raise ImportError(f"LongTask needs {name} {oldest} or newer; {installed} is installed.")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


check_versions()
