"""The scripts that Redis runs: how one is loaded and called."""

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.commands.core import Script
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MasterDownError, OutOfMemoryError, ReadOnlyError, ResponseError

from flask_longtask.json_text import pack
from flask_longtask.store.keys import KINDS, KINDS_BY_QUEUE, KINDS_BY_WORKER, Keys

logger = logging.getLogger(__name__)

#: What Redis answers to a write while it is full, a replica, loading, or cannot save to its disk.
_CANNOT_WRITE = ("OOM", "READONLY", "LOADING", "MISCONF", "MASTERDOWN", "NOREPLICAS")

#: The same where the error begins with such a word, as a script's does since Redis 7: redis-py leaves it out then.
_CANNOT_WRITE_ERRORS = (MasterDownError, OutOfMemoryError, ReadOnlyError)

#: What it answers where something else than ours stands at a key.
_NOT_OURS = ("WRONGTYPE", "not an integer", "would overflow")


@cache
def _source(name: str) -> str:
    folder = files("flask_longtask.store") / "lua"
    text = (folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text()
    # A worker sends take.lua with each question.
    return re.sub(r"^\s*--.*\n", "", text, flags=re.MULTILINE)


class Scripts:
    """The scripts as one client runs them. `expires` is the time to live, in seconds, of an ended task; 0 for ever."""

    def __init__(self, client: Redis, keys: Keys, expires: int) -> None:
        self._client = client
        self._options = {"prefix": keys.prefix, "documents": keys.documents, "expires": expires}
        self._scripts: dict[str, Script] = {}

    def run(
        self,
        name: str,
        *arguments: bytes | str,
        keys: Any = (),
        pipeline: Any = None,
        **options: Any,
    ) -> Any:
        """Run `lua/<name>.lua`. Options that are None are left out: Lua has no word for null.

        Raises redis.exceptions.ConnectionError for a Redis that takes no writes, since that passes, like an outage; and
        for a key of another type than it should have, which is mended before that.
        """
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = Script(self._client, _source(name))
        try:
            return script(keys, [self._pack(options), *arguments], client=pipeline)
        except ResponseError as error:
            is_mended = any(word in str(error) for word in _NOT_OURS) and self.mend()
            cannot_write = any(word in str(error) for word in _CANNOT_WRITE)
            if is_mended or cannot_write or isinstance(error, _CANNOT_WRITE_ERRORS):
                raise RedisConnectionError(str(error)) from error
            raise

    def mend(self) -> list[str]:
        """Remove keys of another type than they should have. Returns their names.

        Whoever can write to Redis can put anything there, and so may another program with the same prefix.
        """
        options = {"kinds": KINDS, "queued": KINDS_BY_QUEUE, "owned": KINDS_BY_WORKER}
        removed = [name.decode() for name in self.run("mend", **options)]
        if removed:
            logger.warning(
                "Removed from Redis, as no key of ours is of this type: %s", ", ".join(removed)
            )
        return removed

    def command(self, name: str, keys: Sequence[str], **options: Any) -> list[Any]:
        """The command that runs a script, for a connection that is not this client's."""
        return ["EVAL", _source(name), len(keys), *keys, self._pack(options)]

    def _pack(self, options: Mapping[str, Any]) -> bytes:
        given = {option: value for option, value in options.items() if value is not None}
        return pack({**self._options, **given})
