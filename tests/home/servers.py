"""Real servers of somebody's own app: a web server and a worker for any module. No fixtures live here."""

import sys
from collections.abc import Callable
from pathlib import Path

import requests

from tests.processes import ROOT, Process, free_port

#: How long a test waits for one answer, in seconds.
PATIENCE = 60.0


class Site(Process):
    """An app under gunicorn with threads, as its own people would start it: with no settings of this repository's."""

    def __init__(
        self,
        name: str,
        folder: Path,
        app: str,
        *,
        ready: str = "/",
        cwd: Path = ROOT,
        python: str = sys.executable,
        **environment: str,
    ) -> None:
        """`app` is what gunicorn is pointed at; `ready` is a path that is answered, with whatever status."""
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        command = [python, "-m", "gunicorn", "--config", "/dev/null", "--no-control-socket"]
        command += ["--worker-class", "gthread", "--threads", "8", "--bind", f"127.0.0.1:{port}"]
        super().__init__(name, [*command, app], folder, environment, cwd)

        def answers() -> bool:
            try:
                return bool(requests.get(self.url + ready, timeout=PATIENCE).status_code)
            except requests.RequestException:
                return False

        self.wait_for(answers)


class HomeWorker(Process):
    """`celery -A APP worker`, ready once Celery says so."""

    def __init__(
        self,
        name: str,
        folder: Path,
        app: str,
        *options: str,
        cwd: Path = ROOT,
        python: str = sys.executable,
        ready: Callable[[], bool] | None = None,
        **environment: str,
    ) -> None:
        command = [python, "-m", "celery", "-A", app, "worker", "--loglevel=INFO"]
        command += ["--without-mingle", "--without-gossip", "-n", f"{name}@home", *options]
        super().__init__(name, command, folder, environment, cwd)
        self.wait_for(ready or (lambda: f"{name}@home ready." in self.log.read_text()))
