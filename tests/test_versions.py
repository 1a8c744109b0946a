"""Packages that are too old for LongTask are refused by name, before anything else is imported."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest

from flask_longtask.versions import OLDEST, check_versions
from tests.processes import ROOT

#: Imports `flask_longtask` while a package seems to have another version than it has.
IMPORT = """
import sys
from importlib import metadata

version = metadata.version
metadata.version = lambda name: sys.argv[2] if name == sys.argv[1] else version(name)
import flask_longtask
"""


def import_with(package: str, version: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", IMPORT, package, version]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("package", "version", "sentence"),
    [
        ("celery", "5.5.2", "LongTask needs Celery 5.6 or newer; 5.5.2 is installed."),
        ("kombu", "5.6.2", "LongTask needs Kombu 5.7 or newer; 5.6.2 is installed."),
        ("redis", "5.0.8", "LongTask needs redis-py 6.4 or newer; 5.0.8 is installed."),
        ("Flask", "2.3.3", "LongTask needs Flask 3.0 or newer; 2.3.3 is installed."),
    ],
)
def test_an_older_version_is_refused_in_one_sentence(
    package: str, version: str, sentence: str
) -> None:
    imported = import_with(package, version)

    assert imported.returncode == 1
    assert imported.stderr.splitlines()[-1] == f"ImportError: {sentence}"


@pytest.mark.parametrize("version", ["5.6.0", "5.10.0", "5.7.0rc1", "6.0", "2027.1.dev0"])
def test_the_oldest_and_any_newer_version_is_taken(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: version if name == "celery" else installed(name)
    )
    check_versions()


def test_what_is_refused_is_what_the_package_does_not_allow() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = (re.fullmatch(r"(\w+).*>=([\d.]+)", text) for text in project["dependencies"])
    allowed = dict(found.groups() for found in required if found)
    # Every version of msgspec that a current Python can have does what LongTask needs.
    assert {**OLDEST, "msgspec": allowed["msgspec"]} == allowed
    assert len(allowed) == len(project["dependencies"])
