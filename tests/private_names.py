"""Finds the private names of libraries that the extension uses, from its source and the libraries' classes.

A private name begins with one underscore. Three kinds of use are found: `self._x`, `super()._x` and the definition of
`_x` in a class that derives from a library's class which has `_x`; `thing._x` where `thing` is not an object of the
same module; and `_x` as a string, a keyword or an imported name.
"""

import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

from tests.sources import PACKAGE, Module, imports, modules

#: The module that lists the private names.
LIST = f"{PACKAGE}.celery.private"

_PRIVATE = re.compile(r"_[a-zA-Z]\w*")

#: Public names of named tuples. They begin with an underscore so that they cannot clash with fields.
_OF_NAMED_TUPLES = frozenset({"_asdict", "_fields", "_field_defaults", "_make", "_replace"})

#: Documented keywords of Flask's `url_for`. They cannot clash with parts of the address.
_OF_URL_FOR = frozenset({"_anchor", "_external", "_method", "_scheme"})

#: The packages whose private names may be used: our own and the standard library.
_OWN_OR_STANDARD = frozenset({PACKAGE, "tests", *sys.stdlib_module_names})


class Use(NamedTuple):
    """The use of a library's private name in a line."""

    module: Module
    line: int
    name: str
    #: The libraries' classes that have the name; empty if the type of the object is unknown.
    owners: frozenset[type] = frozenset()

    def __str__(self) -> str:
        return f"{self.module.place}:{self.line} uses {self.name}"


def uses() -> list[Use]:
    """Return all uses in all modules, except in the list itself."""
    users = [module for module in modules() if module.name != LIST]
    return [use for module in users for use in uses_in(module)]


def uses_in(module: Module) -> Iterator[Use]:
    for found in imports(module):
        is_private = any(_is_private(part) for part in found.name.split("."))
        if is_private and found.top not in _OWN_OR_STANDARD:
            yield Use(module, found.line, next(filter(_is_private, found.name.split("."))))
    yield from _Reader(module).read()


def _is_private(name: object) -> bool:
    return isinstance(name, str) and bool(_PRIVATE.fullmatch(name))


class _Reader:
    """Reads one module."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._tree = module.tree()
        self._own = _names_made_in(self._tree)
        classes = vars(importlib.import_module(module.name))
        self._bases = {
            node.name: _library_bases(classes[node.name])
            for node in ast.walk(self._tree)
            if isinstance(node, ast.ClassDef) and node.name in classes
        }

    def read(self) -> Iterator[Use]:
        yield from self._read(self._tree, ())

    def _read(self, node: ast.AST, bases: tuple[type, ...]) -> Iterator[Use]:
        """Yield the uses in a node. `bases` are the libraries' classes from which the enclosing class derives."""
        if isinstance(node, ast.ClassDef):
            bases = self._bases.get(node.name, ())
            for statement in node.body:
                for name in _defined_by(statement):
                    yield from self._inherited(name, statement, bases)
        elif isinstance(node, ast.Attribute) and _is_private(node.attr):
            if _is_own_object(node.value):
                yield from self._inherited(node.attr, node, bases)
            else:
                yield from self._foreign(node.attr, node)
        elif isinstance(node, ast.Constant) and _is_private(node.value):
            yield from self._inherited(node.value, node, bases) or self._foreign(node.value, node)
        elif isinstance(node, ast.keyword) and _is_private(node.arg):
            assert node.arg
            yield from self._foreign(node.arg, node.value)
        for child in ast.iter_child_nodes(node):
            yield from self._read(child, bases)

    def _inherited(self, name: str, node: Any, bases: tuple[type, ...]) -> list[Use]:
        """Return the use of a name on an object of the enclosing class, if a library's class has this name."""
        owners = frozenset(base for base in bases if name in private_names_of(base))
        return [Use(self._module, node.lineno, name, owners)] if owners else []

    def _foreign(self, name: str, node: Any) -> list[Use]:
        """Return the use of a name on another object, unless only this module can have defined the name."""
        if name in _OF_NAMED_TUPLES | _OF_URL_FOR:
            return []
        of_libraries = {
            name
            for bases in self._bases.values()
            for base in bases
            for name in private_names_of(base)
        }
        is_own = name in self._own and name not in of_libraries
        return [] if is_own else [Use(self._module, node.lineno, name)]


def _is_own_object(node: ast.expr) -> bool:
    """Whether the node is `self`, `cls` or `super()`."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _defined_by(statement: ast.stmt) -> list[str]:
    """Return the private names that a statement of a class body defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        names = [statement.name]
    elif isinstance(statement, ast.Assign):
        names = [
            n.id
            for target in statement.targets
            for n in ast.walk(target)
            if isinstance(n, ast.Name)
        ]
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        names = [statement.target.id]
    else:
        names = []
    return [name for name in names if _is_private(name)]


def _names_made_in(tree: ast.AST) -> frozenset[str]:
    """Return the private names that the source defines: functions, classes, variables and attributes of `self`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return frozenset(filter(_is_private, names))


def _library_bases(cls: Any) -> tuple[type, ...]:
    """Return the libraries' classes from which a class of ours, or one of its subclasses, derives.

    A mixin derives from none, but its attributes of `self` belong to the class into which it is mixed.
    """
    if not inspect.isclass(cls):
        return ()
    family = [cls, *descendants(cls)]
    bases = {base: None for member in family for base in member.__mro__ if not _is_own(base)}
    return tuple(bases)


def descendants(cls: type) -> Iterator[type]:
    for child in type.__subclasses__(cls):
        if child.__module__.partition(".")[0] == PACKAGE:
            yield child
            yield from descendants(child)


def _is_own(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in _OWN_OR_STANDARD


@cache
def private_names_of(cls: type) -> frozenset[str]:
    """Return the private names of a class: those of its body, and the attributes that its methods set on `self`."""
    made: frozenset[str] = frozenset()
    with suppress(OSError, TypeError):  # the class is not written in Python
        made = _names_made_in(ast.parse(textwrap.dedent(inspect.getsource(cls))))
    return made | frozenset(filter(_is_private, vars(cls)))
