"""One request of a client: sent, timed, and looked at for its form. What it means for a task is for others to say."""

import time
from collections.abc import Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from flask import json

from tests.chaos.judging.evidence import Answer, Evidence
from tests.processes import PATIENCE

_PROBLEM = "application/problem+json"


class Asking:
    """Asks without cookies, so that all requests of one address have one owner, and without keeping connections."""

    def __init__(self, evidence: Evidence, urls: dict[str, str]) -> None:
        self._evidence = evidence
        self._urls = urls
        self._session = requests.Session()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers["Connection"] = "close"

    def ask(
        self,
        ask: str,
        web: str,
        method: str,
        path: str,
        wait: float = 0,
        about: str = "",
        **options: Any,
    ) -> tuple[Answer, Any]:
        """Send a request, and note how it was answered. Returns the answer's document as well, if it has one."""
        sent = time.time()
        answer = Answer(ask, web, sent, sent, 0, wait, about=about)
        document: Any = None
        try:
            response = self._session.request(
                method, self._urls[web] + path, timeout=PATIENCE + wait, **options
            )
        except requests.RequestException as error:
            answer = answer._replace(received=time.time(), complaint=_short(error))
        else:
            document, complaint = _read(response)
            answer = answer._replace(
                received=time.time(), code=response.status_code, complaint=complaint
            )
        self._evidence.answers.append(answer)
        return answer, document

    def events(self, web: str, path: str, seconds: float) -> Iterator[tuple[float, float, Any]]:
        """The events of a stream: when it was asked for, when each came, and its name and document."""
        sent = time.time()
        answer = Answer("stream", web, sent, sent, 0)
        try:
            with self._session.get(
                self._urls[web] + path,
                headers={"Accept": "text/event-stream"},
                stream=True,
                timeout=PATIENCE,
            ) as response:
                answer = answer._replace(received=time.time(), code=response.status_code)
                if response.status_code != 200:
                    answer = answer._replace(complaint=_read(response)[1])
                    return
                name = "message"
                for line in response.iter_lines(chunk_size=1):
                    if line.startswith(b"event: "):
                        name = line[7:].decode()
                    elif line.startswith(b"data: "):
                        yield sent, time.time(), (name, json.loads(line[6:]))
                        name = "message"
                    if time.time() > sent + seconds:
                        return
        except requests.RequestException as error:
            # A stream may end at any time: its client comes back. Only its beginning is a promise.
            if not answer.code:
                answer = answer._replace(received=time.time(), complaint=_short(error))
        finally:
            self._evidence.answers.append(answer)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[-120:]}"


def _read(response: requests.Response) -> tuple[Any, str]:
    """The document of an answer, and what is wrong with its form."""
    kind = response.headers.get("Content-Type", "")
    try:
        document = response.json()
    except ValueError:
        return (
            None,
            f"{response.status_code} of {kind or 'no type'} is no JSON: {response.text[:80]!r}",
        )
    if response.status_code < 400:
        return document, ""
    is_health = "redis" in document  # which has a document of its own
    if not is_health and (kind != _PROBLEM or document.get("status") != response.status_code):
        return None, f"{response.status_code} is no problem document: {response.text[:80]!r}"
    if response.status_code in (429, 503) and "Retry-After" not in response.headers:
        return None, f"{response.status_code} without Retry-After"
    return document, ""
