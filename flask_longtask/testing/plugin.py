"""The pytest fixtures. What they do is in `flask_longtask.testing`, for those who use no pytest."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def longtask_eager(app: Any) -> Iterator[Any]:
    """The tasks of your fixture `app` run in the call that starts them, without Redis: `flask_longtask.testing.eager`.

    Gives the app's Celery app.
    """
    from flask_longtask.testing import eager  # noqa: PLC0415  # for those who use it

    with eager(app) as celery_app:
        yield celery_app


@pytest.fixture
def longtask_worker(app: Any) -> Iterator[Any]:
    """A worker in a thread for your fixture `app`, without Redis: `flask_longtask.testing.worker`.

    Gives Celery's worker.
    """
    from flask_longtask.testing import worker  # noqa: PLC0415  # for those who use it

    with worker(app) as controller:
        yield controller
