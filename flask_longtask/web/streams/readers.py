"""Bounds what a client costs that stops reading its stream: some 100 kB of the system's memory, for a minute.

While the buffers between the server and a client are full, its stream waits, and newer news of a task replaces older
news. Only these buffers grow, to several megabytes if the system decides.
"""

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

#: Bytes of a stream that the system keeps for a client to read. Linux takes twice as many.
BUFFER = 65_536

#: Seconds after which a client is dropped that reads nothing of what waits for it, or does not acknowledge it.
PATIENCE = 60

#: Not every system has this option. Without it, such a client is kept for as long as its connection.
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)


def bound(environ: Mapping[str, Any]) -> None:
    """Bound what the client of this request costs, if the server tells its socket, as gunicorn does."""
    client = environ.get("gunicorn.socket")
    if client is None:
        return
    with suppress(OSError):  # the client is gone
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        if _USER_TIMEOUT is not None and client.family in (socket.AF_INET, socket.AF_INET6):
            client.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, PATIENCE * 1000)
