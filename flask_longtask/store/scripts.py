"""Loads the Lua scripts and runs them in Redis."""

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

#: Redis's errors for a write while it is full, a replica, loading, or unable to save to its disk.
_CANNOT_WRITE = ("OOM", "READONLY", "LOADING", "MISCONF", "MASTERDOWN", "NOREPLICAS")

#: The same where an error begins with such a word, as a script's does since Redis 7. redis-py leaves out the word then.
_CANNOT_WRITE_ERRORS = (MasterDownError, OutOfMemoryError, ReadOnlyError)

#: Redis's errors for a key that holds something that we have not written.
_NOT_OURS = ("WRONGTYPE", "not an integer", "would overflow")


@cache
def _source(name: str) -> str:
    folder = files("flask_longtask.store") / "lua"
    # The scripts about messages know nothing of tasks.
    parts = ["common", name] if "/" in name else ["common", "records", "families", "life", name]
    text = "".join((folder / f"{part}.lua").read_text() for part in parts)
    # Without comments, since a worker sends the whole text of take.lua each time it asks for a message.
    return re.sub(r"^\s*--.*\n", "", text, flags=re.MULTILINE)


class Scripts:
    """Runs the scripts through one client. `expires` is the seconds to keep an ended task; 0 means for ever."""

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
        """Run `lua/<name>.lua`; the name may have a folder. Options that are None are left out, since Lua has no null.

        If a key is of the wrong type, such keys are removed, and the script runs again.

        Raises redis.exceptions.ConnectionError if Redis accepts no writes, which is temporary, like an outage.
        """
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = Script(self._client, _source(name))
        texts = [self._pack(options), *arguments]
        try:
            try:
                return script(keys, texts, client=pipeline)
            except ResponseError as error:
                if not any(word in str(error) for word in _NOT_OURS):
                    raise
                self.mend()  # unless another process has just done so
                return script(keys, texts, client=pipeline)
        except ResponseError as error:
            temporary = (*_CANNOT_WRITE, *_NOT_OURS)
            if isinstance(error, _CANNOT_WRITE_ERRORS) or any(w in str(error) for w in temporary):
                raise RedisConnectionError(str(error)) from error
            raise

    def mend(self) -> list[str]:
        """Remove keys of the wrong type. Returns their names.

        Anyone who can write to Redis may have written them, or another program with the same prefix.
        """
        options = {"kinds": KINDS, "queued": KINDS_BY_QUEUE, "owned": KINDS_BY_WORKER}
        removed = [name.decode() for name in self.run("mend", **options)]
        if removed:
            logger.warning(
                "Removed keys from Redis that were of the wrong type: %s", ", ".join(removed)
            )
        return removed

    def command(self, name: str, keys: Sequence[str], **options: Any) -> list[Any]:
        """Return the Redis command that runs a script, for a connection that is not this client's."""
        return ["EVAL", _source(name), len(keys), *keys, self._pack(options)]

    def _pack(self, options: Mapping[str, Any]) -> bytes:
        given = {option: value for option, value in options.items() if value is not None}
        return pack({**self._options, **given})
