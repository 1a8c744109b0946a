"""Sends HTTP requests that no library would send."""

import socket
from contextlib import suppress

from tests.processes import PATIENCE, WebServer


class Answer:
    """A response. It is empty if the server closed the connection."""

    def __init__(self, received: bytes) -> None:
        head, _, self.body = received.partition(b"\r\n\r\n")
        self.head = head.decode("latin-1")
        self.status = int(self.head.split(" ", 2)[1]) if head else None

    def __repr__(self) -> str:
        return f"{self.head}\n\n{self.body[:500]!r}"


def send(
    web: WebServer,
    head: str,
    body: bytes = b"",
    host: str | None = "127.0.0.1",
    dies: bool = True,
) -> Answer:
    """Send exactly these bytes, and read the response. The server may close the connection before all is sent.

    With `dies`, the client then closes its side. Otherwise it keeps the connection open, as if it would send more.
    """
    lines = [head, *([] if host is None else [f"Host: {host}"]), "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", web.port), timeout=PATIENCE) as connection:
        with suppress(ConnectionError):
            connection.sendall("\r\n".join(lines).encode("latin-1") + body)
            if dies:
                connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except ConnectionResetError:
            pass
    return Answer(received)
