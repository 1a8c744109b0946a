"""The pytest fixtures. `flask_longtask.testing` has the same as context managers, for use without pytest."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def longtask_eager(app: Any) -> Iterator[Any]:
    """Run each task of your fixture `app` in the call that starts it, without Redis: `flask_longtask.testing.eager`.

    Yields the app's Celery app.
    """
    from flask_longtask.testing import eager  # noqa: PLC0415  # only for tests that use it

    with eager(app) as celery_app:
        yield celery_app


@pytest.fixture
def longtask_worker(app: Any) -> Iterator[Any]:
    """Run a worker for your fixture `app` in a thread, without Redis: `flask_longtask.testing.worker`.

    Yields Celery's worker.
    """
    from flask_longtask.testing import worker  # noqa: PLC0415  # only for tests that use it

    with worker(app) as controller:
        yield controller
