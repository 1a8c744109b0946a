"""What is uploaded to the index: built from these files, checked, and installed where nothing else is."""

import subprocess
import sys
import tarfile
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.processes import ROOT, RedisServer

#: Run with the wheel installed, in a folder of its own: a page's head, a file of the page, and a script of the store.
USE = """
import sys
from celery import shared_task
from flask import Flask, render_template_string
from flask_longtask import LongTask, accepted

app = Flask("stranger")
app.config["CELERY"] = {"broker_url": sys.argv[1], "result_backend": sys.argv[1]}
LongTask(app)

@shared_task
def work():
    pass

@app.post("/work")
def start():
    return accepted(work.delay())

with app.test_request_context():
    print(render_template_string('{% include "longtask/head.html" %}'))
print(app.test_client().get("/longtask/static/longtask.js").status)
print(app.test_client().post("/work").json["state"])
"""

#: The entry points and extras that it has.
LOAD = """
from importlib.metadata import distribution

for entry_point in distribution("Flask-LongTask").entry_points:
    entry_point.load()
import fakeredis, rich, sqlalchemy
"""


class Built(NamedTuple):
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The wheel is built from what is in the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    [sdist], [wheel] = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="module")
def description(built: Built) -> Message:
    with zipfile.ZipFile(built.wheel) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(wheel.read(name).decode())


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_index_and_pip_can_use_both(built: Built) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", str(built.sdist), str(built.wheel))
    run(sys.executable, "-m", "check_wheel_contents", str(built.wheel), cwd=ROOT)


def test_the_wheel_says_what_it_is(description: Message) -> None:
    assert description["Name"] == "Flask-LongTask"
    assert description["License-Expression"] == "MIT"
    assert description.get_all("License-File") == ["LICENSE"]
    assert description["Author"] == "Longtask contributors"
    assert description["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in description.get_all("Classifier", [])
    assert description.get_all("Provides-Extra") == ["cli", "sqlalchemy", "testing"]
    assert "# Longtask" in str(description.get_payload())


def test_nothing_that_it_requires_has_an_upper_bound(description: Message) -> None:
    assert [text for text in description.get_all("Requires-Dist", []) if "<" in text] == []


def test_the_wheel_holds_every_file_of_the_extension_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == set(sources("flask_longtask"))
    assert "flask_longtask/py.typed" in held


def test_the_source_distribution_holds_all_that_belongs_to_the_repository(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    assert held - {"PKG-INFO"} == set(sources())


def sources(*folders: str) -> list[str]:
    """What is committed, or would be: no cache, no secret key, nothing that was downloaded."""
    listed = run(
        "git", "ls-files", "--cached", "--others", "--exclude-standard", *folders, cwd=ROOT
    )
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


@pytest.mark.long
def test_the_wheel_works_where_nothing_else_is_installed(
    built: Built, tmp_path: Path, redis_server: RedisServer
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    run(python, "-m", "pip", "install", "--quiet", str(built.wheel))

    printed = run(python, "-c", USE, redis_server.url(14), cwd=tmp_path)

    *head, of_a_file, state = printed.splitlines()
    assert any("/longtask/static/longtask.js" in line for line in head)
    assert (of_a_file, state) == ("200 OK", "PENDING")

    (tmp_path / "app.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    assert "watch" in run(python, "-m", "flask", "longtask", "--help", cwd=tmp_path)

    run(python, "-m", "pip", "install", "--quiet", f"{built.wheel}[cli,sqlalchemy,testing]")
    run(python, "-c", LOAD, cwd=tmp_path)
