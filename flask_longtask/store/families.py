"""Families: tasks that belong together (a group, a chain, a chord, a task and its children) and have one bar.

The record of a family has the field `parts`, which the scripts keep up to date when a part changes (families.lua). A
chain or a chord has the id of its last task, and a task with children has its own: such a record is both that of a
family and that of one of its parts. A group has a record of its own.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from redis import Redis

from flask_longtask.record import Record, load_record
from flask_longtask.store.keys import Keys
from flask_longtask.store.scripts import Scripts

#: How many parts one script registers, so that Redis is not blocked for long.
AT_ONCE = 100

#: The scores of the parts that have not ended: see RANKS in families.lua.
_OPEN = (1e7, 3e7)


class Registered(NamedTuple):
    family_id: str
    record: Record


class Families:
    """The families in one Redis. Each method raises redis.exceptions.RedisError when Redis does not answer."""

    def __init__(self, client: Redis, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts

    def register(
        self,
        family_id: str,
        parts: Sequence[str],
        kind: str,
        *,
        owner: str | None = None,
        has_hidden_parts: bool = False,
    ) -> Registered:
        """Make tasks that were sent the parts of one family, in this order.

        `kind` is "chain", "chord" or "group". `has_hidden_parts` says that further tasks follow these. If the tasks
        have a family already, because their start was repeated, that family is returned.

        Raises LookupError with the id of a task that has no record.
        """
        steps = [*_steps(parts, follow=False)]
        if has_hidden_parts:
            steps += _steps(parts, follow=True)
        for number, (some, follow) in enumerate(steps, 1):
            outcome, found, *rest = self._scripts.run(
                "register_family",
                id=family_id,
                parts=some,
                follow=follow,
                kind=kind,
                owner=owner,
                last=number == len(steps),
            )
            if outcome == b"unknown":
                raise LookupError(found.decode())
            family_id = found.decode()
        return Registered(family_id, load_record(rest[0]) or {})

    def parts(self, family_id: str, after: float, most: int) -> list[tuple[str, float]]:
        """Return at most `most` parts after this place, each with its place: failed and running ones first."""
        key, after_it = self._keys.parts(family_id), f"({after}"
        found: Any = self._client.zrangebyscore(key, after_it, "+inf", 0, most, withscores=True)
        return [(part.decode(), place) for part, place in found]

    def open_parts(self, family_id: str) -> list[str]:
        """Return the parts that wait or run."""
        found: Any = self._client.zrangebyscore(self._keys.parts(family_id), *_OPEN)
        return [part.decode() for part in found]


def has_ended(record: Record) -> bool:
    """Whether a task or, of a family, the last of its parts has ended."""
    parts = record.get("parts")
    return bool(record.get("ended") if parts is None else parts.get("ended"))


def _steps(parts: Sequence[str], follow: bool) -> Iterator[tuple[Sequence[str], bool]]:
    for first in range(0, len(parts), AT_ONCE):
        yield parts[first : first + AT_ONCE], follow
