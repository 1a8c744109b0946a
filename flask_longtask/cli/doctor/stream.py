"""Check of the way between a browser and the app: whether a stream passes its proxies as it comes."""

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

#: Seconds that a server which does not answer at all is waited for.
PATIENCE = 10.0


def passes_proxies(app: Flask, url: str) -> Iterator[Finding]:
    """Follow an open task there. Its first event is sent at once, and its stream goes on until it ends."""
    if not url.startswith(("http://", "https://")):
        yield mend(f"{url} is no address of a site. Give one that begins with http:// or https://.")
        return
    backend = celery_app().backend
    task_id = f"doctor-{uuid4()}"
    # A task without a message: no worker takes it, and should this process die, the workers end it.
    record = {"task": "doctor"}
    backend.store.tasks.accept(task_id, {**record}, Queue("doctor"), nonce=task_id)
    path = app.url_map.bind("localhost").build("longtask.status", {"task_id": task_id})
    url = url.rstrip("/")
    reader = _Reader(url, path, app.config["LONGTASK_API_TOKEN"])
    try:
        came_at_once = reader.has_event.wait(AT_ONCE)
    finally:
        backend.cancel(task_id)
    if came_at_once and reader.error is None:
        yield ok(f"The first event of a stream from {url} comes at once.")
        return
    reader.has_event.wait(PATIENCE)
    if reader.error is not None:
        yield reader.error
    elif reader.has_event.is_set():
        yield mend(
            f"Something between here and the app at {url} holds a stream back until its end. "
            "Switch the proxy's buffering and caching off for text/event-stream (nginx: proxy_buffering off)."
        )
    else:
        yield mend(
            f"{url} has not answered within {AT_ONCE + PATIENCE:g} seconds. Is every web process busy with a stream? "
            "Run gunicorn with --worker-class gevent or --threads 100."
        )


class _Reader:
    """Reads the first event of a stream in a thread of its own."""

    def __init__(self, url: str, path: str, token: str) -> None:
        self.has_event = threading.Event()
        #: What is wrong, if no event will come.
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
                f"{self._request.full_url} answers with {kind} instead of a stream. Is --url where the app is?"
            )
            return
        for line in response:
            if line.startswith(b"data:"):
                return
        self.error = unknown("The stream has ended without an event.")


def _refused(error: HTTPError) -> str:
    """What the status code says about why no stream can be had."""
    if error.code == 404:
        return (
            f"{error.url} is not found there: does --url name the address at which the app is mounted, "
            "and has that app the same Redis?"
        )
    if error.code in (401, 403):
        return f"{error.url} may be read by others only ({error.code})."
    return f"{error.url} is answered with {error.code} {error.reason}."
