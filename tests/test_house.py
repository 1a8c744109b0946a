"""The rooms of `flask_longtask` and the arrows between them, read from its source (see "The house" in the design)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.private_names import uses_in
from tests.sources import PACKAGE, ROOT, Import, Module, imports, modules, room_of

MODULES = modules()

#: What of `flask_longtask` each room may import besides itself. A room without a line here fails.
ARROWS = {
    "": {"celery", "extension", "task", "versions", "web"},
    "extension": {
        "celery",
        "cli",
        "current",
        "installed",
        "operate",
        "page",
        "settings",
        "web",
        "worker_command",
    },
    "settings": set(),
    "worker_command": {"installed"},
    "installed": {"celery", "web"},
    "current": {"installed"},
    "web": {"celery", "installed", "json_text", "page", "status", "store"},
    "operate": {"celery", "installed", "json_text", "status", "store", "web"},
    "cli": {
        "celery",
        "installed",
        "json_text",
        "status",
        "store",
        "versions",
        "web",
        "worker_command",
    },
    "task": {"celery", "store", "task_parts"},
    "celery": {
        "installed",
        "json_text",
        "record",
        "status",
        "store",
        "task",
        "versions",
    },
    "testing": {"celery", "installed", "store", "web"},
    "store": {"json_text", "record"},
    "status": {"json_text", "record"},
    "record": {"json_text"},
    "page": set(),
    "json_text": set(),
    "task_parts": {"status"},
    "versions": set(),
}

_CELERY = {"celery", "kombu", "billiard", "amqp", "vine"}
_HTTP = {"flask", "werkzeug", "jinja2"}

#: The libraries that a room must not import.
STRANGERS = {
    "task": {*_HTTP, "redis"},
    "celery": {"werkzeug", "jinja2"},
    "testing": {"werkzeug", "jinja2"},
    "store": {*_HTTP, *_CELERY},
    "status": {*_HTTP, *_CELERY, "redis"},
    "record": {*_HTTP, *_CELERY, "redis"},
    "page": {*_CELERY, "redis"},
    "json_text": {*_HTTP, *_CELERY, "redis"},
    "task_parts": {*_HTTP, *_CELERY, "redis"},
}

#: The modules and folders of this repository's app.
APP = {"app", "benchmarks", "celery_worker", "config", "examples", "scripts", "security", "tests"}

#: Files in one folder, of all kinds, at most.
MOST_FILES = 14

each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.place)


def _listed(found: list[Import]) -> list[str]:
    return [str(an_import) for an_import in found]


@each_module
def test_a_module_imports_only_the_rooms_that_its_own_room_may_use(module: Module) -> None:
    assert module.room in ARROWS, f"{module.room} is a new room: what may it use? Say so in ARROWS."
    allowed = {module.room, *ARROWS[module.room]}
    ours = [found for found in imports(module) if found.top == PACKAGE]
    assert _listed([found for found in ours if room_of(found.name) not in allowed]) == []


@each_module
def test_a_module_imports_no_library_that_its_room_must_not_know(module: Module) -> None:
    strangers = STRANGERS.get(module.room, set())
    assert _listed([found for found in imports(module) if found.top in strangers]) == []


@each_module
def test_no_module_imports_the_app(module: Module) -> None:
    assert _listed([found for found in imports(module) if found.top in APP]) == []


@pytest.mark.parametrize("room", ["celery", "task"])
def test_of_what_runs_in_a_worker_only_the_celery_app_knows_flask(room: str) -> None:
    found = [i for module in MODULES if module.room == room for i in imports(module)]
    who = {i.module.name for i in found if i.top == "flask"}
    assert who <= {f"{PACKAGE}.celery.app"}


def test_outside_of_the_store_and_of_celery_nobody_knows_more_of_redis_than_its_errors() -> None:
    # For a test of one's own another Redis is put into the place of the real one.
    rooms = ("store", "celery", "testing")
    found = [i for module in MODULES if module.room not in rooms for i in imports(module)]
    of_redis = [i for i in found if i.top == "redis" and not i.name.startswith("redis.exceptions.")]
    assert _listed(of_redis) == []


@each_module
def test_only_the_celery_room_uses_private_names_of_libraries(module: Module) -> None:
    if module.room != "celery":
        assert [str(use) for use in uses_in(module)] == []


def test_the_package_itself_holds_its_public_names_and_nothing_else() -> None:
    docstring, first, *statements = ast.parse((ROOT / PACKAGE / "__init__.py").read_text()).body
    assert isinstance(docstring, ast.Expr)
    assert ast.unparse(first) == f"import {PACKAGE}.versions"
    imported = []
    for statement in statements[:-1]:
        assert isinstance(statement, ast.ImportFrom), ast.unparse(statement)
        imported += [alias.asname or alias.name for alias in statement.names]
    names = statements[-1]
    assert isinstance(names, ast.Assign)
    assert ast.unparse(names.targets[0]) == "__all__"
    assert ast.literal_eval(names.value) == sorted(imported)


@each_module
def test_the_first_line_of_a_module_says_what_lives_there(module: Module) -> None:
    first = module.tree().body[0]
    assert first.lineno == 1
    assert isinstance(first, ast.Expr)
    assert isinstance(first.value, ast.Constant)
    assert isinstance(first.value.value, str)
    assert first.value.value[:1].strip(), "The first line is empty."


def _folders() -> list[Path]:
    folders = [ROOT / PACKAGE, *(path for path in (ROOT / PACKAGE).rglob("*") if path.is_dir())]
    return [folder for folder in folders if "__pycache__" not in folder.parts]


@pytest.mark.parametrize("folder", _folders(), ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_has_few_files(folder: Path) -> None:
    files = [path.name for path in folder.iterdir() if path.is_file()]
    assert len(files) <= MOST_FILES, f"{len(files)} files: {sorted(files)}"


#: Imports all modules of the store and makes one, as a plain script may. An empty package stands in for
#: `flask_longtask/__init__.py`, which has the extension's public names and so imports all of it.
_PLAIN_SCRIPT = """
import importlib, pkgutil, sys, types
package = types.ModuleType("flask_longtask")
package.__path__ = [sys.argv[1]]
sys.modules["flask_longtask"] = package

from redis import Redis
from flask_longtask import store

for module in pkgutil.walk_packages(store.__path__, "flask_longtask.store."):
    importlib.import_module(module.name)
with Redis() as client:
    for part in ("tasks", "messages", "workers", "presence", "claims", "browsers", "guesses"):
        getattr(store.Store(client), part)
print(*sys.modules)
"""


def test_the_store_works_in_a_process_without_flask_and_celery() -> None:
    command = [sys.executable, "-c", _PLAIN_SCRIPT, str(ROOT / PACKAGE)]
    script = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert script.returncode == 0, script.stderr
    loaded = set(script.stdout.split())
    assert f"{PACKAGE}.store.tasks" in loaded
    assert loaded & {*_HTTP, *_CELERY} == set()
    others = {
        name for name in loaded if name.startswith(PACKAGE) and room_of(name) not in ("", "store")
    }
    assert others == {f"{PACKAGE}.json_text", f"{PACKAGE}.record"}


# That the tests above would notice.


def _module(tmp_path: Path, text: str, name: str = f"{PACKAGE}.store.keys") -> Module:
    path = tmp_path / "keys.py"
    path.write_text(text)
    return Module(name, path)


@pytest.mark.parametrize(
    ("text", "imported"),
    [
        ("import celery.app", "celery.app"),
        ("from flask_longtask import web", "flask_longtask.web"),
        (
            "def late():\n    from flask_longtask.web.routes import bp",
            "flask_longtask.web.routes.bp",
        ),
        ("from . import types", "flask_longtask.store.types"),
        ("from ..web import routes", "flask_longtask.web.routes"),
        ("backend = 'flask_longtask.celery.backend:RedisBackend'", "flask_longtask.celery.backend"),
    ],
)
def test_an_import_is_found_wherever_it_stands(tmp_path: Path, text: str, imported: str) -> None:
    assert [found.name for found in imports(_module(tmp_path, text))] == [imported]


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("from kombu.utils import _private", "_private"),
        ("def read(client):\n    return client.connection._sock", "_sock"),
        ("def read(client):\n    return getattr(client, '_sock')", "_sock"),
        ("def put(channel, batch):\n    channel.put(_publish_batch=batch)", "_publish_batch"),
    ],
)
def test_a_private_name_of_a_library_is_found(tmp_path: Path, text: str, used: str) -> None:
    assert [found.name for found in uses_in(_module(tmp_path, text))] == [used]


@pytest.mark.parametrize(
    "text",
    [
        "class Own:\n    def read(self, other):\n        self._value = other._value",
        "def read(run):\n    return run._asdict()",
        "from functools import _CacheInfo",
    ],
)
def test_names_of_our_own_and_of_the_standard_library_are_no_findings(
    tmp_path: Path, text: str
) -> None:
    assert list(uses_in(_module(tmp_path, text))) == []
