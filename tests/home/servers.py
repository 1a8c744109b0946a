"""Real servers for users' apps: a web server and a worker for any module. Has no fixtures."""

import sys
from collections.abc import Callable
from pathlib import Path

import requests

from tests.processes import ROOT, Process, free_port

#: Timeout of a request in seconds.
PATIENCE = 60.0


class Site(Process):
    """An app under gunicorn with threads, without any settings of this repository."""

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
        """Start gunicorn for `app`, and wait until it responds to the path `ready` with any status."""
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
    """A worker for `app`. It is ready when Celery logs this, or when `ready` returns True."""

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
