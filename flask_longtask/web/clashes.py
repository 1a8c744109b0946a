"""Clashes of routes: if the app and the extension have a route at the same address, the app's route answers.

Werkzeug matches the rule that was added first if two are equally good. So an app that adds its own `/status` after
`LongTask(app)` would never see a request for it. Routes with different methods, such as the app's `POST /tasks` and
our `GET /tasks`, do not clash. Nor does a catch-all route of the app, such as `/<path:page>`.
"""

import re
import threading
from collections.abc import Iterable
from copy import copy
from typing import NamedTuple

from flask import Flask, current_app, request
from flask.globals import request_ctx
from flask.signals import request_started
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Map, MapAdapter, RequestRedirect, Rule

_EXTENSION = "longtask_rules"

#: The prefixes of our endpoints.
_OURS = ("longtask.", "longtask_openapi.", "longtask_operate.", "longtask_token.")

#: Only one thread at a time makes rules: Werkzeug compiles them, which in Python 3.11 fails in two threads at once
#: (https://github.com/python/cpython/issues/106905).
_reading = threading.RLock()

#: A part of a rule whose variables match no slash, by their converters.
_IN_A_SEGMENT = re.compile(
    r"([^<]*<((int|float|uuid|string|default|any)\b[^:<>]*:)?[^:<>]+>)+[^<]*"
)

_EXAMPLE = "00000000-0000-4000-8000-000000000000"


class _Rules(NamedTuple):
    """The rules of an app at one moment: its own, and ours."""

    own: Map
    ours: Map
    #: The app's rules, by the `id()` of their copies in `own`.
    originals: dict[int, Rule]
    #: The first path segments of our rules that rules of the app with the same methods may share.
    contested: frozenset[str]


class Clashes:
    """Knows at which of our addresses the app has its own routes."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        #: The rules that requests meet. Flask adds none after the first request.
        self._final: _Rules | None = None

    @property
    def are_possible(self) -> bool:
        return bool(self._rules.contested)

    def finish(self) -> None:
        """Read the rules for all requests to come, unless that was done."""
        if self._final is None:
            with _reading:
                if self._final is None:
                    self._final = self._read()
                    self._warn()

    def _warn(self) -> None:
        if hidden := self.hidden():
            self._app.logger.warning(
                "The app has its own routes at %s, which hide those of LongTask. "
                'Set a prefix: LongTask(app, url_prefix="/jobs").',
                " and ".join(hidden),
            )

    def give_way(self) -> None:
        """If the app has its own route at this address, route the request as Flask would without our rules."""
        # For OPTIONS and 405, Flask lists the methods of an address.
        is_about_methods = request.method == "OPTIONS" or isinstance(
            request.routing_exception, MethodNotAllowed
        )
        rule = request.url_rule
        ours = rule if rule and _is_ours(rule) else None
        rules = self._rules
        if not (is_about_methods or (ours and _first_part(ours) in rules.contested)):
            return
        adapter = _adapter(rules.own)
        if not _app_answers(adapter, _adapter(rules.ours)):
            return
        if request.method == "OPTIONS":
            request_ctx.url_adapter = adapter  # Flask reads the allowed methods from it
        try:
            rule, arguments = adapter.match(return_rule=True)
            request.url_rule, request.view_args = rules.originals[id(rule)], dict(arguments)
        except HTTPException as error:
            request.routing_exception, request.url_rule, request.view_args = error, None, None

    def app_answers(self, path: str) -> bool:
        """Whether a route of the app answers a GET of this path, on the host of this request."""
        rules = self._rules
        return _app_answers(_adapter(rules.own), _adapter(rules.ours), path, "GET")

    def hidden(self) -> list[str]:
        """Return those of our addresses at which the app has its own routes."""
        rules = self._rules
        own, ours = (each.bind("localhost") for each in (rules.own, rules.ours))
        found = set()
        for rule in rules.ours.iter_rules() if rules.contested else ():
            path = re.sub(r"<[^<>]+>", _EXAMPLE, rule.rule)
            methods = rule.methods or ()
            if any(_app_answers(own, ours, path, each) for each in methods if each != "OPTIONS"):
                found.add(re.sub(r"<\w+:", "<", rule.rule))
        return sorted(found)

    @property
    def _rules(self) -> _Rules:
        return self._final or self._read()

    def _read(self) -> _Rules:
        with _reading:
            rules = list(self._app.url_map.iter_rules())
            own = [rule for rule in rules if not _is_ours(rule) and not rule.rule.startswith("/<")]
            ours = [rule for rule in rules if _is_ours(rule)]
            copies = [_copy(rule) for rule in own]
            return _Rules(
                self._map(copies),
                self._map(map(_copy, ours)),
                dict(zip(map(id, copies), own, strict=True)),
                frozenset(_first_part(our) for our in ours if any(_may_clash(our, r) for r in own)),
            )

    def _map(self, rules: Iterable[Rule]) -> Map:
        app = self._app.url_map
        return Map(
            list(rules),
            converters=app.converters,
            default_subdomain=app.default_subdomain,
            strict_slashes=app.strict_slashes,
            merge_slashes=app.merge_slashes,
        )


def _app_answers(
    own: MapAdapter, ours: MapAdapter, path: str | None = None, method: str | None = None
) -> bool:
    try:
        own.match(path, method)
    except RequestRedirect:
        return True
    except MethodNotAllowed:
        pass
    except HTTPException:
        return False
    else:
        if (method or request.method) != "OPTIONS":
            return True
    both = set(own.allowed_methods(path)) & set(ours.allowed_methods(path))
    return bool(both - {"OPTIONS"})


def _adapter(rules: Map) -> MapAdapter:
    """Return an adapter that matches this request as Flask does, but with these rules."""
    adapter = copy(request_ctx.url_adapter)
    assert adapter is not None
    adapter.map = rules
    return adapter


def _is_ours(rule: Rule) -> bool:
    return str(rule.endpoint).startswith(_OURS)


def _may_clash(ours: Rule, own: Rule) -> bool:
    """Whether both rules may match the same request."""
    if own.methods is not None and not (own.methods & (ours.methods or set())) - {"OPTIONS"}:
        return False
    parts, own_parts = (rule.rule.strip("/").split("/") for rule in (ours, own))
    for part, own_part in zip(parts, own_parts, strict=False):
        if "<" in part + own_part:
            if not all(_IN_A_SEGMENT.fullmatch(each) for each in (part, own_part) if "<" in each):
                return True
        elif part != own_part:
            return False
    return len(parts) == len(own_parts)


def _first_part(rule: Rule) -> str:
    return rule.rule.strip("/").partition("/")[0]


def _copy(rule: Rule) -> Rule:
    copied = rule.empty()
    copied.websocket, copied.merge_slashes = rule.websocket, rule.merge_slashes
    return copied


def init_app(app: Flask) -> None:
    app.extensions[_EXTENSION] = Clashes(app)
    request_started.connect(_give_way, app)


def _clashes() -> Clashes:
    clashes: Clashes = current_app.extensions[_EXTENSION]
    return clashes


def _give_way(sender: Flask, **_: object) -> None:
    clashes: Clashes = sender.extensions[_EXTENSION]
    clashes.finish()
    if clashes.are_possible:
        clashes.give_way()
    else:  # as in most apps: then no further request pays for this
        request_started.disconnect(_give_way, sender)


def are_possible() -> bool:
    """Whether a route of the current app may answer in the place of one of ours."""
    return _clashes().are_possible


def app_answers(path: str) -> bool:
    """Whether a route of the current app, and not ours, answers a GET of this path."""
    return _clashes().app_answers(path)


def hidden() -> list[str]:
    """Return those of our addresses at which the current app has its own routes."""
    return _clashes().hidden()
