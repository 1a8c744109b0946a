"""Check of the proxies between a browser and the app: whether they pass the events of a stream on at once."""

import threading
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

from flask import Flask

from flask_longtask.cli.doctor.finding import Finding, mend, ok, unknown
from flask_longtask.cli.group import celery_app, sentence
from flask_longtask.store import Queue

#: Seconds within which the first event must arrive.
AT_ONCE = 3.0

#: Seconds to wait longer for a server that has not answered.
PATIENCE = 10.0


def passes_proxies(app: Flask, url: str) -> Iterator[Finding]:
    """Read the stream of an open task at this address. The first event is due at once, the end when the task ends."""
    if not url.startswith(("http://", "https://")):
        yield mend(f"{url} is not a web address. It must begin with http:// or https://.")
        return
    backend = celery_app().backend
    task_id = f"doctor-{uuid4()}"
    # A task without a message: no worker takes it, and if this process dies, the workers end it.
    backend.store.tasks.accept(task_id, {"task": "doctor"}, Queue("doctor"), nonce=task_id)
    path = app.url_map.bind("localhost").build("longtask.status", {"task_id": task_id})
    url = url.rstrip("/")
    reader = _Reader(url, path, app.config["LONGTASK_API_TOKEN"])
    try:
        came_at_once = reader.has_event.wait(AT_ONCE)
    finally:
        backend.cancel(task_id)
    if came_at_once and reader.error is None:
        yield ok(f"The first event of a stream from {url} arrives at once.")
        return
    reader.has_event.wait(PATIENCE)
    if reader.error is not None:
        yield reader.error
    elif reader.has_event.is_set():
        yield mend(
            f"A proxy in front of the app at {url} holds a stream back until it ends. "
            "Turn off the proxy's buffering and caching for text/event-stream (nginx: proxy_buffering off)."
        )
    else:
        yield mend(
            f"{url} did not answer within {AT_ONCE + PATIENCE:g} seconds. Is every web process busy with a stream? "
            "Run gunicorn with --worker-class gevent or --threads 100."
        )


class _Reader:
    """Reads the first event of a stream in a separate thread."""

    def __init__(self, url: str, path: str, token: str) -> None:
        self.has_event = threading.Event()
        #: The finding if no event can arrive; None otherwise.
        self.error: Finding | None = None
        headers = {"Accept": "text/event-stream"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._url = url
        self._request = Request(url + path, headers=headers)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            with urlopen(self._request, timeout=AT_ONCE + PATIENCE) as response:
                self._wait_for_event(response)
        except HTTPError as error:
            with error:
                self.error = unknown(_refused(error))
        except OSError as error:
            reason = getattr(error, "reason", error)
            self.error = mend(
                f"No answer from {self._url}: {sentence(reason)} "
                "Start the web server, or correct --url."
            )
        self.has_event.set()

    def _wait_for_event(self, response: Any) -> None:
        kind = response.headers.get_content_type()
        if kind != "text/event-stream":
            self.error = mend(
                f"{self._request.full_url} answers with {kind} instead of a stream. "
                "Check that --url is the app's address."
            )
            return
        for line in response:
            if line.startswith(b"data:"):
                return
        self.error = unknown("The stream ended without an event.")


def _refused(error: HTTPError) -> str:
    """A sentence about why the server refused the stream."""
    if error.code == 404:
        return (
            f"{error.url} was not found. Check that --url is the address at which the app is mounted, "
            "and that the app uses the same Redis."
        )
    if error.code in (401, 403):
        return f"The server does not let this command read {error.url} ({error.code})."
    return f"{error.url} answers with {error.code} {error.reason}."
