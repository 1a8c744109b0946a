"""Reads the Python source of the extension for the tests of its structure: modules, folders and imports."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = "flask_longtask"

#: The name of a module in a string, as for Celery or importlib.resources: "flask_longtask.celery.app:Celery".
_NAMED = re.compile(rf"({PACKAGE}(?:\.\w+)+)(?::\w+)?")


class Module(NamedTuple):
    """One module: its dotted name, its path, and whether it is a package, which relative imports depend on."""

    name: str
    path: Path

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def room(self) -> str:
        """The first part of its name after `flask_longtask`, such as "store"; "" for the package itself."""
        return room_of(self.name)

    @property
    def place(self) -> str:
        return str(self.path.relative_to(ROOT))

    def tree(self) -> ast.Module:
        return _parse(self.path)


class Import(NamedTuple):
    """A name that a line of a module imports, or that a string names for a later import."""

    module: Module
    line: int
    name: str  # dotted; for `from a import b` it is a.b, whether b is a module or not

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.module.place}:{self.line} imports {self.name}"


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def room_of(name: str) -> str:
    return name.partition(".")[2].partition(".")[0]


def modules() -> list[Module]:
    """All modules of the extension."""
    found = []
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path))
    return found


def imports(module: Module) -> Iterator[Import]:
    """Yield all imports of a module, including those in functions and relative ones."""
    for node in ast.walk(module.tree()):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = _base(module, node)
            for alias in node.names:
                yield Import(module, node.lineno, f"{base}.{alias.name}")
        elif named := _NAMED.fullmatch(str(node.value)) if isinstance(node, ast.Constant) else None:
            yield Import(module, node.lineno, named[1])


def _base(module: Module, node: ast.ImportFrom) -> str:
    """The module that `from … import` names, in full."""
    if not node.level:
        return node.module or ""
    package = module.name.split(".")
    up = node.level - module.is_package
    parts = package[: len(package) - up]
    return ".".join([*parts, *([node.module] if node.module else [])])
