"""What the query string of the operators' page asks for. The tasks are found in search.py."""

from typing import NamedTuple

from flask import request

from flask_longtask.celery.sending import LONGEST_ID
from flask_longtask.store.listing import Position, Which
from flask_longtask.web.problems import BadField

#: What the page calls the states of tasks, by list.
STATES: dict[Which, tuple[str, ...]] = {
    "open": ("waiting", "scheduled", "running", "retry"),
    "ended": ("done", "failed", "cancelled"),
}

#: The values of the field `state`.
CHOICES = ("", *(choice for which, states in STATES.items() for choice in (which, *states)))

#: The most characters of a name, and of the words.
LONGEST = 255


class Place(NamedTuple):
    """Where a page begins: in this list, after this position. The text of it is a cursor."""

    which: Which
    after: Position | None = None

    def __str__(self) -> str:
        return f"{self.which}~{self.after}" if self.after else self.which

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read a cursor. Raises ValueError for any other text."""
        which, tilde, position = text.partition("~")
        if which not in STATES:
            raise ValueError(f"No cursor: {text!r}")
        return cls(which, Position.parse(position) if tilde else None)


class Filters(NamedTuple):
    """Which tasks to show, from which place on. A field that is empty excludes nothing."""

    state: str = ""
    task: str = ""
    queue: str = ""
    words: tuple[str, ...] = ()
    place: Place = Place("open")

    @property
    def are_set(self) -> bool:
        return any(self[:4])

    def includes(self, which: Which) -> bool:
        """Whether tasks of this list may be among those to show."""
        return self.state in ("", which, *STATES[which])


def filters() -> Filters:
    """Return what this request asks for. Raises BadField for a value that is not allowed."""
    state = request.args.get("state", "")
    if state not in CHOICES:
        raise BadField("state", f"must be one of {', '.join(CHOICES[1:])}.")
    try:
        place = Place.parse(request.args.get("cursor") or "open")
    except ValueError:
        raise BadField("cursor", "must be one that an earlier page has given.") from None
    if place.after and len(place.after.task_id) > LONGEST_ID:
        raise BadField("cursor", "must be one that an earlier page has given.")
    words = tuple(_text("words").casefold().split())
    return Filters(state, _text("task").strip(), _text("queue").strip(), words, place)


def _text(name: str) -> str:
    text = request.args.get(name, "")
    if len(text) > LONGEST:
        raise BadField(name, f"must have at most {LONGEST} characters.")
    return text
